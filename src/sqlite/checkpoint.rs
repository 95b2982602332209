//! Checkpoints in the background: the WAL goes into the database without a publisher doing it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;

use crate::defaults::{WAL_IDLE, WAL_KEPT, WAL_LIMIT};
use crate::error::{ErrorKind, Result};
use crate::sqlite::connection::{Opener, Purpose};
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::process::Process;
use crate::sqlite::stats::Counters;
use crate::sqlite::tables::file;
use crate::sqlite::{disk, fault};

/// WAL growth that is worth a checkpoint: about SQLite's own 1,000 pages.
const EVERY: u64 = 4 << 20;
/// Bytes in the WAL at which a checkpoint is completed with writers held off, so that the WAL begins anew.
const COMPLETE_AT: u64 = 4 << 20;
/// Bytes that are few enough to be moved with writers held off, where it does not get less.
const SHORT: u64 = 2 << 20;
/// Bytes that nobody notices to be moved.
const SHORTEST: u64 = 128 << 10;
/// Bytes in the WAL at which writers are held off however much is left, since they are faster than the disk.
const TOO_LONG: u64 = WAL_LIMIT;
/// Tries to get the rest that short; each moves what came during the one before.
const ROUNDS: usize = 8;

/// How often it is tried to cut the WAL of an idle file: a reader may be in the way, and the next writer sees to it.
const CUTS: usize = 5;

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
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Wanted {
    checkpoint: AtomicBool,
    /// The WAL is to be cut at once, since the disk is nearly full.
    cut: AtomicBool,
    /// Something was written, and the WAL is to be cut once nobody writes any more.
    cut_when_idle: AtomicBool,
    /// One is under way.
    at_work: AtomicBool,
    stop: AtomicBool,
}

impl Checkpointer {
    pub(crate) fn new(opener: Opener, identity: FileIdentity, counters: Arc<Counters>) -> Self {
        Self {
            opener,
            identity,
            counters,
            process: Process::current(),
            wanted: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Asks for a checkpoint if the WAL has grown by enough; `true` if it was asked for.
    pub(crate) fn grew(&self, bytes: u64, pause: impl FnOnce() -> Weak<dyn Pause>) -> bool {
        if bytes < WAL_KEPT || self.wanted.stop.load(Ordering::Relaxed) {
            return false;
        }
        if bytes >= EVERY {
            self.wanted.checkpoint.store(true, Ordering::SeqCst);
        } else if self.wanted.cut_when_idle.load(Ordering::Relaxed) {
            return false;
        }
        self.wanted.cut_when_idle.store(true, Ordering::SeqCst);
        self.call(pause);
        bytes >= EVERY
    }

    /// Whether a checkpoint is under way.
    pub(crate) fn is_at_work(&self) -> bool {
        self.wanted.at_work.load(Ordering::Relaxed)
    }

    /// Asks for all that is in the WAL to be moved, and its room to be given back.
    pub(crate) fn cut(&self, pause: impl FnOnce() -> Weak<dyn Pause>) {
        if !self.wanted.stop.load(Ordering::Relaxed) && !self.wanted.cut.swap(true, Ordering::SeqCst) {
            self.call(pause);
        }
    }

    /// Has the thread look at what is wanted.
    fn call(&self, pause: impl FnOnce() -> Weak<dyn Pause>) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            return thread.thread().unpark();
        }
        let run = Run {
            opener: self.opener.clone(),
            wanted: Arc::clone(&self.wanted),
            counters: Arc::clone(&self.counters),
            pause: pause(),
        };
        let identity = self.identity.clone();
        let started = std::thread::Builder::new().name("rowbus-checkpoint".to_owned()).spawn(move || {
            while let Err(error) = run.run(&identity) {
                if run.wanted.stop.load(Ordering::SeqCst) || error.kind() == ErrorKind::FileReplaced {
                    break;
                }
                tracing::warn!(%error, "no checkpoint can be made; it is tried again when more is written");
                std::thread::park();
            }
        });
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => tracing::warn!(%error, "starting the checkpoint thread"),
        }
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

/// What the thread has.
struct Run {
    opener: Opener,
    wanted: Arc<Wanted>,
    counters: Arc<Counters>,
    pause: Weak<dyn Pause>,
}

/// What a checkpoint found: pages in the WAL, and whether all of them are in the database now.
#[derive(Clone, Copy, Debug)]
struct Moved {
    pages: u64,
    is_all: bool,
}

impl Run {
    fn run(&self, identity: &FileIdentity) -> Result<()> {
        let conn = self.opener.open(Purpose::Write)?;
        identity.check()?;
        let page = file::page_size(&conn).map_err(|e| fault::error("reading the page size", e))?;
        let wanted = &self.wanted;
        let mut idle = Idle::default();
        while !wanted.stop.load(Ordering::SeqCst) {
            let done = if wanted.checkpoint.swap(false, Ordering::SeqCst) {
                self.timed(|| self.checkpoint(&conn, page))
            } else if wanted.cut.swap(false, Ordering::SeqCst) {
                self.timed(|| self.truncate(&conn))
            } else if !wanted.cut_when_idle.load(Ordering::SeqCst) {
                std::thread::park();
                Ok(())
            } else if let Some(rest) = idle.not_yet(Instant::now()) {
                std::thread::park_timeout(rest);
                Ok(())
            } else {
                self.cut_if_idle(&conn, &mut idle)
            };
            if let Err(error) = done {
                // Another process at the same work is no fault, and a full disk is told to who publishes.
                tracing::debug!(error = %fault::error("checkpointing", error), "a checkpoint did not happen");
            }
        }
        Ok(())
    }

    /// Counts what `work` has moved, which is what it returns.
    fn timed(&self, work: impl FnOnce() -> rusqlite::Result<u64>) -> rusqlite::Result<()> {
        let start = Instant::now();
        self.wanted.at_work.store(true, Ordering::Relaxed);
        let pages = work();
        self.wanted.at_work.store(false, Ordering::Relaxed);
        self.counters.checkpointed(pages?, start.elapsed());
        Ok(())
    }

    /// Cuts the WAL if nobody has written since the last look.
    fn cut_if_idle(&self, conn: &Connection, idle: &mut Idle) -> rusqlite::Result<()> {
        let (length, written) = disk::wal(self.opener.path());
        if length > WAL_KEPT && !idle.is_quiet(length, written) {
            return Ok(());
        }
        let cut = length <= WAL_KEPT || {
            let mut is_cut = false;
            self.timed(|| {
                let pages = self.truncate(conn)?;
                is_cut = disk::wal(self.opener.path()).0 <= WAL_KEPT;
                Ok(pages)
            })?;
            is_cut
        };
        idle.cuts += 1;
        if cut || idle.cuts >= CUTS {
            // Nothing wakes this thread until something is written again.
            *idle = Idle::default();
            self.wanted.cut_when_idle.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Moves all there is and gives the room of the WAL back, unless somebody is in the way; the pages that were moved.
    fn truncate(&self, conn: &Connection) -> rusqlite::Result<u64> {
        // Most of it while others write and read on; the rest takes the lock for an instant.
        passive(conn)?;
        let moved = wal_checkpoint(conn, "PRAGMA wal_checkpoint(TRUNCATE)")?;
        if moved.is_all {
            self.counters.truncations.one();
        }
        Ok(moved.pages)
    }

    /// Moves what it can while writers go on; the pages. Only a WAL that is wholly in the database begins anew, and under a
    /// steady load there is always a little more; so when it has grown long and little comes during one checkpoint, the next
    /// one is made with writers held off.
    fn checkpoint(&self, conn: &Connection, page: u64) -> rusqlite::Result<u64> {
        let (mut before, mut least) = (None, u64::MAX);
        for _ in 0..ROUNDS {
            let moved = passive(conn)?;
            // Another process is at it, or a reader holds on to an old page: then somebody else sees to the end, or a later
            // checkpoint does.
            let length = moved.pages.saturating_mul(page);
            if !moved.is_all || length < COMPLETE_AT {
                return Ok(moved.pages);
            }
            // What was moved now had come during the round before, and about as much has come during this one. Each round
            // is quicker than the one before, and so leaves less, until writers are as quick as the disk.
            let rest = before.map_or(u64::MAX, |before| length.saturating_sub(before));
            let is_least = rest <= SHORTEST || rest >= least / 2;
            if (rest <= SHORT && is_least) || length >= TOO_LONG {
                let mut result = Ok(moved);
                if let Some(pause) = self.pause.upgrade() {
                    pause.while_paused(&mut || {
                        result = passive(conn);
                        self.counters.restarts.one();
                    });
                }
                return result.map(|moved| moved.pages);
            }
            (before, least) = (Some(length), rest.min(least));
        }
        Ok(before.unwrap_or(0) / page.max(1))
    }
}

/// What was seen of the WAL, to tell whether it is still being written: by whichever process.
#[derive(Debug, Default)]
struct Idle {
    looked: Option<Instant>,
    seen: Option<(u64, Option<SystemTime>)>,
    cuts: usize,
}

impl Idle {
    /// How long to wait before the next look; it is not taken at once.
    fn not_yet(&mut self, now: Instant) -> Option<Duration> {
        let looked = *self.looked.get_or_insert(now);
        let rest = WAL_IDLE.saturating_sub(now.duration_since(looked));
        if rest.is_zero() {
            self.looked = Some(now);
            return None;
        }
        Some(rest)
    }

    /// Whether it is as it was the last time.
    fn is_quiet(&mut self, length: u64, written: Option<SystemTime>) -> bool {
        self.seen.replace((length, written)) == Some((length, written))
    }
}

fn passive(conn: &Connection) -> rusqlite::Result<Moved> {
    wal_checkpoint(conn, "PRAGMA wal_checkpoint(PASSIVE)")
}

fn wal_checkpoint(conn: &Connection, sql: &str) -> rusqlite::Result<Moved> {
    conn.query_row(sql, [], |row| {
        let (busy, pages, moved): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Moved { pages: pages.max(0).cast_unsigned(), is_all: busy == 0 && moved == pages })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_idle_once_its_wal_was_the_same_at_two_looks_that_lie_apart() {
        let (mut idle, start) = (Idle::default(), Instant::now());
        assert_eq!(idle.not_yet(start), Some(WAL_IDLE));
        assert_eq!(idle.not_yet(start + WAL_IDLE / 2), Some(WAL_IDLE / 2));
        assert_eq!(idle.not_yet(start + WAL_IDLE), None);
        assert_eq!(idle.not_yet(start + WAL_IDLE), Some(WAL_IDLE));
        let times = [1, 2].map(|second| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second)));
        assert!(!idle.is_quiet(7, times[0]));
        assert!(!idle.is_quiet(7, times[1]) && idle.is_quiet(7, times[1]) && !idle.is_quiet(8, times[1]));
    }
}
