//! How long the WAL is, as SQLite tells after each commit; and waiting where it grows faster than the disk takes it.

use std::cell::Cell;
use std::ffi::c_int;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::defaults::WAL_LIMIT;
use crate::sqlite::tables::file;

/// What the WAL may have before writers are held off: they would be while a checkpoint is completed, but the disk is slow with
/// the one that is under way.
const TOO_LONG: u64 = WAL_LIMIT + WAL_LIMIT / 2;
/// Between two transactions then. They are large, since everybody's are gathered meanwhile.
const APART: Duration = Duration::from_millis(100);
/// Between looks at whether the checkpoint has ended.
const NAP: Duration = Duration::from_millis(1);

thread_local! {
    /// Pages in the WAL behind this thread's last commit, if that wrote any. The hook is a bare function, and runs within COMMIT.
    static PAGES: Cell<Option<c_int>> = const { Cell::new(None) };
}

fn note(_: &Wal, pages: c_int) -> rusqlite::Result<()> {
    PAGES.set(Some(pages));
    Ok(())
}

/// The WAL as one connection knows it.
#[derive(Debug, Default)]
pub(super) struct WalLength {
    page: u64,
    /// Bytes behind the last commit, of all processes' frames.
    length: u64,
    /// By how much it has grown since somebody was told.
    grown: u64,
    /// When the last transaction was let through although it was too long.
    let_through: Option<Instant>,
}

impl WalLength {
    /// Listens to this connection's commits. Whoever sets `wal_autocheckpoint` on it ends that.
    pub(super) fn follow(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        conn.wal_hook(Some(note));
        self.page = file::page_size(conn)?;
        Ok(())
    }

    /// A transaction begins on this thread.
    pub(super) fn begins(&self) {
        PAGES.set(None);
    }

    /// It was committed; by how much the WAL has grown since it was last told.
    pub(super) fn committed(&mut self) -> u64 {
        if let Some(pages) = PAGES.get() {
            let length = self.page.saturating_mul(pages.max(0).unsigned_abs().into());
            // A shorter one has begun anew.
            self.grown += length.checked_sub(self.length).unwrap_or(length);
            self.length = length;
        }
        self.grown
    }

    pub(super) fn told(&mut self) {
        self.grown = 0;
    }

    /// How long to wait before the next transaction: while a checkpoint is under way, and the WAL has become too long
    /// meanwhile. (Where none is, a reader is in the way, and waiting would not help.)
    pub(super) fn hold_off(&mut self, now: Instant, is_checkpointing: impl Fn() -> bool) -> Option<Duration> {
        if self.length < TOO_LONG || !is_checkpointing() {
            self.let_through = None;
            return None;
        }
        let since = *self.let_through.get_or_insert(now);
        if now.duration_since(since) < APART {
            return Some(NAP);
        }
        self.let_through = Some(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_what_was_committed_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("a.db")).unwrap();
        conn.execute_batch("PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE a (x)")
            .unwrap();
        let mut wal = WalLength::default();
        wal.follow(&conn).unwrap();
        let write = |wal: &mut WalLength, bytes: usize| {
            wal.begins();
            conn.execute("INSERT INTO a VALUES (zeroblob(?1))", [bytes as i64]).unwrap();
            wal.committed()
        };
        let before = write(&mut wal, 10);
        let after = write(&mut wal, 100_000);
        assert!(after - before >= 100_000 && after - before < 120_000, "{before} {after}");
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        let anew = write(&mut wal, 10) - after;
        assert!(anew > 0 && anew < 10_000, "{anew}");
        wal.told();
        assert!(wal.grown == 0 && wal.length == anew);
        wal.begins();
        conn.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
        assert_eq!(wal.committed(), 0, "nothing was written");
    }

    #[test]
    fn writers_are_held_off_only_while_a_long_wal_is_being_moved() {
        let (start, mut wal) = (Instant::now(), WalLength { length: TOO_LONG - 1, ..WalLength::default() });
        assert_eq!(wal.hold_off(start, || true), None);
        wal.length += 1;
        assert_eq!(wal.hold_off(start, || false), None, "a reader is in the way");
        assert_eq!(wal.hold_off(start, || true), Some(NAP));
        assert_eq!(wal.hold_off(start + APART / 2, || true), Some(NAP));
        assert_eq!(wal.hold_off(start + APART, || true), None, "nobody waits for ever");
        assert_eq!(wal.hold_off(start + APART, || true), Some(NAP));
        assert_eq!(wal.hold_off(start + APART, || false), None);
    }
}
