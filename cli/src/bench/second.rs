//! The second process of a benchmark, which this one starts: it says a line when it is ready, and ends when its standard input
//! does.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::address::Address;
use crate::bench::unless_stopped;
use crate::failure::{Failure, Result};
use crate::signals::Stop;

/// How long the second process may take over anything: to start, to receive a message, to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it says when messages reach it from now on.
pub(crate) const READY: &str = "ready";

/// The second process; killed if it is dropped before it has ended.
pub(crate) struct Second {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Option<ChildStderr>,
}

impl Second {
    /// Starts one that does this part, and lets `work` begin when it is ready. It has ended when this returns, whatever the work
    /// came to, and also if it was told to stop: the folder can go when nobody is in it any more.
    pub(crate) async fn with<T>(
        bus: &Address,
        part: &[&str],
        stop: Stop,
        work: impl AsyncFnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut second = Self::start(bus, part)?;
        let ready = async {
            match second.line().await? {
                line if line == READY => work(&mut second).await,
                line => Err(Failure::failed(format!("the second process said {line:?}"))),
            }
        };
        let outcome = unless_stopped(stop, ready).await;
        let ended = second.end(outcome.is_ok()).await;
        let done = outcome?;
        ended.map(|()| done)
    }

    fn start(bus: &Address, part: &[&str]) -> Result<Self> {
        let mut child = Self::spawn(bus, part)
            .map_err(|error| Failure::failed(format!("starting a second process: {error}")))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let lines = stdout.map(|pipe| BufReader::new(pipe).lines());
        Ok(Self { child, stdin, lines, stderr })
    }

    fn spawn(bus: &Address, part: &[&str]) -> io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        // Not as an argument, which everybody on the machine can read: a URL may have a password.
        let (name, value, other) = bus.variables();
        command.env(name, value).env_remove(other).arg("bench").args(part);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn()
    }

    /// The next line that it says.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let next = async {
            match &mut self.lines {
                Some(lines) => lines.next_line().await,
                None => Ok(None),
            }
        };
        match timeout(PATIENCE, next).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err(self.last_words().await),
            Ok(Err(error)) => Err(Failure::failed(format!("reading from the second process: {error}"))),
            Err(_) => Err(Failure::failed(format!("the second process said nothing for {PATIENCE:?}"))),
        }
    }

    /// Why it ended too early, in its own words.
    async fn last_words(&mut self) -> Failure {
        let mut words = String::new();
        if let Some(stderr) = &mut self.stderr {
            // What cannot be read adds nothing to the failure that there is already.
            let _ = timeout(PATIENCE, stderr.read_to_string(&mut words)).await;
        }
        let words = words.trim_end();
        let words = words.strip_prefix("rowbus: ").unwrap_or(words);
        Failure::failed(format!("the second process has ended: {words}"))
    }

    /// Lets it end, or ends it where it is not wanted any more.
    async fn end(mut self, in_good_order: bool) -> Result<()> {
        self.stdin = None;
        let failed = |error: io::Error| Failure::failed(format!("ending the second process: {error}"));
        if !in_good_order {
            return self.child.kill().await.map_err(failed);
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(code)) if code.success() => Ok(()),
            Ok(Ok(_)) => Err(self.last_words().await),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(Failure::failed(format!("the second process did not end within {PATIENCE:?}"))),
        }
    }
}

/// In the second process: resolves at the end of its standard input, by which the first one says that it has what it wants,
/// or is gone.
pub(crate) fn first_is_done() -> Result<oneshot::Receiver<()>> {
    let (tell, told) = oneshot::channel();
    // A thread of its own, which nothing waits for at the end: a read may never return.
    let reader = move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = tell.send(());
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(reader);
    thread.map_err(|error| Failure::failed(format!("starting a thread: {error}")))?;
    // Ctrl-C reaches all processes of a terminal, as does its end; the first one hears it too, and ends this one when it has
    // cleaned up.
    tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    #[cfg(unix)]
    if let Ok(mut hang_up) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        tokio::spawn(async move { while hang_up.recv().await.is_some() {} });
    }
    Ok(told)
}
