//! What a file says of its schema, and what that means for this library.

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::fault;
use crate::sqlite::schema::embedded::{Migration, migrations, newest_known};
use crate::sqlite::tables::history::{self, Applied};
use crate::sqlite::tables::meta;

/// What the file says of its schema.
pub(crate) struct State {
    /// No table, of anybody.
    pub(crate) is_empty: bool,
    pub(crate) has_history: bool,
    pub(crate) applied: Vec<Applied>,
    /// A name of the bus, though there is no history.
    stray: Option<String>,
    pub(crate) min_reader: Option<String>,
    pub(crate) min_writer: Option<String>,
    pub(crate) boot: Option<String>,
    /// Whether a bus was ever opened on it.
    pub(crate) has_incarnation: bool,
}

impl State {
    /// The version of the newest migration that was applied; 0 if there is no bus.
    pub(crate) fn newest(&self) -> i64 {
        self.applied.iter().map(|row| row.version).max().unwrap_or(0)
    }

    pub(crate) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let has_history = history::exists(conn)?;
        let mut state = Self {
            is_empty: history::is_schema_empty(conn)?,
            has_history,
            applied: Vec::new(),
            stray: None,
            min_reader: None,
            min_writer: None,
            boot: None,
            has_incarnation: false,
        };
        if has_history {
            state.applied = history::applied(conn)?;
            if !state.applied.is_empty() {
                state.min_reader = meta::get(conn, meta::MIN_READER)?;
                state.min_writer = meta::get(conn, meta::MIN_WRITER)?;
                state.boot = meta::get(conn, meta::BOOT_ID)?;
                state.has_incarnation = meta::get(conn, meta::INCARNATION)?.is_some();
            }
        } else {
            state.stray = history::first_bus_name(conn)?;
        }
        Ok(state)
    }
}

/// The migrations that the file lacks, or why the file cannot be used.
pub(crate) fn verify(state: &State) -> Result<Vec<&'static Migration>> {
    let wanted = migrations();
    if let Some(name) = &state.stray {
        return Err(name_taken(&format!("the schema has {name:?} and no bus_schema_history")));
    }
    for row in &state.applied {
        match wanted.iter().find(|migration| i64::from(migration.version) == row.version) {
            Some(migration) if is_same(migration, row) => {}
            Some(migration) => {
                let message = format!(
                    "migration {migration} was changed after it was applied: the file says {} with checksum {}, this library {}",
                    row.name, row.checksum, migration.checksum
                );
                return Err(Error::new(ErrorKind::SchemaMismatch, message));
            }
            None if row.version > newest_known() => {}
            None => {
                let message = format!("migration {} ({}) is unknown to this library", row.version, row.name);
                return Err(Error::new(ErrorKind::SchemaMismatch, message));
            }
        }
    }
    let newest_applied = state.newest();
    check_floor(state, newest_applied)?;
    let is_applied =
        |migration: &&Migration| state.applied.iter().any(|row| row.version == i64::from(migration.version));
    if let Some(hole) = wanted.iter().find(|m| i64::from(m.version) < newest_applied && !is_applied(m)) {
        let message = format!("migration {hole} was left out, though {newest_applied} was applied");
        return Err(Error::new(ErrorKind::SchemaMismatch, message));
    }
    Ok(wanted.iter().filter(|migration| !is_applied(migration)).collect())
}

/// Whether this row tells of this migration, as it is here.
pub(crate) fn is_same(migration: &Migration, row: &Applied) -> bool {
    row.name == migration.name && row.checksum == migration.checksum
}

/// A newer schema may be used as long as it says so.
fn check_floor(state: &State, newest_applied: i64) -> Result<()> {
    if newest_applied == 0 {
        return Ok(());
    }
    for (what, floor) in [("read", &state.min_reader), ("write", &state.min_writer)] {
        let Some(floor) = floor.as_ref().and_then(|floor| floor.parse::<i64>().ok()) else {
            let message = format!("bus_meta does not say which library may {what} this file");
            return Err(Error::new(ErrorKind::SchemaMismatch, message));
        };
        if floor > newest_known() {
            return Err(too_new(what, floor));
        }
    }
    Ok(())
}

/// That this library is too old to do this with the file.
pub(crate) fn too_new(what: &str, floor: i64) -> Error {
    let message = format!(
        "the file is of a newer version: to {what} it a library must know migration {floor}, and this one knows {}: \
         update the program",
        newest_known()
    );
    Error::new(ErrorKind::SchemaTooNew, message)
}

pub(crate) fn unreadable(error: rusqlite::Error) -> Error {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    let doing = "reading the schema";
    match error {
        FromSqlConversionFailure(..) | InvalidColumnType(..) | IntegralValueOutOfRange(..) => {
            let message = format!(
                "{doing}: a row of bus_schema_history or bus_meta is not what a migration writes: {error}"
            );
            Error::with_source(ErrorKind::SchemaMismatch, message, error)
        }
        other => fault::error(doing, other),
    }
}

pub(crate) fn name_taken(detail: &str) -> Error {
    let message = format!(
        "names that begin with bus_ belong to the bus, and this file uses one: {detail}; rename it, or use another file"
    );
    Error::new(ErrorKind::NameTaken, message)
}
