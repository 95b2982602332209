//! The second process of `rowbus bench latency`: says on standard output how old each message was when it came, a line
//! each in nanoseconds.

use std::io::Write;

use rowbus::{MessengerExt, Subscription};

use crate::address::Address;
use crate::bench::clock;
use crate::bench::second::{READY, first_is_done};
use crate::failure::{Failure, Result};
use crate::stdout::Output;

pub(crate) async fn run(address: &Address, subject: &str) -> Result<()> {
    let done = first_is_done()?;
    let bus = address.open_existing().await?;
    let stream = bus.stream(subject).await?;
    let outcome = tokio::select! {
        biased;
        _ = done => Ok(()),
        outcome = receive(stream) => outcome,
    };
    crate::finish(&*bus, outcome).await
}

async fn receive(mut stream: Subscription) -> Result<()> {
    let mut out = Output::new();
    let mut is_read = out.write(|out| writeln!(out, "{READY}"))? && out.flush()?;
    while is_read && let Some(message) = stream.next().await {
        // A time is taken when the message is there, and written after.
        is_read = tell_age(&mut out, message?.payload())?;
    }
    Ok(())
}

/// Says how old a payload is; `false` if nobody listens any more.
pub(crate) fn tell_age(out: &mut Output, payload: &[u8]) -> Result<bool> {
    let age = clock::age(payload).ok_or_else(|| Failure::failed("a message without a time"))?;
    Ok(out.write(|out| writeln!(out, "{age}"))? && out.flush()?)
}
