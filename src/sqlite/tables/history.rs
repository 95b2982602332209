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
const APPLIED: &str = "SELECT version, name, checksum, applied_on FROM bus_schema_history ORDER BY version";
// Not the history, whose rows are looked at, nor indexes without SQL of their own.
const OBJECTS: &str = "SELECT name, sql FROM main.sqlite_schema
    WHERE substr(lower(name), 1, 4) = 'bus_' AND name <> 'bus_schema_history' AND sql IS NOT NULL";
const RECORD: &str =
    "INSERT INTO bus_schema_history (version, name, applied_on, checksum) VALUES (?1, ?2, ?3, ?4)";

/// A row of the history, as far as it can be read: a hand may have written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) checksum: String,
    /// When, as who applied it has written it.
    pub(crate) on: Option<String>,
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
        let on = row.get(3).ok().flatten();
        Ok(Applied { version: row.get(0)?, name: row.get(1)?, checksum: row.get(2)?, on })
    })?;
    rows.collect()
}

pub(crate) fn record(
    conn: &Connection,
    version: u32,
    name: &str,
    on: &str,
    checksum: &str,
) -> rusqlite::Result<()> {
    conn.execute(RECORD, (version, name, on, checksum)).map(|_| ())
}

/// The names of the bus in the schema, each with its SQL.
pub(crate) fn objects(conn: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = conn.prepare(OBJECTS)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// As [`create`], for those who run it themselves.
pub(crate) fn script_to_create() -> String {
    format!("{CREATE};")
}

/// As [`record`], with the time at which it is run. Names and checksums are words without quotes.
pub(crate) fn script_to_record(version: u32, name: &str, checksum: &str) -> String {
    format!(
        "INSERT INTO bus_schema_history (version, name, applied_on, checksum)\n\
         VALUES ({version}, '{name}', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), '{checksum}');"
    )
}
