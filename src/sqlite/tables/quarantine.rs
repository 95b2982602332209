//! `bus_quarantine`: rows that nobody can decode, reported once.

use rusqlite::Connection;

const REPORT: &str = "INSERT INTO bus_quarantine (source, row_id, reason, seen_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

/// Reports a row; `false` if it was reported before.
pub(crate) fn report(
    conn: &Connection,
    source: &str,
    row: i64,
    reason: &str,
    now: i64,
) -> rusqlite::Result<bool> {
    conn.prepare_cached(REPORT)?.execute((source, row, reason, now)).map(|added| added == 1)
}
