//! `bus_dedup`: ids against duplicates, within their window.

use rusqlite::{Connection, OptionalExtension};

// By the primary key.
const FIND: &str = "SELECT sequence FROM bus_dedup WHERE message_id = ?1 AND expires_at > ?2";
const REMEMBER: &str = "INSERT INTO bus_dedup (message_id, sequence, expires_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (message_id) DO UPDATE SET sequence = excluded.sequence, expires_at = excluded.expires_at";
// By bus_dedup_by_expiry.
const FORGET: &str = "DELETE FROM bus_dedup WHERE message_id IN
    (SELECT message_id FROM bus_dedup WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
// By bus_dedup_by_expiry.
const HAS_EXPIRED: &str = "SELECT EXISTS (SELECT 1 FROM bus_dedup WHERE expires_at <= ?1)";

/// Whether the window of any has closed.
pub(crate) fn has_expired(conn: &Connection, now: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(HAS_EXPIRED)?.query_row([now], |row| row.get(0))
}

/// The sequence published under this id, if its window is still open.
pub(crate) fn find(conn: &Connection, id: &str, now: i64) -> rusqlite::Result<Option<u64>> {
    conn.prepare_cached(FIND)?
        .query_row((id, now), |row| row.get::<_, i64>(0))
        .optional()
        .map(|found| found.map(i64::cast_unsigned))
}

pub(crate) fn remember(conn: &Connection, id: &str, sequence: u64, expires_at: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(REMEMBER)?.execute((id, sequence.cast_signed(), expires_at)).map(|_| ())
}

/// Removes some ids whose window has closed. Called with each that is added, and with a limit above 1, it keeps the
/// table from growing without a task of its own.
pub(crate) fn forget_expired(conn: &Connection, now: i64, limit: usize) -> rusqlite::Result<usize> {
    conn.prepare_cached(FORGET)?.execute((now, limit as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn every_step_is_by_an_index() {
        let conn = log();
        assert!(plan(&conn, FIND, 2).contains("SEARCH bus_dedup USING PRIMARY KEY"));
        assert!(plan(&conn, HAS_EXPIRED, 1).contains("INDEX bus_dedup_by_expiry"));
        assert!(plan(&conn, FORGET, 2).contains("INDEX bus_dedup_by_expiry"), "{}", plan(&conn, FORGET, 2));
    }

    #[test]
    fn an_id_is_known_until_its_window_closes_and_then_forgotten() {
        let conn = log();
        remember(&conn, "a", 7, 100).unwrap();
        assert_eq!(find(&conn, "a", 99).unwrap(), Some(7));
        assert_eq!(find(&conn, "a", 100).unwrap(), None);
        assert_eq!(forget_expired(&conn, 99, 8).unwrap(), 0);
        assert_eq!(forget_expired(&conn, 100, 8).unwrap(), 1);
    }
}
