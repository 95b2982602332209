//! Being told to stop: by Ctrl-C, SIGTERM, and the SIGHUP of a terminal that goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::watch;

use crate::failure::{Failure, Result, line};

/// How long a command that was told to stop may still write. A reader of its output that takes nothing would keep it
/// for ever, as would a disk that hangs, and whoever sent the signal waits.
const GRACE: Duration = Duration::from_secs(10);

/// How much of that is for giving back what is held: a file that another program keeps locked would take more.
const LEAVING: Duration = Duration::from_secs(2);

/// How long the last line may take: standard error may be a pipe that nobody empties.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a verb ended that would have ended by itself.
pub(crate) const STOPPED: &str = "told to stop";

/// Whether somebody wants this process to end. There is one, made before anything that may take long, and each part of a
/// verb looks at it. A second signal, or the end of the grace period, ends the process where it stands.
#[derive(Clone)]
pub(crate) struct Stop {
    told: watch::Receiver<bool>,
    leave: Arc<Mutex<Leave>>,
}

/// How the process is ended that does not end by itself.
struct Leave {
    grace: Duration,
    last_words: Box<dyn FnOnce() -> String + Send>,
}

impl Stop {
    /// Listens for signals from here on.
    pub(crate) fn listen() -> Result<Self> {
        let failed = |error| Failure::failed(format!("listening for signals: {error}"));
        let leave = Leave { grace: GRACE, last_words: Box::new(|| STOPPED.to_owned()) };
        let leave = Arc::new(Mutex::new(leave));
        let (begun, beginning) = mpsc::channel();
        let (tell, told) = watch::channel(false);
        let stop = Self { told, leave };
        let leaving = stop.clone();
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
                tell.send_replace(true);
                let grace = leaving.leave().grace;
                let _ = tokio::time::timeout(grace, signals.next()).await;
                let nothing_more = Box::new(|| STOPPED.to_owned());
                let last_words = std::mem::replace(&mut leaving.leave().last_words, nothing_more);
                exit(last_words());
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
        match beginning.recv() {
            Ok(begun) => begun.map_err(failed)?,
            Err(_) => return Err(Failure::failed("listening for signals: the thread has ended")),
        }
        Ok(stop)
    }

    /// Has this done and said where the process is ended that does not end by itself.
    pub(crate) fn or_leave(&self, last_words: impl FnOnce() -> String + Send + 'static) {
        self.leave().last_words = Box::new(last_words);
    }

    /// Lets it take so long to end by itself.
    pub(crate) fn within(&self, grace: Duration) {
        self.leave().grace = grace;
    }

    pub(crate) fn is_told(&self) -> bool {
        *self.told.borrow()
    }

    /// Resolves at the first signal.
    pub(crate) async fn told(&self) {
        if self.told.clone().wait_for(|told| *told).await.is_err() {
            // Its thread lives as long as the process.
            std::future::pending().await
        }
    }

    /// Set at the first signal, for what looks at it as it goes.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        let (stop, flag) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let set = Arc::clone(&flag);
        tokio::spawn(async move {
            stop.told().await;
            set.store(true, Ordering::Relaxed);
        });
        flag
    }

    /// Waits for this, which is whole or not at all if it is dropped; a signal is a failure, as what was to be done is not.
    pub(crate) async fn unless_told<T>(&self, item: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.told() => Err(Failure::failed(STOPPED)),
            item = item => Ok(item),
        }
    }

    /// Waits for what is done on the way out; once it was told, for so long at most. What was not given back by then is found by
    /// others when this process is gone.
    pub(crate) async fn in_time<T>(&self, item: impl Future<Output = T>) -> Option<T> {
        let late = async {
            self.told().await;
            tokio::time::sleep(LEAVING).await;
        };
        tokio::select! {
            item = item => Some(item),
            () = late => None,
        }
    }

    fn leave(&self) -> MutexGuard<'_, Leave> {
        self.leave.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// `None` where a terminal that goes is to end nothing.
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hang_up = if hears_hang_up() { Some(signal(SignalKind::hangup())?) } else { None };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hang_up })
    }

    async fn next(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }
}

/// Whether a SIGHUP means this process: `nohup` has it ignored, and to listen for it would undo that.
#[cfg(target_os = "linux")]
fn hears_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // A bit for each signal, from 1. Where it cannot be told, the process is left as it was started.
    ignored.is_some_and(|mask| mask & 1 == 0)
}

/// Elsewhere only unsafe code could tell, so it does what the system does by default.
#[cfg(all(unix, not(target_os = "linux")))]
fn hears_hang_up() -> bool {
    false
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
