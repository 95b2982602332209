//! A host's own connections: what they commit rings as well.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, Weak};

use rusqlite::Connection;
use rusqlite::hooks::{CheckpointMode, Wal};

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::SqliteBus;
use crate::sqlite::core::Core;
use crate::sqlite::fault;

/// Pages in the WAL from which a commit is followed by a checkpoint: SQLite's own default.
const CHECKPOINT_AT: i32 = 1_000;

/// Buses of this process that commits are rung for. The hook is a bare function and does not know whose it is, so that all
/// of them look: a needless look costs a few microseconds.
static ATTACHED: RwLock<Vec<(u64, Weak<Core>)>> = RwLock::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A connection of the host whose commits wake the bus's readers; from [`SqliteBus::attach`].
#[must_use = "commits of the connection wake readers at once only until this is dropped"]
#[derive(Debug)]
pub struct Attachment {
    id: u64,
    checkpoints: bool,
}

impl SqliteBus {
    /// Has the commits of a connection of your own wake the bus's readers at once, in this process and in others. Without it
    /// they are noticed as those of any program that writes plain SQL: within 20 ms, or 250 ms where the WAL cannot be watched.
    ///
    /// It sets the connection's WAL hook, and replaces one that is there, SQLite's automatic checkpoint included: the hook
    /// goes on with that, every 1,000 pages, unless `wal_autocheckpoint` was 0. `PRAGMA wal_autocheckpoint` on the
    /// connection ends the attachment. The update hook is left alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// use rowbus::{MessengerExt, SqliteBus, rusqlite::Connection};
    ///
    /// let bus = SqliteBus::open(&path).await?;
    /// let mut orders = bus.stream("orders.>").await?;
    /// let conn = Connection::open(&path).unwrap();
    /// let attachment = bus.attach(&conn)?;
    /// conn.execute("INSERT INTO bus_events (subject, data) VALUES ('orders.created', 'x')", []).unwrap();
    /// assert_eq!(orders.next().await.unwrap()?.text(), Some("x"));
    /// attachment.detach(&conn)
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidOption` if the connection is open on another file; `Database` if it does not answer.
    pub fn attach(&self, conn: &Connection) -> Result<Attachment> {
        let theirs = conn.path().and_then(|path| std::fs::canonicalize(Path::new(path)).ok());
        if theirs.as_deref() != Some(self.path()) {
            let message = format!(
                "the connection is open on {}, and the bus on {}; attach a connection of the bus's own file",
                conn.path().filter(|path| !path.is_empty()).unwrap_or("no file"),
                self.path().display()
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let setting: i64 = conn
            .pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0))
            .map_err(|e| fault::error("reading wal_autocheckpoint", e))?;
        let checkpoints = setting > 0;
        conn.wal_hook(Some(if checkpoints { ring_and_checkpoint } else { ring }));
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let mut attached = ATTACHED.write().unwrap_or_else(PoisonError::into_inner);
        attached.push((id, self.downgrade()));
        Ok(Attachment { id, checkpoints })
    }

    /// Has every reader of the file look for something new, in this process and in others: for commits of connections that
    /// are not attached. It neither waits nor fails, and costs a few microseconds.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// # let bus = rowbus::SqliteBus::open(&path).await?;
    /// // After another library of this program has written to the file:
    /// bus.nudge();
    /// # Ok(()) }
    /// ```
    pub fn nudge(&self) {
        self.core().nudge();
    }
}

impl Attachment {
    /// Ends it, and gives the connection its automatic checkpoint back. Dropping the attachment ends the ringing alone; the
    /// connection's hook then does nothing but to checkpoint.
    ///
    /// # Errors
    /// `Database` if the connection does not answer.
    pub fn detach(self, conn: &Connection) -> Result<()> {
        let pages = if self.checkpoints { CHECKPOINT_AT } else { 0 };
        conn.pragma_update(None, "wal_autocheckpoint", pages)
            .map_err(|e| fault::error("setting wal_autocheckpoint", e))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        ATTACHED.write().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != self.id);
    }
}

/// SQLite calls it after a commit can be seen, on the thread that committed; never after a rollback.
fn ring(_: &Wal, _: i32) -> rusqlite::Result<()> {
    let attached = ATTACHED.read().unwrap_or_else(PoisonError::into_inner).clone();
    for core in attached.iter().filter_map(|(_, core)| core.upgrade()) {
        core.nudge();
    }
    Ok(())
}

fn ring_and_checkpoint(wal: &Wal, pages: i32) -> rusqlite::Result<()> {
    ring(wal, pages)?;
    if pages >= CHECKPOINT_AT {
        // As SQLite does: a checkpoint that fails is made by a later commit, and does not concern this one.
        let _ = wal.checkpoint_v2(CheckpointMode::PASSIVE);
    }
    Ok(())
}
