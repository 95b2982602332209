//! What a file holds, for reading only: files of any version, and copies that nobody may write.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::dead_letter::DeadLetter;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::message::Message;
use crate::sqlite::connection::Opener;
use crate::sqlite::filters::Filters;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::log::{Log, Start};
use crate::sqlite::tables::history;
use crate::sqlite::unfinished::beside;
use crate::sqlite::work::dead;
use crate::sqlite::{fault, schema, version};
use crate::subscribe::StartAt;

/// The events and dead letters of a file, for reading only: of any version that this library can read, migrated or not; a
/// copy on a medium that cannot be written, or a file that programs are using. It is no peer of these, and wakes nobody.
///
/// Every call blocks.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// # { use rowbus::MessengerExt; let bus = rowbus::SqliteBus::open(&path).await?; bus.publish("orders.created", "one").await?; }
/// use rowbus::{Filter, StartAt, sqlite::Archive};
///
/// let archive = Archive::open(&path)?;
/// for event in archive.events(&[Filter::new("orders.>")?], StartAt::Oldest)? {
///     println!("{}", event?.sequence());
/// }
/// # Ok(()) }
/// ```
pub struct Archive {
    log: Arc<Log>,
    path: PathBuf,
}

impl Archive {
    /// Opens the file.
    ///
    /// # Errors
    /// `InvalidPath` if it is missing or no regular file, `NotFound` if it has no bus, `SchemaTooNew` if it takes a newer library
    /// to read it, `NotADatabase`, `Corrupt`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        version::check(rusqlite::version_number())?;
        let named = path.as_ref();
        let refuse = |why: &str| Error::new(ErrorKind::InvalidPath, format!("{}: {why}", named.display()));
        let path = std::fs::canonicalize(named).map_err(|error| refuse(&error.to_string()))?;
        if !path.is_file() {
            return Err(refuse("it is not a regular file"));
        }
        let opener = readable(&path)?;
        let identity = FileIdentity::of(&path)?;
        // Whoever reads on is told of what cannot be read.
        let log = Log::open(&opener, identity, |_| {})?;
        let archive = Self { log, path };
        match archive.log.read("reading the schema", |conn| Ok(schema::check_readable(conn)))? {
            Ok(true) => Ok(archive),
            Ok(false) => {
                let message = format!("{}: the file has no bus", archive.path.display());
                Err(Error::new(ErrorKind::NotFound, message))
            }
            Err(error) => Err(error),
        }
    }

    /// The newest sequence that the log has given out.
    ///
    /// # Errors
    /// As any reading verb.
    pub fn newest(&self) -> Result<u64> {
        self.log.newest()
    }

    /// The events that any of these filters matches, from `start` up to what is the newest now; without a filter all. At
    /// most a page of 4 MiB, or one event, is in memory at a time.
    ///
    /// # Errors
    /// `CursorAhead` if `start` is beyond the log; as any reading verb.
    pub fn events(&self, filters: &[Filter], start: StartAt) -> Result<Events> {
        let filters = if filters.is_empty() { Filters::everything() } else { Filters::new(filters) };
        let through = self.log.newest()?;
        let (after, mut chosen) = match self.log.start(&filters, start)? {
            Start::After(after) => (after, Vec::new()),
            Start::With(chosen, after) => (after, chosen),
        };
        // Filters that overlap choose an event more than once.
        chosen.dedup();
        let log = Arc::clone(&self.log);
        Ok(Events { log, filters, after, through, chosen, ready: VecDeque::new(), failed: false })
    }

    /// Up to `limit` dead letters on `filter` behind the id `after`, the oldest first.
    ///
    /// # Errors
    /// As any reading verb.
    pub fn dead_letters(&self, filter: &Filter, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.log.read("reading dead letters", |conn| dead::list(conn, filter, after, limit))
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Events of an [`Archive`], in the order of their sequences. One that cannot be read is an item `Corrupt` that names its row,
/// and is not the end; an error of the file is, and [`has_failed`](Self::has_failed) tells the two apart.
pub struct Events {
    log: Arc<Log>,
    filters: Filters,
    after: u64,
    through: u64,
    /// Events chosen by their sequences, the first of which are next.
    chosen: Vec<u64>,
    ready: VecDeque<Result<Message>>,
    failed: bool,
}

impl Events {
    /// Whether the last item was an error of the file, behind which nothing was read.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn read_on(&mut self) -> Result<()> {
        if !self.chosen.is_empty() {
            let (messages, looked_up) = self.log.get(&self.chosen)?;
            self.chosen.drain(..looked_up);
            self.ready.extend(messages.into_iter().map(Ok));
            return Ok(());
        }
        let page = self.log.page(self.after, &self.filters, self.through)?.page;
        self.after = if page.end { self.through } else { page.through };
        let through = self.through;
        let damaged = page.damaged.into_iter().filter(|row| row.row.unsigned_abs() <= through).map(|row| {
            Err(Error::new(ErrorKind::Corrupt, format!("event {} cannot be read: {}", row.row, row.reason)))
        });
        let messages = page.messages.into_iter().filter(|message| message.sequence() <= through);
        self.ready.extend(messages.map(Ok).chain(damaged));
        Ok(())
    }
}

impl Iterator for Events {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && (self.after < self.through || !self.chosen.is_empty()) {
            if let Err(error) = self.read_on() {
                // It would say the same for ever.
                self.failed = true;
                self.after = self.through;
                self.chosen.clear();
                return Some(Err(error));
            }
        }
        self.ready.pop_front()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("after", &self.after)
            .field("through", &self.through)
            .finish_non_exhaustive()
    }
}

/// What opens a file for reading. A file in WAL mode takes a writable folder for that, unless nobody can write it.
fn readable(path: &Path) -> Result<Opener> {
    let opener = Opener::new(path.to_owned(), None);
    let look = |opener: &Opener| -> Result<()> {
        let conn: Connection = opener.open_bare()?;
        history::exists(&conn)
            .map_err(|e| fault::error(&format!("opening {}", path.display()), e))
            .map(|_| ())
    };
    let Err(error) = look(&opener) else { return Ok(opener) };
    let cannot_be_made = matches!(error.kind(), ErrorKind::InvalidPath | ErrorKind::ReadOnly);
    if cannot_be_made && !beside(path, "-wal").exists() {
        let fixed = opener
            .at(&immutable(path))
            .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI);
        if look(&fixed).is_ok() {
            return Ok(fixed);
        }
    }
    Err(error)
}

/// The URI that has SQLite believe that the file never changes.
fn immutable(path: &Path) -> PathBuf {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    uri.push_str("?immutable=1");
    uri.into()
}
