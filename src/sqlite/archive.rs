//! What a file holds, for reading only: files of any version, and copies that nobody may write.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::message::Message;
use crate::sqlite::connection::Opener;
use crate::sqlite::filters::Filters;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::log::{Gaps, Log, Start};
use crate::sqlite::tables::events::Damaged;
use crate::sqlite::{Backup, DeadLetters, backup, disk, schema, stats, version};
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
    opener: Opener,
    path: PathBuf,
    still: Option<Arc<Still>>,
    /// The file was not closed, and is read as a copy.
    _copy: Option<stats::Copy>,
}

impl Archive {
    /// Opens the file.
    ///
    /// # Errors
    /// `InvalidPath` if it is missing or no regular file, `SchemaTooOld` if it has no bus, `SchemaTooNew` if it takes a newer library
    /// to read it, `NotADatabase`, `Corrupt`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        version::check(rusqlite::version_number())?;
        let opened = stats::inspect(path.as_ref())?;
        let path = opened.path.clone();
        let still = opened.is_still.then(|| Arc::new(Still::of(&path)));
        let identity = FileIdentity::of(&path)?;
        let (opener, copy) = opened.into_opener();
        // Whoever reads on is told of what cannot be read.
        let log = Log::open(&opener, identity, |_| {})?;
        let archive = Self { log, opener, path, still, _copy: copy };
        match archive.log.read("reading the schema", |conn| Ok(schema::check_readable(conn)))? {
            Ok(true) => Ok(archive),
            Ok(false) => {
                let message = format!("{}: there is no bus in this file", archive.path.display());
                Err(Error::new(ErrorKind::SchemaTooOld, message))
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
        let (log, still) = (Arc::clone(&self.log), self.still.clone());
        Ok(Events { log, still, filters, after, through, chosen, ready: VecDeque::new(), failed: false })
    }

    /// The dead letters that any of these filters matches, the oldest first; without a filter all.
    ///
    /// # Errors
    /// As any reading verb.
    pub fn dead_letters(&self, filters: &[Filter]) -> Result<DeadLetters> {
        let filters = if filters.is_empty() { Filters::everything() } else { Filters::new(filters) };
        let (log, still) = (Arc::clone(&self.log), self.still.clone());
        Ok(DeadLetters { log, still, filters, after: Some(0), ready: VecDeque::new(), failed: false })
    }

    /// Copies the file to `path`, which must not exist, as [`SqliteBus::backup`](crate::SqliteBus::backup) does, whatever the
    /// version of its tables: that of the copy is the same. `progress` is told now and then how many bytes of how many were
    /// copied, and ends it with [`ControlFlow::Break`]; then nothing is left behind.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// # let target = folder.path().join("copy.db");
    /// # { use rowbus::{Messenger, MessengerExt}; let bus = rowbus::SqliteBus::open(&path).await?; bus.publish("a", "one").await?;
    /// # bus.close().await?; }
    /// use std::ops::ControlFlow;
    ///
    /// let backup = rowbus::sqlite::Archive::open(&path)?.backup(&target, |_, _| ControlFlow::Continue(()))?;
    /// assert_eq!(backup.events, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `AlreadyExists`; `Closed` if it was ended; `DiskFull`, `ReadOnly`, `InvalidPath` and `Io` of the copy; as any reading
    /// verb.
    pub fn backup(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Backup> {
        let is_over = Cell::new(false);
        let mut told = |copied, all| is_over.set(progress(copied, all).is_break() || is_over.get());
        let is_changed = Cell::new(Ok(()));
        let check = || {
            if let Some(Err(error)) = self.still.as_ref().map(|still| still.check()) {
                is_changed.set(Err(error));
                is_over.set(true);
            }
            is_over.get()
        };
        let copied = backup::run((&self.log, &self.opener), path.as_ref(), &check, &mut told);
        is_changed.into_inner().and(copied)
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
    still: Option<Arc<Still>>,
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

    /// What was read counts only if nobody has written meanwhile.
    fn check(&self) -> Result<()> {
        self.still.as_ref().map_or(Ok(()), |still| still.check())
    }

    fn read_on(&mut self) -> Result<()> {
        if !self.chosen.is_empty() {
            let (found, looked_up) = self.log.get_each(&self.chosen)?;
            self.check()?;
            self.chosen.drain(..looked_up);
            self.ready.extend(found.into_iter().map(|found| found.map_err(unreadable)));
            return Ok(());
        }
        let gaps = Gaps { known: self.through, ..Gaps::default() };
        let page = self.log.page(self.after, &self.filters, gaps)?.page;
        self.check()?;
        self.after = if page.end { self.through } else { page.through };
        let through = self.through;
        let damaged = page.damaged.into_iter().filter(|row| row.row.unsigned_abs() <= through);
        let damaged = damaged.map(|row| Err(unreadable(row)));
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

fn unreadable(row: Damaged) -> Error {
    Error::new(ErrorKind::Corrupt, format!("event {} cannot be read: {}", row.row, row.reason))
}

/// A file that nobody has open is read as one that cannot change, which leaves no trace beside it. What tells that it did.
#[derive(Debug)]
pub(super) struct Still {
    path: PathBuf,
    seen: (u64, Option<SystemTime>),
}

impl Still {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: Self::look(path) }
    }

    fn look(path: &Path) -> (u64, Option<SystemTime>) {
        std::fs::metadata(path).map_or((0, None), |found| (found.len(), found.modified().ok()))
    }

    pub(super) fn check(&self) -> Result<()> {
        let is_open = disk::wal(&self.path).0 > 0 || disk::beside(&self.path, "-shm").exists();
        if !is_open && Self::look(&self.path) == self.seen {
            return Ok(());
        }
        let message = format!(
            "{}: a program has begun to use it while it was read as one that nobody has open; read it again",
            self.path.display()
        );
        Err(Error::new(ErrorKind::Busy, message))
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
