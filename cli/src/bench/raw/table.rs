//! The table, and the connection to it.

use std::path::Path;
use std::time::Duration;

use rowbus::rusqlite::{Connection, OpenFlags, Result};

const MAKE: &str = "CREATE TABLE messages (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL);
    CREATE TABLE replies (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE jobs (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL, state INTEGER NOT NULL, token INTEGER);
    CREATE INDEX jobs_ready ON jobs (id) WHERE state = 0;";
const INSERT: &str = "INSERT INTO messages (subject, data) VALUES (?1, ?2)";
// By the primary key.
const AFTER: &str = "SELECT id, data FROM messages WHERE id > ?1 ORDER BY id";
const DATA_VERSION: &str = "PRAGMA data_version";

/// How long another connection's transaction is waited for.
const BUSY: Duration = Duration::from_secs(30);

pub(super) struct Table {
    pub(super) conn: Connection,
}

impl Table {
    /// Makes the file.
    pub(super) fn make(path: &Path, synchronous: &str) -> Result<Self> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        let table = Self::set_up(conn, synchronous)?;
        table.conn.execute_batch(MAKE)?;
        Ok(table)
    }

    /// Opens the file in another process.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Self::set_up(conn, "NORMAL")
    }

    fn set_up(conn: Connection, synchronous: &str) -> Result<Self> {
        conn.busy_timeout(BUSY)?;
        conn.pragma_update(None, "synchronous", synchronous)?;
        Ok(Self { conn })
    }

    /// Does this in one transaction.
    pub(super) fn commit<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let done = work(&self.conn)?;
        self.conn.execute_batch("COMMIT")?;
        Ok(done)
    }

    /// Inserts so many messages in one transaction.
    pub(super) fn insert(&self, subject: &str, data: &[u8], rows: u64) -> Result<()> {
        self.commit(|conn| {
            let mut insert = conn.prepare_cached(INSERT)?;
            for _ in 0..rows {
                insert.execute((subject, data))?;
            }
            Ok(())
        })
    }

    /// Calls `each` with the messages behind this one; the id of the last.
    pub(super) fn read(&self, after: i64, mut each: impl FnMut(i64, &[u8])) -> Result<i64> {
        let mut statement = self.conn.prepare_cached(AFTER)?;
        let (mut rows, mut last) = (statement.query([after])?, after);
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            each(last, row.get_ref(1)?.as_bytes()?);
        }
        Ok(last)
    }

    /// A number that is another one when another connection has committed.
    pub(super) fn version(&self) -> Result<i64> {
        self.conn.prepare_cached(DATA_VERSION)?.query_row([], |row| row.get(0))
    }
}
