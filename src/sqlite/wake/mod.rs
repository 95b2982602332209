//! How a process learns that another one has committed.
//!
//! The doorbell tells it at once. Under it lies the floor, `PRAGMA data_version` on a connection that is outside any
//! transaction: it needs nothing of the writer, so that plain SQL clients are heard as well, and the doorbell can only
//! ever save time. Of the two only the floor is relied on.

#[cfg(target_os = "linux")]
mod atomic;
mod bits;
mod doorbell;
mod pace;
mod park;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod platform;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(target_os = "linux")]
mod slot;
#[cfg(target_os = "linux")]
mod watch;

use rusqlite::Connection;

use crate::error::Result;
use crate::sqlite::connection::{Opener, Purpose, data_version};
use crate::sqlite::fault;

pub(crate) use bits::{Interest, WakeBits};
pub(crate) use doorbell::Bell;
pub(crate) use pace::Pace;
pub(crate) use platform::WalWatch;

/// A connection that notices commits of all others, in this process and elsewhere.
pub(crate) struct Floor {
    conn: Connection,
    version: Option<i64>,
}

impl Floor {
    pub(crate) fn open(opener: &Opener) -> Result<Self> {
        Ok(Self { conn: opener.open(Purpose::Read)?, version: None })
    }

    /// Whether something was committed since the last call; the first call says yes. What is seen counts as seen
    /// *before* it is read, so that a commit in between is noticed by the next call.
    pub(crate) fn has_changed(&mut self) -> Result<bool> {
        // Inside a transaction the number would stand still.
        debug_assert!(self.conn.is_autocommit());
        let version = data_version(&self.conn).map_err(|e| fault::error("reading data_version", e))?;
        let changed = self.version != Some(version);
        self.version = Some(version);
        Ok(changed)
    }

    /// Runs `read`, which calls what it is given while it holds its snapshot: then commits up to that one count as seen.
    pub(crate) fn seeing<T>(
        &mut self,
        read: impl FnOnce(&Connection, &mut dyn FnMut() -> rusqlite::Result<()>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let Self { conn, version } = self;
        read(conn, &mut || {
            *version = Some(data_version(conn)?);
            Ok(())
        })
    }

    /// Reads on one snapshot, which takes SQLite's locks once for all statements; then commits up to it count as seen.
    pub(crate) fn on_snapshot<T>(&mut self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let failed = |e| fault::error("reading a snapshot", e);
        let Self { conn, version } = self;
        let snapshot = conn.unchecked_transaction().map_err(failed)?;
        // The first statement takes the snapshot, and the number stands still in it.
        *version = Some(data_version(&snapshot).map_err(failed)?);
        read(&snapshot)
    }

    /// The connection, to read with in between.
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_of_others_are_noticed_once_each_and_after_every_kind_of_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x)").unwrap();
        let mut floor = Floor::open(&Opener::new(path, None)).unwrap();
        assert!(floor.has_changed().unwrap());
        assert!(!floor.has_changed().unwrap());
        for checkpoint in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
            writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
            assert!(floor.has_changed().unwrap(), "{checkpoint}");
            writer.query_row(&format!("PRAGMA wal_checkpoint({checkpoint})"), [], |_| Ok(())).unwrap();
            let _ = floor.has_changed().unwrap();
            writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
            assert!(floor.has_changed().unwrap(), "after {checkpoint}");
            assert!(!floor.has_changed().unwrap());
        }
    }
}
