//! `bus_meta`: facts about the file.

use rusqlite::{Connection, OptionalExtension};

/// Changes when the file is restored, so that positions of before are not taken for its own.
pub(crate) const INCARNATION: &str = "incarnation";
/// The boot in which the file was last opened.
pub(crate) const BOOT_ID: &str = "boot_id";
/// The newest migration that a library must know to read the file.
pub(crate) const MIN_READER: &str = "min_reader";
/// The newest migration that a library must know to write the file.
pub(crate) const MIN_WRITER: &str = "min_writer";
/// Rises whenever a consumer is changed in a way that its members have to look at.
pub(crate) const CONSUMERS: &str = "consumers";

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
