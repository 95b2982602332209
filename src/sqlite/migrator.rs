//! Migrating at a time that the program chooses, and looking at what would be done.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::builder::Options;
use crate::sqlite::connection::{Opener, Purpose};
use crate::sqlite::open::{self, WalMode};
use crate::sqlite::schema::{self, Migration, State, migrations};
use crate::sqlite::stats::inspect;
use crate::sqlite::tables::file;

/// Brings the schema of a file up to date at the program's own time; by default that happens when a bus is opened. For
/// installers, and for programs that migrate their own tables in the same file. From [`SqliteBuilder::migrator`], or
/// [`Migrator::of`] a file.
///
/// A program that does so opens its buses with [`Migrate::Manual`](crate::sqlite::Migrate::Manual). All calls block.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// use rowbus::SqliteBus;
/// use rowbus::sqlite::{Migrate, Migrator};
///
/// let migrator = Migrator::of(&path);
/// for migration in migrator.up()? {
///     println!("applied {migration}");
/// }
/// assert!(migrator.status()?.is_current());
/// let bus = SqliteBus::builder(&path).migrate(Migrate::Manual).open().await?;
/// # Ok(()) }
/// ```
///
/// [`SqliteBuilder::migrator`]: crate::sqlite::SqliteBuilder::migrator
pub struct Migrator {
    path: PathBuf,
    options: Options,
}

/// What a look at the file has found.
struct Looked<'a> {
    conn: &'a Connection,
    path: &'a Path,
    state: State,
    /// Whether it is in WAL mode, if that can be told.
    is_wal: Option<bool>,
}

impl Migrator {
    /// For this file, with the options of a bus as they are unless set.
    pub fn of(path: impl AsRef<Path>) -> Self {
        crate::SqliteBus::builder(path).migrator()
    }

    pub(crate) fn with(path: PathBuf, options: Options) -> Self {
        Self { path, options }
    }

    /// Which migrations the file has, and which it lacks. Nothing is written, and a file that may only be read will do.
    ///
    /// # Errors
    /// As [`Inspector::open`](crate::sqlite::Inspector::open); `SchemaMismatch` if what the file says of its migrations cannot be read.
    /// What else keeps this library from using it is [`SchemaStatus::refusal`].
    pub fn status(&self) -> Result<SchemaStatus> {
        self.look(|file| Ok(self.status_of(file)))
    }

    /// Applies what the file lacks, in a transaction that is then rolled back: what it gives is what [`up`](Self::up) would apply.
    /// Meanwhile others wait to write, as they do for `up`.
    ///
    /// # Errors
    /// As [`up`](Self::up), for the same reasons; `InvalidPath` where `up` would make the file.
    pub fn dry_run(&self) -> Result<Vec<&'static Migration>> {
        self.run(true)
    }

    /// Applies what the file lacks, in one transaction, flushed to the disk; gives what was applied. Makes the file if there is
    /// none, unless the builder says otherwise.
    ///
    /// Programs with an older version of the library that have the file open go on using it as far as the migrations
    /// allow it, and else are told so by the calls that they make.
    ///
    /// # Errors
    /// As [`SqliteBuilder::open`](crate::sqlite::SqliteBuilder::open), but for `SchemaTooOld`.
    pub fn up(&self) -> Result<Vec<&'static Migration>> {
        self.run(false)
    }

    /// Whether the file has all migrations of this library, as they are, and its tables and indexes are as these made them. It looks
    /// at the schema and not at what is in the tables ([`diagnose`](crate::sqlite::diagnose) does), and writes nothing. Of a file with
    /// [newer](MigrationState::Newer) migrations, tables and indexes are not compared.
    ///
    /// # Errors
    /// `SchemaTooOld` if migrations are missing, `SchemaMismatch` if something was changed, removed or added under the
    /// names of the bus, `NameTaken`, `SchemaTooNew`; as [`status`](Self::status).
    pub fn verify(&self) -> Result<SchemaStatus> {
        self.look(|file| {
            let missing = schema::verify(&file.state)?;
            schema::verify_shape(file.conn, &file.state)?;
            if !missing.is_empty() {
                return Err(schema::too_old(file.path, &missing));
            }
            Ok(self.status_of(file))
        })
    }

    fn status_of(&self, file: &Looked<'_>) -> SchemaStatus {
        let mut status = status(file.path, &file.state);
        // A file without a table is nobody's yet, and converted by whoever makes it a bus.
        let is_refused = file.is_wal == Some(false) && !file.state.is_empty && !self.options.convert_to_wal;
        if status.refusal.is_none() && is_refused {
            status.refusal = Some(open::not_wal(file.path));
        }
        status
    }

    fn look<T>(&self, look: impl FnOnce(&Looked<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.options.busy_deadline;
        // A file with a key of its own is not opened from outside.
        if self.options.on_connect.is_some() {
            let path = open::ensure_file(&self.path, false)?;
            let opener = Opener::new(path, self.options.on_connect.clone());
            let conn = opener.open(Purpose::Read)?;
            let state = schema::look(&conn, deadline)?;
            let is_wal = file::journal_mode(&conn).ok().map(|mode| mode == "wal");
            return look(&Looked { conn: &conn, path: opener.path(), state, is_wal });
        }
        let opened = inspect(&self.path)?;
        let state = schema::look(&opened.conn, deadline)?;
        look(&Looked { conn: &opened.conn, path: &opened.path, state, is_wal: opened.is_wal() })
    }

    fn run(&self, rehearsal: bool) -> Result<Vec<&'static Migration>> {
        self.options.check()?;
        let mode = if rehearsal { WalMode::AsItIs } else { WalMode::of(&self.options) };
        let (_, conn) = open::open_to_write(&self.path, &self.options, mode)?;
        schema::migrate(&conn, Instant::now() + self.options.busy_deadline, rehearsal)
    }
}

impl fmt::Debug for Migrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrator").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Applies what the connection's own file lacks, in a transaction of your own: beside your own migrations, both or neither. Gives
/// what was applied. It fails without having written anything, and leaves the transaction open.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// use rowbus::rusqlite::{Connection, TransactionBehavior::Immediate};
/// use rowbus::sqlite::{Migrate, migrate_in};
/// use rowbus::{MessengerExt, SqliteBus};
///
/// let mut conn = Connection::open(&path).unwrap();
/// conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
/// let tx = conn.transaction_with_behavior(Immediate).unwrap();
/// tx.execute_batch("CREATE TABLE orders (item TEXT)").unwrap();
/// migrate_in(&tx)?;
/// tx.commit().unwrap();
/// let bus = SqliteBus::builder(&path).migrate(Migrate::Manual).open().await?;
/// bus.publish("orders.created", "pizza").await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `InvalidOption` if no transaction is open; `NameTaken`, `SchemaTooNew`, `SchemaMismatch`; `Busy`, `DiskFull`, … if a statement
/// fails.
pub fn migrate_in(conn: &Connection) -> Result<Vec<&'static Migration>> {
    if conn.is_autocommit() {
        let message = "the connection has no transaction open; begin one, best with BEGIN IMMEDIATE";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    schema::migrate_within(conn)
}

/// What a file says of its schema. From [`Migrator::status`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SchemaStatus {
    /// The file, as its canonical path.
    pub path: PathBuf,
    /// The migrations that the file has, or that this library has, in their order.
    pub migrations: Vec<MigrationStatus>,
    /// The newest migration that a library must know to read the file; `None` if there is no bus in it.
    pub min_reader: Option<u32>,
    /// The same to write it.
    pub min_writer: Option<u32>,
    /// Why this library cannot use the file, and cannot migrate it either.
    pub refusal: Option<Error>,
}

impl SchemaStatus {
    /// The newest migration that the file has; 0 if there is no bus in it.
    pub fn version(&self) -> u32 {
        let applied = self.migrations.iter().filter(|migration| migration.state != MigrationState::Pending);
        applied.map(|migration| migration.version).max().unwrap_or(0)
    }

    /// Whether a bus can be opened on it as it is.
    pub fn is_current(&self) -> bool {
        self.refusal.is_none() && self.pending().next().is_none()
    }

    /// What [`Migrator::up`] would apply.
    pub fn pending(&self) -> impl Iterator<Item = &MigrationStatus> {
        self.migrations.iter().filter(|migration| migration.state == MigrationState::Pending)
    }
}

/// One migration of a file, in a [`SchemaStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationStatus {
    /// Its place in the chain, from 1.
    pub version: u32,
    /// What it is about: in the file's words, where it was applied.
    pub name: String,
    /// Of its content, in the file's words where it was applied.
    pub checksum: String,
    /// When it was applied, in the words of who applied it: RFC 3339 if it was this library.
    pub applied_on: Option<String>,
    /// What became of it.
    pub state: MigrationState,
}

/// What became of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationState {
    /// The file has it, as this library has it.
    Applied,
    /// The file lacks it.
    Pending,
    /// The file has it, and this library does not know it: a newer one was there.
    Newer,
    /// The file has one of this version whose name or content is another.
    Changed,
}

fn status(path: &Path, state: &State) -> SchemaStatus {
    let known = |version: i64| migrations().iter().find(|known| i64::from(known.version) == version);
    let number = |floor: &Option<String>| floor.as_ref().and_then(|floor| floor.parse().ok());
    let mut all: Vec<_> = state
        .applied
        .iter()
        .map(|row| MigrationStatus {
            version: u32::try_from(row.version).unwrap_or(0),
            name: row.name.clone(),
            checksum: row.checksum.clone(),
            applied_on: row.on.clone(),
            state: match known(row.version) {
                Some(known) if schema::is_same(known, row) => MigrationState::Applied,
                Some(_) => MigrationState::Changed,
                None => MigrationState::Newer,
            },
        })
        .collect();
    let is_there = |migration: &&Migration| all.iter().any(|row| row.version == migration.version);
    let missing: Vec<_> = migrations().iter().filter(|migration| !is_there(migration)).collect();
    all.extend(missing.into_iter().map(|migration| MigrationStatus {
        version: migration.version,
        name: migration.name.clone(),
        checksum: migration.checksum.clone(),
        applied_on: None,
        state: MigrationState::Pending,
    }));
    all.sort_by_key(|migration| migration.version);
    SchemaStatus {
        path: path.to_owned(),
        migrations: all,
        min_reader: number(&state.min_reader),
        min_writer: number(&state.min_writer),
        refusal: schema::verify(state).err(),
    }
}
