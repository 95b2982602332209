//! Migrations: refinery parses and checksums them, this runs them.
//!
//! One IMMEDIATE transaction covers read, verify and apply, so that any number of processes may open a new file at once.
//! (refinery's own runner begins deferred, commits each migration apart from its row in the history, and panics on
//! rows that it cannot parse.)

mod apply;
mod embedded;
mod shape;
mod state;

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

pub use embedded::{Migration, migration_sql, migrations};
pub(crate) use shape::verify_shape;
pub(crate) use state::{State, is_same, verify};

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::retry_busy;
use crate::sqlite::schema::embedded::newest_known;
use crate::sqlite::schema::state::{too_new, unreadable};
use crate::sqlite::tables::{history, meta};
use crate::sqlite::{boot, fault};

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
    /// [`ErrorKind::SchemaTooOld`]. For a program that migrates at its own time, with
    /// [`Migrator::up`](crate::sqlite::Migrator::up), [`migrate_in`](crate::sqlite::migrate_in) or [`migration_sql`].
    Manual,
}

/// How far ids are moved on after a power cut. More rows than this are not lost by one: between two flushes of the WAL
/// lie some tens of MiB, unless a host's own reader holds up every checkpoint.
pub(crate) const LOST_IDS_AT_MOST: i64 = 1 << 20;

/// Brings the file to this library's schema, or says why it cannot be used.
pub(crate) fn prepare(conn: &Connection, migrate: Migrate, deadline: Instant) -> Result<()> {
    let boot = boot::id();
    // Most opens find nothing to do, and take no lock.
    let state = look(conn, deadline)?;
    let missing = verify(&state)?;
    if missing.is_empty() && state.has_incarnation && (boot.is_none() || state.boot == boot) {
        return Ok(());
    }
    refuse_to_migrate(conn, migrate, &state, &missing)?;
    exclusively(conn, deadline, || {
        let state = State::read(conn).map_err(unreadable)?;
        let missing = verify(&state)?;
        refuse_to_migrate(conn, migrate, &state, &missing)?;
        apply::all(conn, &state, &missing)?;
        apply::settle(conn, &state, boot.as_deref())?;
        Ok(End::Commit)
    })
}

/// What the file says, on one snapshot.
pub(crate) fn look(conn: &Connection, deadline: Instant) -> Result<State> {
    let read = || -> rusqlite::Result<State> {
        conn.execute_batch("BEGIN")?;
        let state = State::read(conn);
        conn.execute_batch("ROLLBACK")?;
        state
    };
    retry_busy(deadline, read).map_err(unreadable)
}

/// Brings the file to this library's schema in any case, and gives what was missing; nothing of it stays if it is a rehearsal.
pub(crate) fn migrate(
    conn: &Connection,
    deadline: Instant,
    rehearsal: bool,
) -> Result<Vec<&'static Migration>> {
    let mut missing = verify(&look(conn, deadline)?)?;
    if missing.is_empty() {
        return Ok(missing);
    }
    exclusively(conn, deadline, || {
        let state = State::read(conn).map_err(unreadable)?;
        missing = verify(&state)?;
        apply::all(conn, &state, &missing)?;
        if !rehearsal {
            apply::settle(conn, &state, boot::id().as_deref())?;
        }
        Ok(if rehearsal { End::Rollback } else { End::Commit })
    })?;
    Ok(missing)
}

/// Applies what is missing in a transaction of the host's own, which is as it was before if that fails. What else a new boot
/// asks for is left to whoever opens the file next.
pub(crate) fn migrate_within(conn: &Connection) -> Result<Vec<&'static Migration>> {
    let failed = |e| fault::error("migrating the schema in a transaction of the host", e);
    conn.execute_batch("SAVEPOINT rowbus_migrations").map_err(failed)?;
    let done = State::read(conn).map_err(unreadable).and_then(|state| {
        let missing = verify(&state)?;
        apply::all(conn, &state, &missing)?;
        Ok(missing)
    });
    let end = if done.is_ok() {
        "RELEASE rowbus_migrations"
    } else {
        "ROLLBACK TO rowbus_migrations; RELEASE rowbus_migrations"
    };
    let ended = conn.execute_batch(end).map_err(failed);
    let missing = done?;
    ended.map(|()| missing)
}

/// What becomes of a transaction.
enum End {
    Commit,
    Rollback,
}

/// Runs this with the write lock held.
fn exclusively(conn: &Connection, deadline: Instant, run: impl FnOnce() -> Result<End>) -> Result<()> {
    retry_busy(deadline, || conn.execute_batch("BEGIN IMMEDIATE"))
        .map_err(|e| fault::error("waiting to migrate the schema", e))?;
    let done = run();
    if let Ok(End::Commit) = done {
        return conn.execute_batch("COMMIT").map_err(|e| fault::error("committing the schema", e));
    }
    // The error that counts is the first one; a failed rollback is repeated when the connection closes.
    let _ = conn.execute_batch("ROLLBACK");
    done.map(|_| ())
}

/// Whether a bus of which this library may write is in the connection's own file, and not in one that is ATTACHed.
pub(crate) fn check_main(conn: &Connection) -> Result<()> {
    if !history::exists(conn).map_err(unreadable)? {
        let message = "the connection's own file has no bus: open a bus on it once, which makes the tables; \
                       a bus in an ATTACHed file cannot share its transactions, which are not one after a power cut";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let floor = meta::get(conn, meta::MIN_WRITER).map_err(unreadable)?;
    if floor.and_then(|floor| floor.parse::<i64>().ok()).is_some_and(|floor| floor <= newest_known()) {
        return Ok(());
    }
    verify(&State::read(conn).map_err(unreadable)?).map(|_| ())
}

/// Whether there is a bus, and this library may read it.
pub(crate) fn check_readable(conn: &Connection) -> Result<bool> {
    if !history::exists(conn).map_err(unreadable)? {
        return Ok(false);
    }
    let floor = meta::get(conn, meta::MIN_READER).map_err(unreadable)?;
    match floor.and_then(|floor| floor.parse::<i64>().ok()) {
        Some(floor) if floor > newest_known() => Err(too_new("read", floor)),
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
    Ok(verify(&state)?.into_iter().map(ToString::to_string).collect())
}

/// What [`verify_shape`] finds.
pub(crate) fn examine_shape(conn: &Connection) -> Result<()> {
    verify_shape(conn, &State::read(conn).map_err(unreadable)?)
}

fn refuse_to_migrate(
    conn: &Connection,
    migrate: Migrate,
    state: &State,
    missing: &[&Migration],
) -> Result<()> {
    if missing.is_empty() || migrate == Migrate::Auto || (migrate == Migrate::NewFiles && state.is_empty) {
        return Ok(());
    }
    Err(too_old(Path::new(conn.path().unwrap_or_default()), missing))
}

/// That the file has to be migrated before it can be used, and by what.
pub(crate) fn too_old(path: &Path, missing: &[&Migration]) -> Error {
    let lacks = match missing {
        [] => "lacks nothing".to_owned(),
        [only] => format!("lacks migration {only}"),
        [first, more @ ..] => format!("lacks migration {first} and {} more", more.len()),
    };
    let message = format!(
        "{}: the file {lacks}, and is not migrated by opening it here: open it with the program that it belongs to, \
         or say `rowbus migrate up`, or Migrate::Auto",
        path.display()
    );
    Error::new(ErrorKind::SchemaTooOld, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sqlite::tables::events;

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
