//! The same work on bare SQLite: a connection a process and a plain table, at the same level of `synchronous`. It is what a bus
//! is compared with, and so the one place of the command that speaks SQL.

mod ask;
mod latency;
mod publish;
mod queue;
mod replay;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) use ask::{answer, ask};
pub(crate) use latency::{deliver, receive};
pub(crate) use publish::publish;
pub(crate) use queue::queue;
pub(crate) use replay::replay;
use rowbus::rusqlite;
use table::Table;

use crate::bench::STOPPED;
use crate::bench::measured::Measured;
use crate::bench::progress::Progress;
use crate::failure::{Failure, Result};
use crate::signals::Stop;

/// Between two looks for what another process has written.
const POLL: Duration = Duration::from_millis(1);
/// Rows of one transaction at most, as in a bus.
const ROWS: u64 = 512;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::failed(format!("on bare SQLite: {error}"))
    }
}

/// Work that goes on on a thread of its own, until somebody says that nobody waits for it any more.
pub(crate) struct Task {
    progress: Progress,
    is_over: Arc<AtomicBool>,
}

impl Task {
    /// So many more are done; a failure if that is enough.
    fn add(&self, messages: u64) -> Result<()> {
        self.progress.add(messages);
        if self.is_over.load(Ordering::Relaxed) { Err(Failure::failed(STOPPED)) } else { Ok(()) }
    }
}

/// Does it on a thread where it may block. It has ended when this returns, also if it was told to stop: the folder can go.
async fn off_runtime(
    path: PathBuf,
    synchronous: &'static str,
    progress: Progress,
    stop: Stop,
    work: impl FnOnce(Table, &Task) -> Result<Measured> + Send + 'static,
) -> Result<Measured> {
    let is_over = Arc::new(AtomicBool::new(false));
    let task = Task { progress, is_over: Arc::clone(&is_over) };
    let mut thread = tokio::task::spawn_blocking(move || work(Table::make(&path, synchronous)?, &task));
    let done = tokio::select! {
        biased;
        () = stop.told() => {
            is_over.store(true, Ordering::Relaxed);
            thread.await
        }
        done = &mut thread => done,
    };
    done.map_err(|error| Failure::failed(format!("the work on bare SQLite ended: {error}")))?
}
