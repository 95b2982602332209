//! `bus_meta`: facts about the file.

use rusqlite::{Connection, OptionalExtension};

/// Changes when the file is restored, so that positions of before are not taken for its own.
pub(crate) const INCARNATION: &str = "incarnation";
/// The incarnations of the files that this one is a copy of, oldest first: a line each, with the newest sequence at that time.
pub(crate) const INCARNATIONS_BEFORE: &str = "incarnations_before";
/// Rises with each commit that was made to flush those before it.
#[cfg(feature = "nats")]
pub(crate) const FLUSHES: &str = "flushes";
/// The boot in which the file was last opened.
pub(crate) const BOOT_ID: &str = "boot_id";
/// The newest migration that a library must know to read the file.
pub(crate) const MIN_READER: &str = "min_reader";
/// The newest migration that a library must know to write the file.
pub(crate) const MIN_WRITER: &str = "min_writer";
/// Rises whenever a consumer is changed in a way that its members have to look at.
pub(crate) const CONSUMERS: &str = "consumers";
/// The filters that the log was counted for, and what else makes it be counted anew.
pub(crate) const COUNTED_FOR: &str = "retention_counted";
/// Rises with each step in which the pruner of any process removes events.
pub(crate) const REMOVALS: &str = "retention_removals";
/// The clock by which age is judged, as it was last seen.
pub(crate) const RETENTION_CLOCK: &str = "retention_clock";
/// Who prunes, where there are no locks that tell.
pub(crate) const PRUNER: &str = "retention_pruner";
/// How long dead letters are kept: milliseconds, or "for ever", and who said so.
pub(crate) const DEAD_LETTER_AGE: &str = "dead_letter_max_age";

// By the primary key.
const COUNT: &str = "INSERT INTO bus_meta (key, value) VALUES (?1, '1')
    ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)";
const GET: &str = "SELECT value FROM bus_meta WHERE key = ?1";
const SET: &str = "INSERT INTO bus_meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

pub(crate) fn get(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached(GET)?.query_row([key], |row| row.get(0)).optional()
}

pub(crate) fn set(conn: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    conn.execute(SET, [key, value]).map(|_| ())
}

/// The number that a key counts; 0 where nothing was counted.
pub(crate) fn number(conn: &Connection, key: &str) -> rusqlite::Result<i64> {
    Ok(get(conn, key)?.and_then(|value| value.parse().ok()).unwrap_or(0))
}

/// Counts one on, and gives the new number.
pub(crate) fn count(conn: &Connection, key: &str) -> rusqlite::Result<i64> {
    conn.prepare_cached(COUNT)?.execute([key])?;
    number(conn, key)
}
