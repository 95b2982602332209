//! What can be read of a damaged file, into a new one.
//!
//! A query stops at the first page that is damaged, and what is behind it stays hidden. So the file is read page by page without
//! SQLite: each page with rows describes itself. To which table it belongs, and whether it counts at all, since pages that
//! are free still hold rows of before, is told by the trees as far as they hold, by the file's own map of its pages, and where
//! both are gone by what rows look like.

mod btree;
mod finish;
mod map;
mod pages;
mod record;
mod report;
mod rescue;
mod wal;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::backup::in_own_right;
use crate::sqlite::connection::{Opener, Purpose};
use crate::sqlite::open::{create_tables, io_error};
use crate::sqlite::salvage::pages::Pages;
use crate::sqlite::salvage::rescue::{Rescue, looks_like_ours};
use crate::sqlite::unfinished::Unfinished;
use crate::sqlite::{byte_lock, fault, version};

pub use report::{Salvaged, SalvagedTable};

/// Reads what can be read of a damaged file into a new one, and says what it could not: events, jobs, dead letters, consumers
/// with their positions, and settings. Every row whose pages are intact comes out as it was, under its old id.
///
/// Other programs' tables are left behind. The damaged file is only read; no program may have it open meanwhile, this one
/// included. What was committed and is still in the `-wal` file beside it counts. SQLite keeps no checksums: content that was
/// altered in place, and is still well formed, is taken for what it was.
///
/// ```no_run
/// let salvaged = rowbus::sqlite::Salvage::of("damaged.db").into_new("salvaged.db")?;
/// for table in &salvaged.tables {
///     println!("{}: {} rows, {} lost", table.name, table.rows, table.lost);
/// }
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is read before `into_new` is called"]
pub struct Salvage {
    path: PathBuf,
    force: bool,
    stop: Arc<AtomicBool>,
}

impl Salvage {
    /// Of this file.
    pub fn of(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), force: false, stop: Arc::default() }
    }

    /// Reads it although a program has it open: what that program writes meanwhile may come out torn.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Gives up once this is set, with nothing left behind.
    pub fn stop_if(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Makes the new file, which must not exist. Blocks.
    ///
    /// # Errors
    /// `Busy` if a program has the damaged file open, `Closed` if it was told to give up, `AlreadyExists` if there is a file at `new`, `NotADatabase` if nothing in
    /// the damaged file looks like a bus; `DiskFull`, `Io` and the like of the new file.
    pub fn into_new(self, new: impl AsRef<Path>) -> Result<Salvaged> {
        version::check(rusqlite::version_number())?;
        let unfinished = Unfinished::create(new.as_ref())?;
        let file = self.hold()?;
        let failed = |error| io_error(&self.path, "reading the damaged file", error);
        let pages = Pages::open(file, &self.path, looks_like_ours).map_err(failed)?;
        let opener = Opener::new(unfinished.path().to_owned(), None);
        let mut salvaged = {
            let conn = opener.open_bare()?;
            create_tables(&opener, &conn)?;
            drop(conn);
            let conn = opener.open(Purpose::Write)?;
            let rescued = rescue(&conn, &pages, &self.stop);
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Closed, "told to stop before everything was read"));
            }
            rescued.map_err(|e| fault::error("writing the new file", e))?
        };
        if salvaged.tables.iter().all(|table| table.rows == 0 && table.lost == 0 && table.damaged == 0) {
            let message = format!("{}: nothing in it looks like a bus", self.path.display());
            return Err(Error::new(ErrorKind::NotADatabase, message));
        }
        in_own_right(&opener, |_| Ok(()))?;
        salvaged.path = unfinished.finish()?.0;
        Ok(salvaged)
    }

    /// Opens the file and, where the system can, holds off whoever would open it with SQLite.
    fn hold(&self) -> Result<File> {
        let open = |write: bool| File::options().read(true).write(write).open(&self.path);
        // A lock takes a file that may be written; one that may not be is written by nobody else either.
        let file = open(true).or_else(|_| open(false));
        let file = file.map_err(|error| io_error(&self.path, "opening the damaged file", error))?;
        if self.force || byte_lock::try_lock_all(&file, SQLITE_LOCKS).unwrap_or(true) {
            return Ok(file);
        }
        // To close it would drop the locks of this process, if it is the one.
        std::mem::forget(file);
        let message = format!(
            "{}: a program has it open; end that first, since what it writes meanwhile would come out torn",
            self.path.display()
        );
        Err(Error::new(ErrorKind::Busy, message))
    }
}

/// The bytes on which SQLite's locks are, first and number: whoever has a file in WAL mode open holds some of them.
const SQLITE_LOCKS: (u64, u64) = (0x4000_0000, 512);

fn rescue(conn: &Connection, pages: &Pages, stop: &AtomicBool) -> rusqlite::Result<Salvaged> {
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // It is flushed as a whole before it has its name.
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.pragma_update(None, "wal_autocheckpoint", 1000)?;
    let mut rescue = Rescue::begin(conn, pages, stop)?;
    rescue.read_known()?;
    rescue.read_unknown()?;
    rescue.finish()
}
