//! The second process of `rowbus bench latency`: says on standard output how old each message was when it came, a line
//! each in nanoseconds. Its standard input tells it by its end that the first process has what it wants, or is gone.

use std::io::{self, Write};
use std::path::Path;

use rowbus::{MessengerExt, SqliteBus, Subscription};
use tokio::sync::oneshot;

use crate::bench::{SUBJECT, clock};
use crate::failure::{Failure, Result};
use crate::stdout::Output;

/// What it says when messages reach it from now on.
pub(crate) const READY: &str = "ready";

pub(crate) async fn run(db: &Path) -> Result<()> {
    let ended = end_of_stdin()?;
    // Ctrl-C reaches all processes of a terminal; the first one hears it too, and ends this one when it has cleaned up.
    tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let bus = SqliteBus::builder(db).create(false).open().await?;
    let stream = bus.stream(SUBJECT).await?;
    let outcome = tokio::select! {
        biased;
        _ = ended => Ok(()),
        outcome = receive(stream) => outcome,
    };
    crate::finish(&bus, outcome).await
}

async fn receive(mut stream: Subscription) -> Result<()> {
    let mut out = Output::new();
    let mut is_read = out.write(|out| writeln!(out, "{READY}"))? && out.flush()?;
    while is_read && let Some(message) = stream.next().await {
        // A time is taken when the message is there, and written after.
        let message = message?;
        let age = clock::age(message.payload()).ok_or_else(|| Failure::failed("a message without a time"))?;
        is_read = out.write(|out| writeln!(out, "{age}"))? && out.flush()?;
    }
    Ok(())
}

/// Resolves at the end of standard input.
fn end_of_stdin() -> Result<oneshot::Receiver<()>> {
    let (tell, told) = oneshot::channel();
    // A thread of its own, which nothing waits for at the end: a read may never return.
    let reader = move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = tell.send(());
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(reader);
    thread.map_err(|error| Failure::failed(format!("starting a thread: {error}")))?;
    Ok(told)
}
