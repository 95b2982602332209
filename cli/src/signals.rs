//! Being told to stop: Ctrl-C, and SIGTERM where there are signals.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::failure::{Failure, Result, line};

/// How long a command that was told to stop may still write. A reader of its output that takes nothing would keep it
/// for ever, as would a disk that hangs, and whoever sent the signal waits.
const GRACE: Duration = Duration::from_secs(10);

/// Resolves at the first signal. A second one, or the end of the grace period, ends the process where it stands, with
/// what `leave` says of it.
pub(crate) fn stop(leave: impl FnOnce() -> String + Send + 'static) -> Result<oneshot::Receiver<()>> {
    stop_within(GRACE, leave)
}

/// The same with another grace period.
pub(crate) fn stop_within(
    grace: Duration,
    leave: impl FnOnce() -> String + Send + 'static,
) -> Result<oneshot::Receiver<()>> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed(format!("listening for signals: {error}")))?;
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        signals.next().await;
        // The command may have ended by itself meanwhile.
        let _ = tell.send(());
        let _ = tokio::time::timeout(grace, signals.next()).await;
        line(&leave());
        std::process::exit(1);
    });
    Ok(told)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals {
    ctrl_c: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { ctrl_c: tokio::signal::windows::ctrl_c()? })
    }

    async fn next(&mut self) {
        self.ctrl_c.recv().await;
    }
}
