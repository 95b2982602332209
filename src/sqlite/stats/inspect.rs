//! Looking at a file from outside: without a bus, without a right to write, and without leaving a trace.
//!
//! An SQLite connection that may only read does not write the database, but makes a `-wal` and a `-shm` beside a file that has
//! none, and leaves them behind. So a file without a WAL, which nobody has open, is opened as one that cannot change; and one
//! that was left with a WAL and without its index, which would have to be recovered, is looked at as a copy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::Opener;
use crate::sqlite::stats::file::{self, FileStats};
use crate::sqlite::tables::{self, history};
use crate::sqlite::{byte_lock, disk, fault, log, schema, sidecar};

/// Looks at a file without opening a bus on it: it never writes, never migrates, and takes files of any schema of this
/// library, read-only ones too. For tools; a program that has a bus asks [`SqliteBus::stats`](crate::SqliteBus::stats).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// # use rowbus::Messenger; rowbus::SqliteBus::open(&path).await?.close().await?;
/// let stats = rowbus::sqlite::Inspector::open(&path)?.stats()?;
/// println!("{} events in {} bytes", stats.events.count, stats.file_bytes);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Inspector {
    pub(super) opened: Opened,
}

/// How the file was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    /// It is nobody's at the moment, and was opened as one that cannot change.
    pub(crate) is_still: bool,
    /// It is a copy that is looked at; removed when dropped.
    pub(crate) copy: Option<Copy>,
    sidecar: Option<std::fs::File>,
    /// What has SQLite open it in the same way.
    opener: Opener,
}

/// A folder with a copy of a file.
#[derive(Debug)]
pub(crate) struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The largest file that is copied to be looked at, with its WAL: 1 GiB.
const COPY_AT_MOST: u64 = 1 << 30;

impl Inspector {
    /// Opens the file to be looked at. Blocks.
    ///
    /// Not for a file that this process has open in rollback-journal mode by other means: looking closes a handle of the file,
    /// which drops the locks of the process on it.
    ///
    /// # Errors
    /// `InvalidPath`, `NotADatabase`, `ReadOnly` if it may not even be read, `SchemaTooOld` of a file without a bus,
    /// `SchemaTooNew` of one whose schema this library cannot read, `Busy`, `Corrupt`, `Io`, `Database`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let opened = open(path.as_ref())?;
        let failed = |e| fault::error(&format!("reading {}", opened.path.display()), e);
        if !history::exists(&opened.conn).map_err(failed)? {
            let message = format!("{}: there is no bus in this file", opened.path.display());
            return Err(Error::new(ErrorKind::SchemaTooOld, message));
        }
        schema::check_readable(&opened.conn)?;
        Ok(Self { opened })
    }

    /// How the file fares. Blocks while it reads one snapshot. Of a file that nobody has open it is what was there when it was
    /// opened; to see what changes, open it anew.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn stats(&self) -> Result<FileStats> {
        file_stats(&self.opened)
    }
}

/// How an open file fares, if it is a bus.
pub(crate) fn file_stats(opened: &Opened) -> Result<FileStats> {
    let is_alive = opened.sidecar.as_ref().map(|sidecar| |slot: i64| is_alive(sidecar, slot));
    let look = file::Look {
        path: &opened.path,
        now: SystemClock.unix_millis(),
        is_alive: is_alive.as_ref().map(|is_alive| is_alive as &dyn Fn(i64) -> bool),
        own: None,
    };
    log::in_transaction(&opened.conn, |conn| file::read(conn, &look))
        .map_err(|e| fault::error("reading how the file fares", e))
}

impl Opened {
    /// For further connections of the same kind, and the copy that they need as long as they live.
    pub(crate) fn into_opener(self) -> (Opener, Option<Copy>) {
        (self.opener, self.copy)
    }

    /// Whether the file is in WAL mode, if that can be told.
    pub(crate) fn is_wal(&self) -> Option<bool> {
        match self.is_still {
            // Nobody has it open, so nobody's locks are dropped by reading what its header says.
            true => header(&self.path).map(|header| (header[18], header[19]) == (2, 2)),
            false => tables::file::journal_mode(&self.conn).ok().map(|mode| mode == "wal"),
        }
    }

    /// Whether the peer of this slot lives, if that can be told.
    pub(crate) fn is_alive(&self, slot: i64) -> Option<bool> {
        self.sidecar.as_ref().map(|sidecar| is_alive(sidecar, slot))
    }
}

/// The beginning of the database file.
fn header(path: &Path) -> Option<[u8; 100]> {
    use std::io::Read;
    let mut header = [0; 100];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
    Some(header)
}

/// Of one that cannot be asked for, nobody is declared dead.
fn is_alive(sidecar: &std::fs::File, slot: i64) -> bool {
    slot > 0 && byte_lock::is_locked(sidecar, slot.cast_unsigned()).unwrap_or(true)
}

/// Opens a file to be looked at, whatever is in it.
pub(crate) fn open(path: &Path) -> Result<Opened> {
    let refuse = |kind, why: &str| Err(Error::new(kind, format!("{}: {why}", path.display())));
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return refuse(ErrorKind::InvalidPath, "it is not a regular file"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return refuse(ErrorKind::InvalidPath, "there is no such file");
        }
        Err(error) => {
            let message = format!("{}: looking for the file: {error}", path.display());
            return Err(Error::with_source(ErrorKind::Io, message, error));
        }
    }
    let path = std::fs::canonicalize(path).map_err(|error| {
        let message = format!("{}: resolving the path: {error}", path.display());
        Error::with_source(ErrorKind::Io, message, error)
    })?;
    let sidecar = sidecar::open_to_read(&path).ok();
    let (wal, index) = (disk::wal(&path).0, disk::beside(&path, "-shm").exists());
    let is_still = wal == 0 && !index;
    if is_still || index {
        let (conn, opener) = connect(&path, is_still)?;
        return Ok(Opened { conn, path, is_still, copy: None, sidecar, opener });
    }
    if wal == 0 {
        // An empty WAL without an index holds nothing.
        let (conn, opener) = connect(&path, true)?;
        return Ok(Opened { conn, path, is_still: true, copy: None, sidecar, opener });
    }
    let (copy, at) = copy(&path)?;
    let (conn, opener) = connect(&at, false)?;
    Ok(Opened { conn, path, is_still: false, copy: Some(copy), sidecar, opener })
}

fn connect(path: &Path, is_still: bool) -> Result<(Connection, Opener)> {
    let failed = |e| fault::error(&format!("opening {}", path.display()), e);
    let opener = Opener::new(uri(path, is_still).into(), None)
        .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI);
    let conn = opener.open_bare()?;
    conn.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    conn.pragma_update(None, "query_only", true).map_err(failed)?;
    conn.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    Ok((conn, opener))
}

/// The path as SQLite takes it with options.
fn uri(path: &Path, is_still: bool) -> String {
    let mut uri = String::from("file:");
    if cfg!(windows) {
        uri.push('/');
    }
    let path = path.to_string_lossy();
    for byte in path.trim_start_matches(r"\\?\").bytes() {
        match byte {
            b'\\' if cfg!(windows) => uri.push('/'),
            b'/' | b':' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(byte.into())
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str(if is_still { "?mode=ro&immutable=1" } else { "?mode=ro" });
    uri
}

/// Copies the file with its WAL into a folder of its own, private to the user.
fn copy(path: &Path) -> Result<(Copy, PathBuf)> {
    let bytes = disk::length(path) + disk::wal(path).0;
    if bytes > COPY_AT_MOST {
        let message = format!(
            "{}: it was not closed, and has to be recovered before it can be read; with {bytes} bytes it is too large to be \
             copied for that: open it once with the program it belongs to",
            path.display()
        );
        return Err(Error::new(ErrorKind::ReadOnly, message));
    }
    let failed = |error: std::io::Error| {
        let message = format!("{}: copying it to be looked at: {error}", path.display());
        Error::with_source(ErrorKind::Io, message, error)
    };
    let folder = std::env::temp_dir().join(format!("rowbus-{}", uuid::Uuid::new_v4()));
    #[allow(unused_mut)]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder).map_err(failed)?;
    let (copy, at) = (Copy(folder.clone()), folder.join("copy.db"));
    std::fs::copy(path, &at).map_err(failed)?;
    std::fs::copy(disk::beside(path, "-wal"), disk::beside(&at, "-wal")).map_err(failed)?;
    #[cfg(unix)]
    for file in [at.clone(), disk::beside(&at, "-wal")] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok((copy, at))
}
