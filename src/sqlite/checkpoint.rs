//! Checkpoints in the background: the WAL goes into the database without a publisher doing it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::error::Result;
use crate::sqlite::connection::{Opener, Purpose};
use crate::sqlite::fault;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::process::Process;

/// WAL growth that is worth a checkpoint: about SQLite's own 1,000 pages.
const EVERY: usize = 4 << 20;
/// Pages in the WAL at which a checkpoint is completed with writers held off, so that the WAL begins anew: 4 MiB.
const COMPLETE_AT: i64 = 1024;
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
    identity: FileIdentity,
    process: Process,
    wanted: Arc<Wanted>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Wanted {
    checkpoint: AtomicBool,
    stop: AtomicBool,
}

impl Checkpointer {
    pub(crate) fn new(opener: Opener, identity: FileIdentity) -> Self {
        Self {
            opener,
            identity,
            process: Process::current(),
            wanted: Arc::default(),
            thread: Mutex::default(),
        }
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
        let (opener, identity) = (self.opener.clone(), self.identity.clone());
        let (wanted, pause) = (Arc::clone(&self.wanted), pause());
        let started = std::thread::Builder::new().name("rowbus-checkpoint".to_owned()).spawn(move || {
            if let Err(error) = run(&opener, &identity, &wanted, &pause) {
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
        if self.process.check().is_err() {
            return;
        }
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

fn run(opener: &Opener, identity: &FileIdentity, wanted: &Wanted, pause: &Weak<dyn Pause>) -> Result<()> {
    let conn = opener.open(Purpose::Write)?;
    identity.check()?;
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
/// there is always a little more; so when it has grown long and little comes during one checkpoint, the next one is made
/// with writers held off.
fn checkpoint(conn: &Connection, pause: &Weak<dyn Pause>) -> rusqlite::Result<()> {
    let mut moved = None;
    for _ in 0..ROUNDS {
        let Some(pages) = passive(conn)? else { return Ok(()) };
        if pages < COMPLETE_AT {
            return Ok(());
        }
        // What was moved now had come during the round before, and about as much has come during this one.
        let rest = moved.map_or(i64::MAX, |moved| pages - moved);
        if rest <= SHORT || (moved.is_some() && pages >= TOO_LONG) {
            let mut result = Ok(None);
            if let Some(pause) = pause.upgrade() {
                pause.while_paused(&mut || result = passive(conn));
            }
            return result.map(|_| ());
        }
        moved = Some(pages);
    }
    Ok(())
}

/// The pages that were in the WAL when it began, all of which are in the database now; `None` where another process is at
/// it, or a reader holds on to an old page: then somebody else sees to the end, or a later checkpoint does.
fn passive(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (busy, pages, moved): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((busy == 0 && moved == pages).then_some(pages))
    })
}
