//! From a path to a file that is a bus: each step either holds or names its remedy.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use rusqlite::Connection;

use crate::defaults::BUSY_DEADLINE;
use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::builder::Options;
use crate::sqlite::connection::{Opener, Purpose, retry_busy};
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::schema::Migrate;
use crate::sqlite::tables::history;
use crate::sqlite::{fault, mount, prune, schema, version};

/// A file that is ready, and the connection that will write it.
pub(crate) struct Opened {
    pub(crate) opener: Opener,
    pub(crate) conn: Connection,
    pub(crate) identity: FileIdentity,
}

/// Opens the file, or makes it one that can be opened.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Opened> {
    let deadline = Instant::now() + options.busy_deadline;
    let (opener, conn) = open_to_write(path, options, WalMode::of(options))?;
    schema::prepare(&conn, options.migrate, deadline)?;
    prune::apply_builder(&conn, options, deadline)?;
    let identity = FileIdentity::of(opener.path())?;
    Ok(Opened { opener, conn, identity })
}

/// What is done about a file that is not in WAL mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalMode {
    /// A new file is put into it, and an existing one refused.
    OfNewFiles,
    /// Any file is put into it.
    OfAll,
    /// A new file is left as it is, since nothing will be written, and an existing one refused.
    AsItIs,
}

impl WalMode {
    pub(crate) fn of(options: &Options) -> Self {
        if options.convert_to_wal { Self::OfAll } else { Self::OfNewFiles }
    }
}

/// Opens the file to be written, in WAL mode, whatever tables it has.
pub(crate) fn open_to_write(path: &Path, options: &Options, mode: WalMode) -> Result<(Opener, Connection)> {
    version::check(rusqlite::version_number())?;
    let path = ensure_file(path, options.create && mode != WalMode::AsItIs)?;
    mount::check(&path, options.allow_unsafe_mount)?;
    let opener = Opener::new(path, options.on_connect.clone());
    let deadline = Instant::now() + options.busy_deadline;
    let conn = opener.open_bare()?;
    ensure_wal(&conn, opener.path(), mode, deadline)?;
    drop(conn);
    let conn = opener.open(Purpose::Write)?;
    Ok((opener, conn))
}

/// One thread at a time makes files: closing the new file here would drop the locks of a connection that another
/// thread of this process had opened on it meanwhile.
static CREATION: Mutex<()> = Mutex::new(());

/// The canonical path of the file, which exists afterwards and was made private to the user.
pub(crate) fn ensure_file(path: &Path, create: bool) -> Result<PathBuf> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::InvalidPath, format!("{}: {why}", path.display())));
    let text = path.to_string_lossy();
    if text.is_empty() || text == ":memory:" || text.starts_with("file:") {
        return refuse(
            "a bus is a file that processes share, given by a plain path; for one in memory use InMemBus",
        );
    }
    let _creating = CREATION.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return refuse("it is not a regular file"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => create_private(path)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return refuse("there is no such file"),
        Err(error) => return Err(io_error(path, "looking for the file", error)),
    }
    std::fs::canonicalize(path).map_err(|error| io_error(path, "resolving the path", error))
}

pub(crate) fn create_private(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        // Another process was first.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error(path, "creating the file", error)),
    }
}

pub(crate) fn io_error(path: &Path, doing: &str, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        Io::NotFound | Io::NotADirectory | Io::InvalidInput | Io::InvalidFilename => ErrorKind::InvalidPath,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::DiskFull,
        _ => ErrorKind::Io,
    };
    Error::with_source(kind, format!("{}: {doing}: {error}", path.display()), error)
}

/// Makes a bus of a new, empty file that nobody else knows of.
pub(crate) fn create_tables(opener: &Opener, conn: &Connection) -> Result<()> {
    let deadline = Instant::now() + BUSY_DEADLINE;
    ensure_wal(conn, opener.path(), WalMode::OfNewFiles, deadline)?;
    schema::prepare(conn, Migrate::Auto, deadline)
}

/// Puts a new file into WAL mode, and an existing one only when that was asked for.
fn ensure_wal(conn: &Connection, path: &Path, mode: WalMode, deadline: Instant) -> Result<()> {
    let failed = |e| fault::error(&format!("opening {}", path.display()), e);
    // The first look at the file: here it turns out if it is no database. A file without a table is nobody's yet; its
    // first page may already be there, since another process may be making it just now.
    let is_new = retry_busy(deadline, || history::is_schema_empty(conn)).map_err(failed)?;
    if conn.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        let message =
            format!("{}: the file cannot be written by this user, and a bus writes to it", path.display());
        return Err(Error::new(ErrorKind::ReadOnly, message));
    }
    // Reading the mode first: setting it ignores the busy handler even where there is nothing to set.
    if journal_mode(conn, deadline).map_err(failed)? == "wal" {
        return Ok(());
    }
    if !is_new && mode != WalMode::OfAll {
        return Err(not_wal(path));
    }
    if mode == WalMode::AsItIs {
        return Ok(());
    }
    if is_new {
        // Takes effect before the first table only.
        retry_busy(deadline, || conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")).map_err(failed)?;
    }
    let answer: String =
        retry_busy(deadline, || conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)))
            .map_err(failed)?;
    if answer == "wal" {
        return Ok(());
    }
    let message = format!("{}: SQLite kept journal_mode {answer} where WAL was asked for", path.display());
    Err(Error::new(ErrorKind::NotWal, message))
}

/// That the file has to be converted before it can be a bus.
pub(crate) fn not_wal(path: &Path) -> Error {
    let message = format!(
        "{}: the file is in rollback-journal mode and a bus needs WAL: convert it, with nobody else at it, by \
         sqlite3 FILE 'PRAGMA journal_mode=WAL', or in a program by `convert_to_wal(true)`",
        path.display()
    );
    Error::new(ErrorKind::NotWal, message)
}

fn journal_mode(conn: &Connection, deadline: Instant) -> rusqlite::Result<String> {
    retry_busy(deadline, || conn.pragma_query_value(None, "journal_mode", |row| row.get(0)))
}
