//! `bus_schema_history`: which migrations were applied, in refinery's format, and the names the schema holds.

use rusqlite::{Connection, OptionalExtension};

// The table as refinery makes it, under our name.
const CREATE: &str = "CREATE TABLE bus_schema_history (
    version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255))";
// Of the connection's own file: names without a schema mean `main` here.
const EXISTS: &str = "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'bus_schema_history'";
const FIRST_BUS_NAME: &str =
    "SELECT name FROM sqlite_schema WHERE substr(lower(name), 1, 4) = 'bus_' LIMIT 1";
const ANY_NAME: &str = "SELECT 1 FROM sqlite_schema LIMIT 1";
const APPLIED: &str = "SELECT version, name, checksum FROM bus_schema_history ORDER BY version";
const RECORD: &str =
    "INSERT INTO bus_schema_history (version, name, applied_on, checksum) VALUES (?1, ?2, ?3, ?4)";

/// A row of the history, as far as it can be read: a hand may have written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) checksum: String,
}

/// Whether the file has no table, of anybody.
pub(crate) fn is_schema_empty(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(ANY_NAME, [], |_| Ok(())).optional().map(|found| found.is_none())
}

pub(crate) fn exists(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached(EXISTS)?.query_row([], |_| Ok(())).optional().map(|found| found.is_some())
}

/// A name of the bus that the schema holds.
pub(crate) fn first_bus_name(conn: &Connection) -> rusqlite::Result<Option<String>> {
    conn.query_row(FIRST_BUS_NAME, [], |row| row.get(0)).optional()
}

pub(crate) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(CREATE, []).map(|_| ())
}

pub(crate) fn applied(conn: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let mut statement = conn.prepare(APPLIED)?;
    let rows = statement.query_map([], |row| {
        Ok(Applied { version: row.get(0)?, name: row.get(1)?, checksum: row.get(2)? })
    })?;
    rows.collect()
}

pub(crate) fn record(conn: &Connection, applied: &Applied, on: &str) -> rusqlite::Result<()> {
    conn.execute(RECORD, (applied.version, &applied.name, on, &applied.checksum)).map(|_| ())
}
