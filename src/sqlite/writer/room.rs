//! How much may still be written: the last of a disk is kept for what brings a full one back.
//!
//! When SQLite itself finds the disk full, nothing works any more: a delete needs room in the WAL, and a checkpoint, which
//! would free that, may need room in the database. So publishing ends before, and pruning and checkpoints have the rest.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::defaults::DISK_RESERVE;
use crate::headers::Headers;
use crate::sqlite::disk;
use crate::sqlite::tables::file;
use crate::subject::Subject;

/// Between looks at the disk, while there is more room than all processes write in between.
const EVERY: Duration = Duration::from_secs(1);
/// With less, it is looked in each transaction, in which nobody else writes: 256 MiB. A look takes a few microseconds.
const MUCH: u64 = 256 << 20;

/// A row's numbers, and what its page needs to find it.
const ROW: usize = 64;

#[derive(Debug)]
pub(super) struct Room {
    database: PathBuf,
    looked: Option<Instant>,
    /// Bytes that may be written, as far as is known.
    left: u64,
    /// Something was refused, and nothing was let through since.
    is_full: bool,
}

impl Room {
    pub(super) fn new(database: PathBuf) -> Self {
        Self { database, looked: None, left: u64::MAX, is_full: false }
    }

    /// The bytes that a transaction may write. To be called in it.
    pub(super) fn left(&mut self, now: Instant, conn: &Connection) -> u64 {
        let is_stale = self.looked.is_none_or(|looked| now.duration_since(looked) >= EVERY);
        if is_stale || self.left < MUCH {
            self.looked = Some(now);
            self.left = self.look(conn).unwrap_or(u64::MAX);
        }
        self.left
    }

    /// So many bytes were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }

    /// Something was refused for want of room, or nothing was; whether that is new.
    pub(super) fn refused(&mut self, is_full: bool) -> bool {
        std::mem::replace(&mut self.is_full, is_full) != is_full
    }

    /// `None` where nothing can be told.
    fn look(&self, conn: &Connection) -> Option<u64> {
        let space = disk::space(&self.database)?;
        let page = file::page_size(conn).ok()?;
        let pages = file::pages(conn).ok()?.saturating_mul(page);
        let free = file::free_pages(conn).ok()?.saturating_mul(page);
        // Pages that are in the WAL alone, for which the database still has to grow.
        let owed = pages.saturating_sub(disk::length(&self.database));
        let reserve = DISK_RESERVE.min(space.total / 16);
        let room = space.available.saturating_sub(owed).saturating_sub(reserve);
        Some(bytes_in(room, free))
    }
}

/// The bytes that a row takes in the file, with its places in the indexes.
pub(crate) fn row_size(subject: &Subject, payload: &[u8], headers: &Headers) -> usize {
    payload.len() + headers.encoded_len() + 2 * subject.as_str().len() + ROW
}

/// The bytes that find room on the disk: in the WAL at first, and then in the database, whose free pages are used before it
/// grows.
fn bytes_in(room: u64, free: u64) -> u64 {
    if room <= free { room } else { free + (room - free) / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_takes_room_in_the_wal_and_where_the_database_has_none_there_as_well() {
        assert_eq!((bytes_in(100, 0), bytes_in(100, 200), bytes_in(100, 40)), (50, 100, 70));
        assert_eq!((bytes_in(0, 200), bytes_in(0, 0)), (0, 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_disk_is_looked_at_once_a_second_and_in_each_transaction_once_there_is_little_left() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let conn = Connection::open(&database).unwrap();
        let (mut room, start) = (Room::new(database), Instant::now());
        let all = room.left(start, &conn);
        assert!(all > 0 && all < 7 << 50);
        // As if nothing had been looked at since.
        room.left = 7 << 50;
        assert_eq!(room.left(start + EVERY / 2, &conn), 7 << 50);
        assert!(room.left(start + EVERY, &conn) < 7 << 50);
        room.left = MUCH + 5;
        assert_eq!(room.left(start + EVERY, &conn), MUCH + 5);
        room.wrote(6);
        assert_ne!(room.left(start + EVERY, &conn), MUCH - 1);
        assert!(room.refused(true) && !room.refused(true) && room.refused(false));
    }
}
