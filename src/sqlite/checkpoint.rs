//! Checkpoints in the background: the WAL goes into the database without a publisher doing it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::error::Result;
use crate::sqlite::connection::{Opener, Purpose};
use crate::sqlite::fault;

/// WAL growth that is worth a checkpoint: about SQLite's own 1,000 pages.
const EVERY: usize = 4 << 20;
/// Pages in the WAL at which a checkpoint is completed with writers held off, so that the WAL begins anew: 16 MiB.
const COMPLETE_AT: i64 = 4 * 1024;
/// Pages that are few enough to be moved with writers held off: 2 MiB.
const SHORT: i64 = 512;
/// Pages in the WAL at which writers are held off however much is left, since they are faster than the disk: 64 MiB.
const TOO_LONG: i64 = 16 * 1024;
/// Tries to get the rest that short; each moves what came during the one before.
const ROUNDS: usize = 8;

/// Runs a closure while nobody writes; it is not called if somebody of another process does.
pub(crate) trait Pause: Send + Sync {
    fn while_paused(&self, work: &mut dyn FnMut());
}

/// The thread that checkpoints; started by the first growth that needs it.
pub(crate) struct Checkpointer {
    opener: Opener,
    wanted: Arc<Wanted>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Wanted {
    checkpoint: AtomicBool,
    stop: AtomicBool,
}

impl Checkpointer {
    pub(crate) fn new(opener: Opener) -> Self {
        Self { opener, wanted: Arc::default(), thread: Mutex::default() }
    }

    /// Asks for a checkpoint if the WAL has grown by enough; `true` if it was asked for.
    pub(crate) fn grew(&self, bytes: usize, pause: impl FnOnce() -> Weak<dyn Pause>) -> bool {
        if bytes < EVERY || self.wanted.stop.load(Ordering::Relaxed) {
            return false;
        }
        self.wanted.checkpoint.store(true, Ordering::SeqCst);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            thread.thread().unpark();
            return true;
        }
        let (opener, wanted, pause) = (self.opener.clone(), Arc::clone(&self.wanted), pause());
        let started = std::thread::Builder::new().name("rowbus-checkpoint".to_owned()).spawn(move || {
            if let Err(error) = run(&opener, &wanted, &pause) {
                tracing::warn!(%error, "checkpoints in the background have ended; SQLite's own go on when the file is closed");
            }
        });
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => tracing::warn!(%error, "starting the checkpoint thread"),
        }
        true
    }

    /// Blocks until a checkpoint that is under way has ended.
    pub(crate) fn stop(&self) {
        self.wanted.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn run(opener: &Opener, wanted: &Wanted, pause: &Weak<dyn Pause>) -> Result<()> {
    let conn = opener.open(Purpose::Write)?;
    while !wanted.stop.load(Ordering::SeqCst) {
        if !wanted.checkpoint.swap(false, Ordering::SeqCst) {
            std::thread::park();
            continue;
        }
        if let Err(error) = checkpoint(&conn, pause) {
            // Another process at the same work is no fault, and a full disk is told to who publishes.
            tracing::debug!(error = %fault::error("checkpointing", error), "a checkpoint did not happen");
        }
    }
    Ok(())
}

/// Moves what it can while writers go on. Only a WAL that is wholly in the database begins anew, and under a steady load
/// there is always a little more; so when it has grown long and the rest has become short, that rest is moved with
/// writers held off, for as long as two flushes take.
fn checkpoint(conn: &Connection, pause: &Weak<dyn Pause>) -> rusqlite::Result<()> {
    for _ in 0..ROUNDS {
        let wal = passive(conn)?;
        // Where another process is at it, that one sees to the end.
        if wal.busy || wal.pages < COMPLETE_AT || wal.rest() == 0 {
            return Ok(());
        }
        if wal.rest() <= SHORT || wal.pages >= TOO_LONG {
            let mut result = Ok(());
            if let Some(pause) = pause.upgrade() {
                pause.while_paused(&mut || result = passive(conn).map(|_| ()));
            }
            return result;
        }
    }
    Ok(())
}

/// What a checkpoint says of the WAL, in pages.
struct Wal {
    busy: bool,
    pages: i64,
    moved: i64,
}

impl Wal {
    fn rest(&self) -> i64 {
        self.pages - self.moved
    }
}

fn passive(conn: &Connection) -> rusqlite::Result<Wal> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(Wal { busy: row.get::<_, i64>(0)? != 0, pages: row.get(1)?, moved: row.get(2)? })
    })
}
