//! Being told to stop: Ctrl-C, and SIGTERM where there are signals.

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::failure::{Failure, Result, line};

/// How long a command that was told to stop may still write. A reader of its output that takes nothing would keep it
/// for ever, as would a disk that hangs, and whoever sent the signal waits.
const GRACE: Duration = Duration::from_secs(10);

/// How long the last line may take: standard error may be a pipe that nobody empties.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    let failed = |error| Failure::failed(format!("listening for signals: {error}"));
    let (begun, beginning) = mpsc::channel();
    let (tell, told) = oneshot::channel();
    // A thread and a runtime of its own: every other thread may be blocked in writing what nobody reads.
    let listen = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(begun.send(Err(error))),
        };
        runtime.block_on(async {
            let mut signals = match Signals::listen() {
                Ok(signals) => signals,
                Err(error) => return drop(begun.send(Err(error))),
            };
            let _ = begun.send(Ok(()));
            signals.next().await;
            // The command may have ended by itself meanwhile.
            let _ = tell.send(());
            let _ = tokio::time::timeout(grace, signals.next()).await;
            exit(leave());
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
    match beginning.recv() {
        Ok(begun) => begun.map_err(failed)?,
        Err(_) => return Err(Failure::failed("listening for signals: the thread has ended")),
    }
    Ok(told)
}

/// Ends the process with this line, if it can be said.
fn exit(last: String) {
    let (said, saying) = mpsc::channel();
    let say = move || {
        line(&last);
        let _ = said.send(());
    };
    if std::thread::Builder::new().spawn(say).is_ok() {
        let _ = saying.recv_timeout(LAST_WORDS);
    }
    std::process::exit(1);
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
