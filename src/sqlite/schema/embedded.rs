//! The migrations that this library has, and the SQL for those who run them by other means.

use std::fmt;
use std::sync::LazyLock;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::tables::history;

mod files {
    #![allow(clippy::unwrap_used, missing_docs)] // the macro's own code
    refinery::embed_migrations!("migrations");
}

/// A step of the file format, as this library has it: `V2__requests` has version 2 and the name `requests`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// Its place in the chain, from 1.
    pub version: u32,
    /// What it is about.
    pub name: String,
    /// What `bus_schema_history` says of its content, in refinery's way. A file whose checksum differs is refused.
    pub checksum: String,
    sql: String,
}

impl Migration {
    /// Its SQL alone: the history does not learn of it.
    pub(crate) fn statements(&self) -> &str {
        &self.sql
    }

    /// Its SQL, with the row of `bus_schema_history` by which a later `open` knows that it was applied. To be run whole, in one
    /// transaction, behind those before it. That of the first makes the table of the history as well.
    ///
    /// ```
    /// # use rowbus::sqlite::migrations;
    /// let first = &migrations()[0];
    /// assert_eq!(first.to_string(), "V1__bus");
    /// assert!(first.sql().contains("INSERT INTO bus_schema_history"));
    /// ```
    pub fn sql(&self) -> String {
        let history =
            if self.version == 1 { format!("{}\n", history::script_to_create()) } else { String::new() };
        let row = history::script_to_record(self.version, &self.name, &self.checksum);
        format!("-- {self}\n{history}{}\n{row}\n", self.sql.trim_end())
    }
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{}__{}", self.version, self.name)
    }
}

/// The migrations that this library has, in their order: version 1 is the first, and none is left out.
pub fn migrations() -> &'static [Migration] {
    // Parsing them takes longer than a publish.
    static MIGRATIONS: LazyLock<Vec<Migration>> = LazyLock::new(|| {
        let mut all: Vec<_> = files::migrations::runner().get_migrations().iter().map(read).collect();
        all.sort_by_key(|migration| migration.version);
        all
    });
    &MIGRATIONS
}

fn read(migration: &refinery::Migration) -> Migration {
    Migration {
        version: u32::try_from(migration.version()).unwrap_or_default(),
        name: migration.name().to_owned(),
        checksum: migration.checksum().to_string(),
        sql: migration.sql().unwrap_or_default().to_owned(),
    }
}

/// The newest that this library has.
pub(crate) fn newest_known() -> i64 {
    migrations().last().map_or(0, |migration| i64::from(migration.version))
}

/// The SQL that brings a file from schema `after` (0: no bus yet) to this library's, for a program that has a chain of migrations
/// of its own: it becomes a step of that chain, and what a later version of the library adds another. It records itself in
/// `bus_schema_history`, so that opening a bus finds nothing to do. Run each step in one transaction, in a file in WAL mode,
/// and open buses with [`Migrate::Manual`](crate::sqlite::Migrate::Manual), so that none is ahead of the chain.
///
/// Empty if there is nothing behind `after`. It is SQL of SQLite 3.37, without transactions and pragmas.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// use rowbus::rusqlite::Connection;
/// use rowbus::sqlite::{Migrate, migration_sql};
/// use rowbus::{MessengerExt, SqliteBus};
///
/// let step = format!("CREATE TABLE orders (item TEXT); {}", migration_sql(0)?);
/// let conn = Connection::open(&path).unwrap();
/// conn.execute_batch(&format!("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; {step} COMMIT")).unwrap();
/// let bus = SqliteBus::builder(&path).migrate(Migrate::Manual).open().await?;
/// bus.publish("orders.created", "pizza").await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `InvalidOption` if this library has no migration `after`.
pub fn migration_sql(after: u32) -> Result<String> {
    let newest = newest_known();
    if i64::from(after) > newest {
        let message = format!("there is no migration {after}: the newest of this library is {newest}");
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let wanted = migrations().iter().filter(|migration| migration.version > after);
    Ok(wanted.map(Migration::sql).collect::<Vec<_>>().join("\n"))
}
