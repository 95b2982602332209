//! Migrations: refinery parses and checksums them, this runs them.
//!
//! One IMMEDIATE transaction covers read, verify and apply, so that any number of processes may open a new file at once.
//! (refinery's own runner begins deferred, commits each migration apart from its row in the history, and panics on
//! rows that it cannot parse.)

use std::sync::LazyLock;
use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use refinery::Migration;
use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::retry_busy;
use crate::sqlite::tables::history::{self, Applied};
use crate::sqlite::tables::{consumers, dead_letters, deliveries, events, members, meta, replies, requests};
use crate::sqlite::{boot, fault};

mod embedded {
    #![allow(clippy::unwrap_used, missing_docs)] // the macro's own code
    refinery::embed_migrations!("migrations");
}

/// When the schema of a file is brought up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Migrate {
    /// When the bus is opened.
    #[default]
    Auto,
    /// When the bus is opened, and only in a file that has no table yet: a tool that opens other programs' files migrates
    /// none in passing. Else as `Manual`.
    NewFiles,
    /// Never by opening; a file without the tables, or with older ones than this library writes, is
    /// [`ErrorKind::SchemaTooOld`].
    Manual,
}

/// How far ids are moved on after a power cut. More rows than this are not lost by one: between two flushes of the WAL
/// lie some tens of MiB, unless a host's own reader holds up every checkpoint.
pub(crate) const LOST_IDS_AT_MOST: i64 = 1 << 20;

/// Tables whose ids are never to be given twice.
const NUMBERED: [&str; 3] = [events::TABLE, requests::TABLE, dead_letters::TABLE];

/// Brings the file to this library's schema, or says why it cannot be used.
pub(crate) fn prepare(conn: &Connection, migrate: Migrate, deadline: Instant) -> Result<()> {
    let wanted = migrations();
    let boot = boot::id();
    // Most opens find nothing to do, and take no lock.
    let look = || -> rusqlite::Result<State> {
        conn.execute_batch("BEGIN")?;
        let state = State::read(conn);
        conn.execute_batch("ROLLBACK")?;
        state
    };
    let state = retry_busy(deadline, look).map_err(unreadable)?;
    if verify(&state, &wanted)?.is_empty() && (boot.is_none() || state.boot == boot) {
        return Ok(());
    }
    refuse_to_migrate(migrate, &state, &verify(&state, &wanted)?)?;
    retry_busy(deadline, || conn.execute_batch("BEGIN IMMEDIATE"))
        .map_err(|e| fault::error("waiting to migrate the schema", e))?;
    let done = migrate_locked(conn, migrate, &wanted, boot.as_deref());
    if done.is_ok() {
        conn.execute_batch("COMMIT").map_err(|e| fault::error("committing the schema", e))
    } else {
        // The error that counts is the first one; a failed rollback is repeated when the connection closes.
        let _ = conn.execute_batch("ROLLBACK");
        done
    }
}

fn migrate_locked(
    conn: &Connection,
    migrate: Migrate,
    wanted: &[Migration],
    boot: Option<&str>,
) -> Result<()> {
    let state = State::read(conn).map_err(unreadable)?;
    let missing = verify(&state, wanted)?;
    refuse_to_migrate(migrate, &state, &missing)?;
    let failed = |e: rusqlite::Error| fault::error("migrating the schema", e);
    if !state.has_history {
        history::create(conn).map_err(failed)?;
    }
    for migration in missing {
        let applied = row_of(migration);
        conn.execute_batch(migration.sql().unwrap_or_default())
            .map_err(|e| if fault::is_name_taken(&e) { name_taken(&e.to_string()) } else { failed(e) })?;
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        history::record(conn, &applied, &now).map_err(failed)?;
        tracing::info!(version = applied.version, name = applied.name, "migrated");
    }
    if !state.has_incarnation {
        meta::set(conn, meta::INCARNATION, &uuid::Uuid::new_v4().to_string()).map_err(failed)?;
    }
    // Where the system does not tell its boots apart (Windows), this is never known, and nothing is done about it.
    if boot.is_some() && state.boot.as_deref() != boot {
        // A new file has given out nothing yet.
        if state.has_history {
            // A copy was flushed as a whole. Moving its ids on would hide that a position of before lies beyond its log.
            if state.boot.as_deref() != Some(boot::COPIED) {
                for table in NUMBERED {
                    events::skip_ids(conn, table, LOST_IDS_AT_MOST).map_err(failed)?;
                }
            }
            requests::recover::new_boot(conn).map_err(failed)?;
            consumers::new_boot(conn, Utc::now().timestamp_millis()).map_err(failed)?;
            deliveries::new_boot(conn).map_err(failed)?;
            members::new_boot(conn).map_err(failed)?;
            replies::remove_orphans(conn).map_err(failed)?;
        }
        if let Some(boot) = boot {
            meta::set(conn, meta::BOOT_ID, boot).map_err(failed)?;
        }
    }
    Ok(())
}

/// What the file says of its schema.
struct State {
    /// No table, of anybody.
    is_empty: bool,
    has_history: bool,
    applied: Vec<Applied>,
    /// A name of the bus, though there is no history.
    stray: Option<String>,
    min_reader: Option<String>,
    min_writer: Option<String>,
    boot: Option<String>,
    has_incarnation: bool,
}

impl State {
    fn read(conn: &Connection) -> rusqlite::Result<Self> {
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
fn verify<'a>(state: &State, wanted: &'a [Migration]) -> Result<Vec<&'a Migration>> {
    if let Some(name) = &state.stray {
        return Err(name_taken(&format!("the schema has {name:?} and no bus_schema_history")));
    }
    let newest_known = newest_of(wanted);
    for row in &state.applied {
        match wanted.iter().find(|migration| i64::from(migration.version()) == row.version) {
            Some(migration) if row_of(migration) == *row => {}
            Some(migration) => {
                let message = format!(
                    "migration {migration} was changed after it was applied: the file says {} with checksum {}, this library {}",
                    row.name,
                    row.checksum,
                    migration.checksum()
                );
                return Err(Error::new(ErrorKind::SchemaMismatch, message));
            }
            None if row.version > newest_known => {}
            None => {
                let message = format!("migration {} ({}) is unknown to this library", row.version, row.name);
                return Err(Error::new(ErrorKind::SchemaMismatch, message));
            }
        }
    }
    let newest_applied = state.applied.iter().map(|row| row.version).max().unwrap_or(0);
    check_floor(state, newest_applied, newest_known)?;
    let is_applied = |migration: &&Migration| {
        state.applied.iter().any(|row| row.version == i64::from(migration.version()))
    };
    if let Some(hole) = wanted.iter().find(|m| i64::from(m.version()) < newest_applied && !is_applied(m)) {
        let message = format!("migration {hole} was left out, though {newest_applied} was applied");
        return Err(Error::new(ErrorKind::SchemaMismatch, message));
    }
    Ok(wanted.iter().filter(|migration| !is_applied(migration)).collect())
}

/// A newer schema may be used as long as it says so.
fn check_floor(state: &State, newest_applied: i64, newest_known: i64) -> Result<()> {
    if newest_applied == 0 {
        return Ok(());
    }
    for (what, floor) in [("read", &state.min_reader), ("write", &state.min_writer)] {
        let Some(floor) = floor.as_ref().and_then(|floor| floor.parse::<i64>().ok()) else {
            let message = format!("bus_meta does not say which library may {what} this file");
            return Err(Error::new(ErrorKind::SchemaMismatch, message));
        };
        if floor > newest_known {
            let message = format!(
                "the file's schema is at migration {newest_applied}; to {what} it a library must know migration {floor}, \
                 and this one knows {newest_known}: update the program"
            );
            return Err(Error::new(ErrorKind::SchemaTooNew, message));
        }
    }
    Ok(())
}

/// Whether a bus of which this library may write is in the connection's own file, and not in one that is ATTACHed.
pub(crate) fn check_main(conn: &Connection) -> Result<()> {
    if !history::exists(conn).map_err(unreadable)? {
        let message = "the connection's own file has no bus: open a bus on it once, which makes the tables; \
                       a bus in an ATTACHed file cannot share its transactions, which are not one after a power cut";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    // Parsing the migrations takes longer than a publish, and so does reading all that the file says of them.
    static NEWEST_KNOWN: LazyLock<i64> = LazyLock::new(|| newest_of(&migrations()));
    let floor = meta::get(conn, meta::MIN_WRITER).map_err(unreadable)?;
    if floor.and_then(|floor| floor.parse::<i64>().ok()).is_some_and(|floor| floor <= *NEWEST_KNOWN) {
        return Ok(());
    }
    verify(&State::read(conn).map_err(unreadable)?, &migrations()).map(|_| ())
}

/// Whether there is a bus, and this library may read it.
pub(crate) fn check_readable(conn: &Connection) -> Result<bool> {
    if !history::exists(conn).map_err(unreadable)? {
        return Ok(false);
    }
    let floor = meta::get(conn, meta::MIN_READER).map_err(unreadable)?;
    let newest_known = newest_of(&migrations());
    match floor.and_then(|floor| floor.parse::<i64>().ok()) {
        Some(floor) if floor > newest_known => {
            let message = format!(
                "to read the file a library must know migration {floor}, and this one knows {newest_known}: update the program"
            );
            Err(Error::new(ErrorKind::SchemaTooNew, message))
        }
        Some(_) => Ok(true),
        None => Err(Error::new(
            ErrorKind::SchemaMismatch,
            "bus_meta does not say which library may read this file",
        )),
    }
}

/// What is wrong with the schema for a library that only looks, and the migrations that this one would apply.
pub(crate) fn examine(conn: &Connection) -> Result<Vec<String>> {
    let state = State::read(conn).map_err(unreadable)?;
    let wanted = migrations();
    Ok(verify(&state, &wanted)?.into_iter().map(ToString::to_string).collect())
}

fn newest_of(migrations: &[Migration]) -> i64 {
    migrations.iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

fn refuse_to_migrate(migrate: Migrate, state: &State, missing: &[&Migration]) -> Result<()> {
    let Some(first) = missing.first() else { return Ok(()) };
    if migrate == Migrate::Auto || (migrate == Migrate::NewFiles && state.is_empty) {
        return Ok(());
    }
    let message = format!(
        "the file lacks migration {first} and {} more, and was not to be migrated by opening it: \
         open it once with the program it belongs to, or with Migrate::Auto",
        missing.len() - 1
    );
    Err(Error::new(ErrorKind::SchemaTooOld, message))
}

fn unreadable(error: rusqlite::Error) -> Error {
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

fn name_taken(detail: &str) -> Error {
    let message = format!(
        "names that begin with bus_ belong to the bus, and this file uses one: {detail}; rename it, or use another file"
    );
    Error::new(ErrorKind::NameTaken, message)
}

fn migrations() -> Vec<Migration> {
    let mut migrations = embedded::migrations::runner().get_migrations().clone();
    migrations.sort();
    migrations
}

fn row_of(migration: &Migration) -> Applied {
    Applied {
        version: i64::from(migration.version()),
        name: migration.name().to_owned(),
        checksum: migration.checksum().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn prepared() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        prepare(&conn, Migrate::Auto, soon()).unwrap();
        conn
    }

    fn refusal(conn: &Connection) -> Error {
        let error = prepare(conn, Migrate::Auto, soon()).unwrap_err();
        assert!(conn.is_autocommit());
        error
    }

    #[test]
    fn a_second_open_changes_nothing() {
        let conn = prepared();
        let before = conn.total_changes();
        prepare(&conn, Migrate::Auto, soon()).unwrap();
        prepare(&conn, Migrate::Manual, soon()).unwrap();
        assert_eq!(conn.total_changes(), before);
    }

    #[test]
    fn another_boot_moves_the_ids_on_and_the_same_boot_does_not() {
        let conn = prepared();
        prepare(&conn, Migrate::Auto, soon()).unwrap();
        assert_eq!(events::newest(&conn).unwrap(), 0);
        meta::set(&conn, meta::BOOT_ID, "another").unwrap();
        prepare(&conn, Migrate::Manual, soon()).unwrap();
        assert_eq!(events::newest(&conn).unwrap(), 1 << 20);
    }

    #[test]
    fn a_changed_checksum_is_refused_by_name() {
        let conn = prepared();
        conn.execute("UPDATE bus_schema_history SET checksum = '1'", []).unwrap();
        let error = refusal(&conn);
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
        assert!(error.to_string().contains("V1__bus"), "{error}");
    }

    #[test]
    fn rubbish_in_the_history_is_an_error_and_no_panic() {
        let conn = prepared();
        conn.execute("UPDATE bus_schema_history SET version = 'x', checksum = NULL WHERE version = 1", [])
            .unwrap();
        assert_eq!(refusal(&conn).kind(), ErrorKind::SchemaMismatch);
    }

    #[test]
    fn a_newer_schema_is_open_to_this_library_down_to_its_floor() {
        let conn = prepared();
        conn.execute("INSERT INTO bus_schema_history VALUES (99, 'later', '', '5')", []).unwrap();
        prepare(&conn, Migrate::Auto, soon()).unwrap();
        meta::set(&conn, meta::MIN_WRITER, "99").unwrap();
        let error = refusal(&conn);
        assert_eq!(error.kind(), ErrorKind::SchemaTooNew);
        assert!(error.to_string().contains("must know migration 99"), "{error}");
    }

    #[test]
    fn a_hosts_own_bus_table_is_refused_and_left_alone() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE Bus_Stops (name TEXT)").unwrap();
        let error = refusal(&conn);
        assert_eq!(error.kind(), ErrorKind::NameTaken);
        assert!(error.to_string().contains("Bus_Stops"), "{error}");
        assert!(!history::exists(&conn).unwrap());
    }

    #[test]
    fn manual_migration_leaves_a_new_file_empty() {
        let conn = Connection::open_in_memory().unwrap();
        let error = prepare(&conn, Migrate::Manual, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaTooOld);
        assert_eq!(history::first_bus_name(&conn).unwrap(), None);
    }

    #[test]
    fn a_tool_makes_a_new_file_a_bus_and_no_hosts_file() {
        let new = Connection::open_in_memory().unwrap();
        prepare(&new, Migrate::NewFiles, soon()).unwrap();
        prepare(&new, Migrate::NewFiles, soon()).unwrap();
        let host = Connection::open_in_memory().unwrap();
        host.execute_batch("CREATE TABLE mine (x)").unwrap();
        let error = prepare(&host, Migrate::NewFiles, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaTooOld);
        assert_eq!(history::first_bus_name(&host).unwrap(), None);
    }

    #[test]
    fn the_hosts_version_numbers_are_left_alone() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("PRAGMA user_version = 7; PRAGMA application_id = 8").unwrap();
        prepare(&conn, Migrate::Auto, soon()).unwrap();
        let get = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((get("user_version"), get("application_id")), (7, 8));
    }
}
