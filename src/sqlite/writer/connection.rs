//! The write connection: transactions that are wholly there or wholly not, whatever goes wrong in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::publish::Durability;
use crate::sqlite::builder::Options;
use crate::sqlite::connection::{Opener, Purpose, data_version, set_durability};
use crate::sqlite::fault;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::open::Opened;
use crate::sqlite::writer::courtesy::Courtesy;
use crate::sqlite::writer::operation::Tx;

/// Who wants to know of commits.
pub(crate) trait CommitListener: Send + Sync {
    /// Whether events are to be handed over with the commit.
    fn wants_events(&self) -> bool;
    /// Called after COMMIT has returned, in the order of the commits: the events that were appended (at least one), or
    /// fewer, if they were not all kept.
    fn committed(&self, events: &[Message], appended: usize);
    /// Called when the WAL has grown by about this much since the last call that returned `true`.
    fn wal_grew(&self, bytes: usize) -> bool;
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
    options: Options,
    identity: FileIdentity,
    identity_checked: Instant,
    courtesy: Courtesy,
    wal_bytes: usize,
    listener: Arc<dyn CommitListener>,
    /// Why nothing can be written any more.
    ended: Option<Error>,
}

/// How often the path is compared with the open file while writing: a deleted file would accept rows for ever.
const IDENTITY_EVERY: Duration = Duration::from_secs(1);

impl WriteConnection {
    pub(crate) fn new(opened: Opened, options: Options, listener: Arc<dyn CommitListener>) -> Self {
        Self {
            courtesy: Courtesy::new(opened.opener.path()),
            opener: opened.opener,
            conn: Some(opened.conn),
            durability: Durability::Full,
            options,
            identity: opened.identity,
            identity_checked: Instant::now(),
            wal_bytes: 0,
            listener,
            ended: None,
        }
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
        self.begin(durability)?;
        let Some(conn) = &self.conn else { return Err(NotCommitted::Failed(Error::closed())) };
        let mut tx = Tx {
            conn,
            now: self.options.clock.unix_millis(),
            dedup_window: self.options.dedup_window.as_millis() as i64,
            hand_over: self.listener.wants_events(),
            events: Vec::new(),
            appended: 0,
            bytes: 0,
        };
        let applied = (0..count).try_for_each(|at| apply(at, &mut tx));
        let (events, appended, bytes) = (tx.events, tx.appended, tx.bytes);
        if let Err(error) = applied {
            self.roll_back();
            let alone = count == 1 || fault::concerns_the_file(&error);
            let failed = || NotCommitted::Failed(fault::error("writing", error));
            return Err(if alone { failed() } else { NotCommitted::Neighbour });
        }
        self.commit()?;
        self.courtesy.had_turn();
        if appended > 0 {
            self.listener.committed(&events, appended);
        }
        // A commit writes each page that it touched: the table's, the index's, and the one with the sequence.
        self.wal_bytes += bytes + 3 * 4096;
        if self.listener.wal_grew(self.wal_bytes) {
            self.wal_bytes = 0;
        }
        Ok(())
    }

    pub(crate) fn courtesy(&mut self) -> &mut Courtesy {
        &mut self.courtesy
    }

    /// Calls `work` while this connection holds SQLite's write lock, unless another one does.
    pub(crate) fn while_locked(&mut self, work: &mut dyn FnMut()) {
        if self.begin(self.durability).is_ok() {
            work();
            self.roll_back();
        }
    }

    fn begin(&mut self, durability: Durability) -> Result<(), NotCommitted> {
        if let Some(error) = &self.ended {
            return Err(error.clone().into());
        }
        let now = Instant::now();
        let version = || self.conn.as_ref().and_then(|conn| data_version(conn).ok()).unwrap_or_default();
        if let Some(nap) = self.courtesy.stand_back(now, version) {
            return Err(NotCommitted::StandBack(nap));
        }
        if now.duration_since(self.identity_checked) >= IDENTITY_EVERY {
            self.identity_checked = now;
            if let Err(error) = self.identity.check() {
                self.ended = Some(error.clone());
                return Err(error.into());
            }
        }
        if self.conn.is_none() {
            let opened = self.opener.open(Purpose::Write);
            self.identity.check()?;
            self.conn = Some(opened?);
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
                Ok(())
            }
            Err(error) if fault::is_busy(&error) => Err(NotCommitted::Busy),
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

fn run(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_| ())
}
