//! Options of a bus on a file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::{Clock, SystemClock};
use crate::defaults;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::publish::Durability;
use crate::retention::Retention;
use crate::sqlite::SqliteBus;
use crate::sqlite::connection::OnConnect;
use crate::sqlite::migrator::Migrator;
use crate::sqlite::prune::check_age;
use crate::sqlite::schema::Migrate;

/// Options of a [`SqliteBus`], checked when it is opened.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// use std::time::Duration;
/// use rowbus::{Durability, SqliteBus};
///
/// let bus = SqliteBus::builder(&path)
///     .durability(Durability::Relaxed)
///     .busy_deadline(Duration::from_secs(1))
///     .open()
///     .await?;
/// # drop(bus); Ok(()) }
/// ```
#[must_use = "nothing is opened before `open` is awaited"]
pub struct SqliteBuilder {
    pub(super) path: PathBuf,
    options: Options,
}

/// What a bus was opened with.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) durability: Durability,
    pub(crate) busy_deadline: Duration,
    pub(crate) dedup_window: Duration,
    pub(crate) max_payload: usize,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) on_connect: Option<OnConnect>,
    pub(crate) migrate: Migrate,
    pub(crate) create: bool,
    pub(crate) convert_to_wal: bool,
    pub(crate) allow_unsafe_mount: bool,
    pub(crate) floor: bool,
    pub(crate) name: Option<String>,
    pub(crate) retention: Vec<(Result<Filter>, Retention)>,
    /// `Some(None)` is for ever.
    pub(crate) dead_letter_age: Option<Option<Duration>>,
    pub(crate) prune: bool,
}

impl SqliteBuilder {
    pub(crate) fn new(path: PathBuf) -> Self {
        let options = Options {
            durability: Durability::Full,
            busy_deadline: defaults::BUSY_DEADLINE,
            dedup_window: defaults::DEDUP_WINDOW,
            max_payload: defaults::MAX_PAYLOAD,
            clock: Arc::new(SystemClock),
            on_connect: None,
            migrate: Migrate::Auto,
            create: true,
            convert_to_wal: false,
            allow_unsafe_mount: false,
            floor: true,
            name: None,
            retention: Vec::new(),
            dead_letter_age: None,
            prune: true,
        };
        Self { path, options }
    }

    /// What an acknowledgement promises unless the message says otherwise: [`Durability::Full`] unless set.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// How long a write waits for a locked file before it fails as `Busy`: 5 s unless set.
    pub fn busy_deadline(mut self, deadline: Duration) -> Self {
        self.options.busy_deadline = deadline;
        self
    }

    /// How long a `message_id` is remembered: 2 minutes unless set, at most 365 days.
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.options.dedup_window = window;
        self
    }

    /// The largest payload with headers, in bytes: 1 MiB unless set, at most 64 MiB.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.options.max_payload = bytes;
        self
    }

    /// Where the bus takes the wall time from; for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.options.clock = clock;
        self
    }

    /// Runs first on every connection that the bus opens, for instance to give SQLCipher its key. It must not write, nor
    /// change `journal_mode` or `synchronous`.
    pub fn on_connect(
        mut self,
        run: impl Fn(&Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.options.on_connect = Some(Arc::new(run));
        self
    }

    /// When the schema is brought up to date: [`Migrate::Auto`] unless set.
    pub fn migrate(mut self, migrate: Migrate) -> Self {
        self.options.migrate = migrate;
        self
    }

    /// What brings the schema up to date at another time than when the bus is opened, by these options.
    pub fn migrator(self) -> Migrator {
        Migrator::with(self.path, self.options)
    }

    /// Whether a missing file is created: it is unless set to `false`.
    pub fn create(mut self, create: bool) -> Self {
        self.options.create = create;
        self
    }

    /// Whether an existing file in rollback-journal mode is converted to WAL, for every program that uses it. It is
    /// refused as `NotWal` unless set.
    pub fn convert_to_wal(mut self, convert: bool) -> Self {
        self.options.convert_to_wal = convert;
        self
    }

    /// Whether a file on a network or pass-through mount is opened in spite of its locks. It is refused unless set.
    pub fn allow_unsafe_mount(mut self, allow: bool) -> Self {
        self.options.allow_unsafe_mount = allow;
        self
    }

    /// What others see this bus as in [`peers`](SqliteBus::peers): the program's name unless set. At most 255 bytes without
    /// control characters.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// How long the events of this filter are kept, unless a builder before or an operator has said so already: it takes the
    /// place of the default (7 days for every subject) and of no other policy, so that programs of two versions do not change
    /// it to and fro, and an operator's word stands. [`SqliteBus::set_retention`] changes it in any case. May be given for
    /// several filters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// use std::time::Duration;
    /// use rowbus::{Retention, SqliteBus};
    ///
    /// let bus = SqliteBus::builder(&path)
    ///     .retention(">", Retention::new().max_age(Duration::from_secs(3 * 24 * 3600)))
    ///     .retention("settings.>", Retention::new().max_per_subject(1))
    ///     .open()
    ///     .await?;
    /// # bus.prune().await?; Ok(()) }
    /// ```
    pub fn retention<F>(mut self, filter: F, retention: Retention) -> Self
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        self.options.retention.push((filter.try_into().map_err(Error::from), retention));
        self
    }

    /// How long dead letters are kept, unless a builder before or an operator has said so already: 90 days unless set, `None` is
    /// for ever.
    pub fn keep_dead_letters(mut self, max_age: Option<Duration>) -> Self {
        self.options.dead_letter_age = Some(max_age);
        self
    }

    /// Whether this bus removes in the background what the policies say, as one of the processes that have the file open does: it
    /// does unless set to `false`. For tools that look, or bring something in: [`SqliteBus::prune`] removes in any case.
    pub fn prune(mut self, prune: bool) -> Self {
        self.options.prune = prune;
        self
    }

    /// Whether streams look into the file without having been told to: for tests of the doorbell alone. Plain SQL clients and
    /// lost wakes are noticed by nothing else.
    #[doc(hidden)]
    pub fn floor(mut self, floor: bool) -> Self {
        self.options.floor = floor;
        self
    }

    /// Opens the bus; creates the file, private to the user, and its tables where they are missing.
    ///
    /// # Errors
    /// Each says what to do about it: `InvalidOption`, `InvalidPath`, `NotADatabase`, `ReadOnly`, `NotWal`, `UnsafeMount`, `UnsafeSqlite`,
    /// `NameTaken`, `SchemaTooOld`, `SchemaTooNew`, `SchemaMismatch`, `Busy`, `DiskFull`, `Corrupt`, `Io`, `Database`.
    pub async fn open(self) -> Result<SqliteBus> {
        self.options.check()?;
        SqliteBus::open_with(self.path, self.options).await
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
        if self.max_payload > defaults::MAX_ROW {
            return invalid(format!(
                "max_payload is at most {} bytes; got {}",
                defaults::MAX_ROW,
                self.max_payload
            ));
        }
        let year = Duration::from_secs(365 * 24 * 3600);
        if self.dedup_window > year {
            return invalid(format!("dedup_window is at most 365 days; got {:?}", self.dedup_window));
        }
        if self.busy_deadline > year {
            return invalid(format!("busy_deadline is at most 365 days; got {:?}", self.busy_deadline));
        }
        for (filter, retention) in &self.retention {
            filter.clone()?;
            retention.clone().into_parts()?;
        }
        check_age(self.dead_letter_age.flatten())?;
        if let Some(name) = &self.name
            && (name.is_empty() || name.len() > 255 || name.chars().any(char::is_control))
        {
            return invalid(format!(
                "name has 1 to 255 bytes and no control characters; got {} bytes, {name:?}",
                name.len()
            ));
        }
        Ok(())
    }

    /// The name for others to see.
    pub(crate) fn name(&self) -> String {
        let program = || {
            std::env::current_exe()
                .ok()
                .and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        };
        self.name.clone().or_else(program).unwrap_or_default()
    }
}

impl fmt::Debug for SqliteBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBuilder").field("path", &self.path).finish_non_exhaustive()
    }
}
