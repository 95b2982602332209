//! How a connection of a bus is opened and set up. (Settings of a new file are in `open`.)

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::defaults::{BUSY_DEADLINE, WAL_LIMIT};
use crate::error::{Error, ErrorKind, Result};
use crate::publish::Durability;
use crate::sqlite::fault;

/// What a host runs first on every connection, for instance SQLCipher's key.
pub(crate) type OnConnect = Arc<dyn Fn(&Connection) -> rusqlite::Result<()> + Send + Sync>;

/// Opens connections to one file, each set up the same way.
#[derive(Clone)]
pub(crate) struct Opener {
    path: PathBuf,
    flags: OpenFlags,
    on_connect: Option<OnConnect>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write,
    Read,
}

// No CREATE: the file is there, made with the right mode. No mutex: each connection is behind one of ours.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

impl Opener {
    pub(crate) fn new(path: PathBuf, on_connect: Option<OnConnect>) -> Self {
        Self { path, flags: FLAGS, on_connect }
    }

    /// The same for another file, which may be written.
    pub(crate) fn at(&self, path: &Path) -> Self {
        Self { path: path.to_owned(), flags: FLAGS, on_connect: self.on_connect.clone() }
    }

    /// The same, opened in another way.
    pub(crate) fn with_flags(self, flags: OpenFlags) -> Self {
        Self { flags: flags | OpenFlags::SQLITE_OPEN_NO_MUTEX, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A connection as SQLite gives it, with only the host's own set-up.
    pub(crate) fn open_bare(&self) -> Result<Connection> {
        let doing = || format!("opening {}", self.path.display());
        let conn =
            Connection::open_with_flags(&self.path, self.flags).map_err(|e| fault::error(&doing(), e))?;
        if let Some(on_connect) = &self.on_connect {
            on_connect(&conn).map_err(|e| fault::error("running on_connect", e))?;
        }
        // Waiting is ours: SQLite's own busy handler sleeps for whole milliseconds and is unfair between processes.
        conn.busy_timeout(Duration::ZERO).map_err(|e| fault::error(&doing(), e))?;
        Ok(conn)
    }

    /// A connection ready for its purpose.
    pub(crate) fn open(&self, purpose: Purpose) -> Result<Connection> {
        let mut conn = self.open_bare()?;
        // Even a setting can meet a lock, while another process recovers the file or makes it one in WAL mode.
        let deadline = Instant::now() + BUSY_DEADLINE;
        retry_busy(deadline, || set_up(&mut conn, purpose))
            .map_err(|e| fault::error("setting up a connection", e))?;
        Ok(conn)
    }

    /// The pool of read connections.
    pub(crate) fn pool(&self, size: u32) -> Result<r2d2::Pool<r2d2_sqlite::SqliteConnectionManager>> {
        let on_connect = self.on_connect.clone();
        let manager = r2d2_sqlite::SqliteConnectionManager::file(&self.path)
            .with_flags(self.flags)
            .with_init(move |conn| {
                if let Some(on_connect) = &on_connect {
                    on_connect(conn)?;
                }
                set_up(conn, Purpose::Read)
            });
        r2d2::Pool::builder()
            .max_size(size)
            .min_idle(Some(0))
            // No reaper: it would wake an idle process for ever.
            .max_lifetime(None)
            .idle_timeout(None)
            .test_on_check_out(false)
            // A connection that cannot be opened is told to who asks, and not retried behind its back for longer.
            .connection_timeout(BUSY_DEADLINE)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build(manager)
            .map_err(|e| Error::with_source(ErrorKind::Database, "building the pool of read connections", e))
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("path", &self.path).finish_non_exhaustive()
    }
}

fn set_up(conn: &mut Connection, purpose: Purpose) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(96);
    // Plans are made without a look at the values that are bound. Where the planner compares one with the condition of
    // a partial index, SQLite would prepare the statement anew at each execution: 12 µs for each claim.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // What others put into the schema of a shared file runs no function with side effects.
    conn.pragma_update(None, "trusted_schema", false)?;
    match purpose {
        Purpose::Write => {
            conn.busy_timeout(Duration::ZERO)?;
            // Checkpoints happen in the background.
            conn.pragma_update(None, "wal_autocheckpoint", 0)?;
            // One that became long has its room given back when it begins anew.
            conn.pragma_update(None, "journal_size_limit", (WAL_LIMIT / 2).cast_signed())?;
            conn.pragma_update(None, "fullfsync", true)?;
            conn.pragma_update(None, "checkpoint_fullfsync", true)?;
            set_durability(conn, Durability::Full)
        }
        Purpose::Read => {
            // A reader in WAL mode is locked out only for the instant of a recovery.
            conn.busy_timeout(Duration::from_secs(5))?;
            conn.pragma_update(None, "query_only", true)
        }
    }
}

/// A number that changes when another connection has committed. To be read outside of transactions, and compared
/// with what the same connection said before.
pub(crate) fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// What the next commits of this connection wait for.
pub(crate) fn set_durability(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    // The name and not the number: SQLCipher and others answer to it as well.
    conn.pragma_update(None, "synchronous", if durability == Durability::Full { "FULL" } else { "NORMAL" })
}

/// Runs `attempt` until it is not busy or the deadline has passed, with short waits that differ between processes.
pub(crate) fn retry_busy<T>(
    deadline: Instant,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut patience = Patience::new();
    loop {
        match attempt() {
            Err(error) if fault::is_busy(&error) && Instant::now() < deadline => patience.wait(),
            done => return done,
        }
    }
}

/// How long to wait for a lock before the next look.
///
/// Short and random: the lock of a busy file is free for some ten microseconds at a time, so that many short looks find
/// it soon, and no process is ahead of another by its habit.
#[derive(Debug)]
pub(crate) struct Patience {
    micros: u64,
    seed: u64,
}

impl Patience {
    /// A waiter whose turn it is by [`Courtesy`](crate::sqlite::writer) should not sleep through it.
    const LONGEST: u64 = 300;

    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self { micros: 20, seed: RandomState::new().hash_one(0) | 1 }
    }

    pub(crate) fn wait(&mut self) {
        // xorshift: good enough to keep waiters apart.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        std::thread::sleep(Duration::from_micros(self.micros / 2 + self.seed % self.micros));
        self.micros = (self.micros + self.micros / 2).min(Self::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
    }

    fn setting(conn: &Connection, name: &str) -> i64 {
        conn.pragma_query_value(None, name, |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_write_connection_flushes_at_the_level_asked_for_and_checkpoints_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode=WAL").unwrap();
        let conn = Opener::new(path, None).open(Purpose::Write).unwrap();
        assert_eq!((setting(&conn, "synchronous"), setting(&conn, "fullfsync")), (2, 1));
        assert_eq!((setting(&conn, "checkpoint_fullfsync"), setting(&conn, "wal_autocheckpoint")), (1, 0));
        set_durability(&conn, Durability::Relaxed).unwrap();
        assert_eq!(setting(&conn, "synchronous"), 1);
        set_durability(&conn, Durability::Full).unwrap();
        assert_eq!(setting(&conn, "synchronous"), 2);
    }

    #[test]
    fn a_read_connection_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x)")
            .unwrap();
        let conn = Opener::new(path, None).open(Purpose::Read).unwrap();
        assert!(conn.execute("INSERT INTO t VALUES (1)", []).is_err());
    }

    #[test]
    fn busy_is_retried_until_it_is_not() {
        let mut looks = 0;
        let done = retry_busy(Instant::now() + Duration::from_secs(60), || {
            looks += 1;
            if looks < 5 { Err(busy()) } else { Ok(looks) }
        });
        assert_eq!(done.unwrap(), 5);
    }

    #[test]
    fn after_the_deadline_busy_is_the_answer() {
        let done: rusqlite::Result<()> = retry_busy(Instant::now(), || Err(busy()));
        assert!(fault::is_busy(&done.unwrap_err()));
    }
}
