//! A copy of the whole file while others go on writing.
//!
//! SQLite's online backup copies the pages of one snapshot, held by a read transaction: a commit meanwhile neither waits for
//! it nor has it begin anew. What only the living file may say of itself is taken out of the copy before it gets its name.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use rusqlite::backup::{Backup as Pages, StepResult};

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::Opener;
use crate::sqlite::lineage::Lineage;
use crate::sqlite::log::{Log, in_transaction};
use crate::sqlite::open::io_error;
use crate::sqlite::tables::{consumers, deliveries, events, members, meta, peers, replies, requests};
use crate::sqlite::unfinished::Unfinished;
use crate::sqlite::{boot, fault, schema};

/// Pages between two looks at whether anybody still waits for the copy: 4 MiB of them.
const STEP: std::ffi::c_int = 1024;

/// A copy that was made. From [`SqliteBus::backup`](crate::SqliteBus::backup).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// Where it is.
    pub path: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// The events in it.
    pub events: u64,
    /// The newest sequence that the log had given out.
    pub newest: u64,
    /// What tells the copy from the file that it was made of, and from any other copy.
    pub incarnation: String,
}

/// Says when it is dropped that nobody waits any more.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Waiting {
    /// Whether nobody waits any more.
    pub(crate) fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How the copying of the pages has ended.
enum Copied {
    Whole,
    /// It was told to end.
    Over,
    NotFlushed(io::Error),
}

/// Copies the file of `log` to `path`, which must not exist, unless it `is_over` before. Blocks.
///
/// On a connection of its own: those of the pool are for pages, and a backup may take minutes.
pub(crate) fn run(
    (log, opener): (&Log, &Opener),
    path: &Path,
    is_over: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Backup> {
    let conn = log.connect(opener)?;
    let unfinished = Unfinished::create(path)?;
    let opener = opener.at(unfinished.path());
    // Opened before SQLite has the file, and closed after it.
    let failed = |error| io_error(path, "opening the new file", error);
    let flushed = File::options().write(true).open(unfinished.path()).map_err(failed)?;
    let mut copy = opener.open_bare()?;
    let copied = in_transaction(&conn, |conn| {
        // The snapshot begins with the first read.
        events::newest(conn)?;
        let mut flush = || flushed.sync_data();
        copy_pages(conn, (&mut copy, &mut flush), is_over, progress)
    });
    let copied = copied.map_err(|error| fault::error("copying the file", error));
    drop(copy);
    drop(flushed);
    match copied? {
        Copied::Whole => {}
        Copied::Over => return Err(Error::closed()),
        Copied::NotFlushed(error) => return Err(io_error(path, "flushing the new file", error)),
    }
    let mut backup = in_own_right(&opener, |conn| {
        Ok(Backup {
            path: PathBuf::new(),
            bytes: 0,
            events: events::all(conn)?,
            newest: events::newest(conn)?,
            incarnation: meta::get(conn, meta::INCARNATION)?.unwrap_or_default(),
        })
    })?;
    (backup.path, backup.bytes) = unfinished.finish()?;
    Ok(backup)
}

fn copy_pages(
    from: &Connection,
    (to, flush): (&mut Connection, &mut dyn FnMut() -> io::Result<()>),
    is_over: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(u64, u64),
) -> rusqlite::Result<Copied> {
    // All of it is flushed at the end, before it gets its name.
    to.pragma_update(None, "synchronous", "OFF")?;
    let page: u64 = from.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs();
    let pages = Pages::new(from, to)?;
    loop {
        let step = pages.step(STEP)?;
        let now = pages.progress();
        let (all, left) = (u64::from(now.pagecount.unsigned_abs()), u64::from(now.remaining.unsigned_abs()));
        progress(all.saturating_sub(left) * page, all * page);
        // Step by step: one flush of it all at the end would keep the publishers' own waiting. A failure is told once, to who has
        // the file open: a later flush that succeeds says nothing of what this one has lost.
        if let Err(error) = flush() {
            return Ok(Copied::NotFlushed(error));
        }
        match step {
            StepResult::Done => return Ok(Copied::Whole),
            _ if is_over() => return Ok(Copied::Over),
            // Nobody else has the copy open, and the snapshot is held: what locked it is a recovery that ends.
            StepResult::Busy | StepResult::Locked => std::thread::sleep(std::time::Duration::from_millis(1)),
            _ => {}
        }
    }
}

/// Makes a copied file one that nobody has open: with an incarnation of its own, and nothing of the processes that have
/// the other one open. It is left without a WAL.
pub(crate) fn in_own_right<T>(
    opener: &Opener,
    look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T> {
    let conn = opener.open_bare()?;
    let is_current = schema::examine(&conn)?.is_empty();
    let change = || -> rusqlite::Result<T> {
        // No sidecars of SQLite: nobody else knows this name.
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.pragma_update(None, "synchronous", "OFF")?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        forget_the_living(&conn, is_current)?;
        let seen = look(&conn)?;
        conn.execute_batch("COMMIT")?;
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(seen)
    };
    change().map_err(|e| fault::error("making the copy a file of its own", e))
}

/// A copy that is opened beside its original must not take the original's processes for its own: their slots are those of
/// another sidecar, and their awake time may be that of another boot.
fn forget_the_living(conn: &Connection, is_current: bool) -> rusqlite::Result<()> {
    Lineage::renew(conn)?;
    meta::set(conn, meta::BOOT_ID, boot::COPIED)?;
    peers::remove_all(conn)?;
    // The first open does the rest, as after a restart, once the tables are those that this library knows.
    if !is_current {
        return Ok(());
    }
    requests::recover::new_boot(conn)?;
    replies::remove_orphans(conn)?;
    consumers::new_boot(conn, chrono::Utc::now().timestamp_millis())?;
    deliveries::new_boot(conn)?;
    members::new_boot(conn)
}

/// There is something where a file was to be made.
pub(crate) fn already_exists(path: &Path) -> Error {
    let message = format!("{}: there is a file already, and it is not overwritten", path.display());
    Error::new(ErrorKind::AlreadyExists, message)
}
