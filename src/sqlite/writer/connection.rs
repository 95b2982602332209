//! The write connection: transactions that are wholly there or wholly not, whatever goes wrong in between.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::publish::Durability;
use crate::sqlite::builder::Options;
use crate::sqlite::connection::{Opener, Patience, Purpose, data_version, set_durability};
use crate::sqlite::fault;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::open::Opened;
use crate::sqlite::stats::Counters;
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::changes::Changes;
use crate::sqlite::writer::courtesy::Courtesy;
use crate::sqlite::writer::operation::{Appended, Tx};
use crate::sqlite::writer::room::Room;
use crate::sqlite::writer::wal::WalLength;

/// What a transaction has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    /// Whom it concerns.
    pub(crate) changed: WakeBits,
    /// The events that were appended, or fewer, if they were not all kept.
    pub(crate) events: &'a [Message],
    pub(crate) appended: usize,
    /// Whether it changed requests.
    pub(crate) requests: bool,
}

/// Who wants to know of commits.
pub(crate) trait CommitListener: Send + Sync {
    /// Whether events are to be handed over with the commit.
    fn wants_events(&self) -> bool;
    /// Called after COMMIT has returned, in the order of the commits, if anything changed that somebody may wait for.
    /// Returns readers to wake when no lock is held.
    fn committed(&self, commit: Commit<'_>) -> Vec<Waker>;
    /// Called when the WAL has grown by this much, by whomever, since the last call that returned `true`.
    fn wal_grew(&self, bytes: u64) -> bool;
    /// Whether this bus is moving the WAL into the database.
    fn is_checkpointing(&self) -> bool;
    /// Called when something was refused since the disk is nearly full.
    fn disk_is_full(&self);
    /// Called once a second at most, while there is something to write.
    fn now_and_then(&self);
}

/// Why a transaction did not happen.
#[derive(Debug)]
pub(crate) enum NotCommitted {
    /// Another connection holds the lock; nothing was applied.
    Busy,
    /// Other processes wait for the lock, and are to have it first; nothing was applied. Ask again after this time.
    StandBack(Duration),
    /// An operation failed and took its neighbours with it: each is to be tried alone.
    Neighbour,
    /// It failed for all.
    Failed(Error),
}

impl From<Error> for NotCommitted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(crate) struct WriteConnection {
    opener: Opener,
    /// `None` after an error that leaves its state unknown, until it is opened anew.
    conn: Option<Connection>,
    durability: Durability,
    changes: Arc<Changes>,
    options: Options,
    identity: FileIdentity,
    identity_checked: Instant,
    courtesy: Courtesy,
    room: Room,
    counters: Arc<Counters>,
    wal: WalLength,
    /// Readers of what was committed, to be woken when the connection is released.
    wakers: Vec<Waker>,
    listener: Arc<dyn CommitListener>,
    /// Why nothing can be written any more.
    ended: Option<Error>,
}

/// How often the path is compared with the open file while writing: a deleted file would accept rows for ever.
const IDENTITY_EVERY: Duration = Duration::from_secs(1);

/// What a commit writes beside its data: each page that it touched, the table's, the index's, and the one with the sequence.
pub(super) const COMMIT_BYTES: usize = 3 * 4096;

/// How long a checkpoint waits for the lock that completes it.
const LOCK_WITHIN: Duration = Duration::from_millis(20);

impl WriteConnection {
    pub(crate) fn new(
        opened: Opened,
        options: Options,
        listener: Arc<dyn CommitListener>,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let changes = Arc::default();
        let mut wal = WalLength::default();
        let conn = followed(opened.conn, &changes, &mut wal)?;
        Ok(Self {
            courtesy: Courtesy::new(opened.opener.path()),
            room: Room::new(opened.opener.path().to_owned()),
            counters,
            opener: opened.opener,
            conn: Some(conn),
            durability: Durability::Full,
            changes,
            options,
            identity: opened.identity,
            identity_checked: Instant::now(),
            wal,
            wakers: Vec::new(),
            listener,
            ended: None,
        })
    }

    /// Nothing is written from here on.
    pub(crate) fn close(&mut self) {
        self.ended.get_or_insert_with(Error::closed);
        self.conn = None;
    }

    /// One transaction of `count` operations, each applied by its index.
    pub(crate) fn transaction(
        &mut self,
        durability: Durability,
        count: usize,
        mut apply: impl FnMut(usize, &mut Tx<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), NotCommitted> {
        let dedup_window = self.options.dedup_window.as_millis() as i64;
        let begun = self.begin(durability)?;
        let clock = Arc::clone(&self.options.clock);
        let (applied, Appended { events, count: appended, bytes, bits, requests, refused }) = {
            let Some(conn) = &self.conn else { return Err(NotCommitted::Failed(Error::closed())) };
            let room = self.room.left(begun, conn);
            let mut appended = Appended::default();
            // A host's clock is foreign code as well: one that panics leaves nothing locked.
            let apply_all = AssertUnwindSafe(|| {
                let mut tx = Tx::new(conn, &*clock, dedup_window, self.listener.wants_events(), room);
                let applied = (0..count).try_for_each(|at| apply(at, &mut tx));
                appended = tx.into_appended();
                applied
            });
            (std::panic::catch_unwind(apply_all), appended)
        };
        self.mind_the_room(refused, bytes);
        let applied = applied.unwrap_or_else(|panic| {
            self.roll_back();
            std::panic::resume_unwind(panic)
        });
        if let Err(error) = applied {
            self.roll_back();
            let alone = count == 1 || fault::concerns_the_file(&error);
            let failed = || NotCommitted::Failed(fault::error("writing", error));
            return Err(if alone { failed() } else { NotCommitted::Neighbour });
        }
        self.commit()?;
        let now = Instant::now();
        self.counters.committed(count, appended, durability, now.duration_since(begun));
        self.courtesy.had_turn(now);
        let changed = self.changes.bits(appended, requests, bits);
        if changed != WakeBits::NOTHING {
            let requests = requests || self.changes.others();
            let commit = Commit { changed, events: &events, appended, requests };
            self.wakers.extend(self.listener.committed(commit));
        }
        if self.listener.wal_grew(self.wal.committed()) {
            self.wal.told();
        }
        Ok(())
    }

    pub(crate) fn courtesy(&mut self) -> &mut Courtesy {
        &mut self.courtesy
    }

    /// Whether a transaction can begin without opening the connection anew, which takes time.
    pub(crate) fn is_open(&self) -> bool {
        self.conn.is_some() || self.ended.is_some()
    }

    /// Readers to wake when the lock on this connection is released.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    /// Calls `work` while this connection holds SQLite's write lock. It waits for the lock, though not for long, and
    /// ahead of its turn: all processes gain by what is done with it.
    pub(crate) fn while_locked(&mut self, work: &mut dyn FnMut()) {
        let mut patience = Patience::new();
        let until = Instant::now() + LOCK_WITHIN;
        loop {
            match self.begin_now(self.durability) {
                Ok(_) => {
                    work();
                    self.roll_back();
                    break;
                }
                Err(NotCommitted::Busy) if Instant::now() < until => {
                    self.courtesy.wait();
                    patience.wait();
                }
                Err(_) => break,
            }
        }
        self.courtesy.done_waiting();
    }

    /// Keeps count of what was written, and tells of a disk that is nearly full, or is no more.
    fn mind_the_room(&mut self, refused: usize, bytes: usize) {
        self.room.wrote(bytes + COMMIT_BYTES);
        if refused > 0 {
            self.counters.disk_full.add(refused as u64);
            self.listener.disk_is_full();
        }
        // Only what asks for room can tell that there is some again.
        if (refused > 0 || bytes > 0) && self.room.refused(refused > 0) {
            let path = self.opener.path().display();
            if refused > 0 {
                tracing::warn!(%path, "the disk is nearly full: publishing is refused, so that pruning can still run");
            } else {
                tracing::info!(%path, "the disk has room again: publishing goes on");
            }
        }
    }

    /// Begins in turn with other processes; when.
    fn begin(&mut self, durability: Durability) -> Result<Instant, NotCommitted> {
        let now = Instant::now();
        if let Some(nap) = self.wal.hold_off(now, || self.listener.is_checkpointing()) {
            return Err(NotCommitted::StandBack(nap));
        }
        let version = || self.conn.as_ref().and_then(|conn| data_version(conn).ok()).unwrap_or_default();
        match self.courtesy.stand_back(now, version) {
            Some(nap) => {
                self.counters.stood_back.one();
                Err(NotCommitted::StandBack(nap))
            }
            None => self.begin_now(durability),
        }
    }

    fn begin_now(&mut self, durability: Durability) -> Result<Instant, NotCommitted> {
        if let Some(error) = &self.ended {
            return Err(error.clone().into());
        }
        // Whatever interrupted the last transaction.
        self.roll_back();
        let now = Instant::now();
        if now.duration_since(self.identity_checked) >= IDENTITY_EVERY {
            self.identity_checked = now;
            if let Err(error) = self.identity.check() {
                self.ended = Some(error.clone());
                return Err(error.into());
            }
            self.listener.now_and_then();
        }
        if self.conn.is_none() {
            let opened = self.opener.open(Purpose::Write);
            self.identity.check()?;
            self.conn = Some(followed(opened?, &self.changes, &mut self.wal)?);
            self.durability = Durability::Full;
        }
        let Some(conn) = &self.conn else { return Err(Error::closed().into()) };
        if self.durability != durability {
            set_durability(conn, durability).map_err(|e| fault::error("changing the durability", e))?;
            self.durability = durability;
        }
        match run(conn, "BEGIN IMMEDIATE") {
            Ok(()) => {
                self.courtesy.done_waiting();
                self.changes.clear();
                self.wal.begins();
                Ok(now)
            }
            Err(error) if fault::is_busy(&error) => {
                self.counters.busy.one();
                Err(NotCommitted::Busy)
            }
            Err(error) => Err(fault::error("beginning a transaction", error).into()),
        }
    }

    fn commit(&mut self) -> Result<(), NotCommitted> {
        let Some(conn) = &self.conn else { return Err(Error::closed().into()) };
        let Err(error) = run(conn, "COMMIT") else { return Ok(()) };
        let kind = fault::kind(&error);
        // Where SQLite still has the transaction open it has not been committed; a rollback makes that certain, except
        // after an I/O error: what reached the WAL may count as committed after a recovery.
        self.roll_back();
        if kind != ErrorKind::Io {
            return Err(fault::error("committing", error).into());
        }
        self.conn = None;
        let message = format!(
            "committing: {error}; whether it was written will only show after recovery. \
             Publish again with the same message_id, which is safe either way"
        );
        Err(Error::with_source(ErrorKind::Indeterminate, message, error).into())
    }

    /// Leaves no transaction open; where that cannot be had, the connection goes with it.
    fn roll_back(&mut self) {
        let Some(conn) = &self.conn else { return };
        if !conn.is_autocommit() && run(conn, "ROLLBACK").is_err() && !conn.is_autocommit() {
            self.conn = None;
        }
    }
}

/// A connection whose changes are counted.
fn followed(conn: Connection, changes: &Arc<Changes>, wal: &mut WalLength) -> Result<Connection> {
    changes.follow(&conn).map_err(|e| fault::error("setting the update hook", e))?;
    wal.follow(&conn).map_err(|e| fault::error("setting the WAL hook", e))?;
    Ok(conn)
}

fn run(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_| ())
}
