//! A bus copied to a file, and events brought in from one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::publish::{PubAck, Publish};
use crate::sqlite::{Backup, SqliteBus, backup, import, off_runtime};

impl SqliteBus {
    /// Copies the file while others go on reading and writing: one moment of it, whole, as a single file with the tables of
    /// the host in it. `path` must not exist. Until the copy is whole and flushed, what is there of it is a file beside `path`
    /// whose name ends in `.unfinished`. The copy is private to the user.
    ///
    /// It is a file in its own right, which may be put in the place of the other one while no program has that open, or be
    /// opened beside it: it has an incarnation of its own and nobody has it open; what was leased is free again, and requests,
    /// whose callers wait elsewhere, are not in it. Jobs are, so a copy that is served runs them once more. A reader that
    /// names a sequence beyond the copy's log is told so with
    /// [`CursorAhead`](crate::ErrorKind::CursorAhead).
    ///
    /// The snapshot that is copied holds back checkpoints: the WAL grows by what is written meanwhile. Dropping the future ends
    /// it, as does closing the bus, and leaves nothing behind.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// # let target = folder.path().join("app-2026-11-23.db");
    /// use rowbus::{MessengerExt, SqliteBus};
    ///
    /// let bus = SqliteBus::open(&path).await?;
    /// bus.publish("orders.created", "one pizza").await?;
    /// let backup = bus.backup(&target).await?;
    /// assert_eq!((backup.events, backup.newest), (1, 1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file at `path`; `Closed` if the bus is closed meanwhile; `DiskFull`, `ReadOnly`, `InvalidPath` and `Io` of the copy; as any
    /// reading verb.
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<Backup> {
        self.backup_with(path, |_, _| {}).await
    }

    /// As [`backup`](Self::backup), and `progress` is told now and then how many bytes of how many were copied. It runs on
    /// a thread that may block.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub async fn backup_with(
        &self,
        path: impl AsRef<Path>,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<Backup> {
        self.core.check_process()?;
        let (log, opener) = (Arc::clone(&self.core.readers().log), self.core.opener().clone());
        let (path, waiting) = (path.as_ref().to_owned(), backup::Waiting::default());
        let (gone, copy, mut progress) = (waiting.gone(), self.core.copying().begin()?, progress);
        let copied = off_runtime(move || {
            let is_over = || gone.load(Ordering::Relaxed) || copy.is_over();
            let copied = backup::run((&log, &opener), &path, &is_over, &mut progress);
            // Before what it was given to call: that may hold the last handle of the bus, whose end waits for the copy's.
            drop(copy);
            copied
        })
        .await;
        drop(waiting);
        copied
    }

    /// What tells this file from any copy of it, and from what it will be when it is restored from one: to be kept with positions
    /// that a program keeps itself, see [`Subscribe::of_incarnation`](crate::Subscribe::of_incarnation).
    ///
    /// # Errors
    /// As any reading verb.
    pub async fn incarnation(&self) -> Result<String> {
        let core = self.checked_core()?;
        off_runtime(move || core.readers().log.incarnation()).await
    }

    /// Appends events with the times at which they were published elsewhere, in Unix milliseconds: for a log that is moved to
    /// another file, and for nothing else. All of them land together or not at all; sequences are new.
    ///
    /// A time that is older than that of the event before it makes [`StartAt::Time`](crate::StartAt::Time) vague for both: it
    /// is found by bisection. An event with a `message_id` that was imported within the window of ids, or published here, counts
    /// as a duplicate if that event is still there and had the same id, time and subject; what is published later never
    /// counts as one of what was imported. `expect_last` is not looked at.
    ///
    /// An event that is older than the policy that governs it keeps is refused, since it would be removed at once: set another
    /// with [`set_retention`](Self::set_retention) first. What a policy limits in number may go as soon as it is pruned, which a bus
    /// opened with [`prune(false)`](crate::sqlite::SqliteBuilder::prune) leaves to others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// use rowbus::{Messenger, Publish, Retention, SqliteBus, Subject};
    ///
    /// let bus = SqliteBus::builder(&path).retention(">", Retention::new()).open().await?;
    /// bus.import_all(vec![(Publish::new("orders.created", "one pizza"), 1_700_000_000_123)]).await?;
    /// let last = bus.last(Subject::new("orders.created")?).await?.unwrap();
    /// assert_eq!(last.unix_millis(), 1_700_000_000_123);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Expired`; as [`send_all`](crate::Messenger::send_all).
    pub async fn import_all(&self, batch: Vec<(Publish, i64)>) -> Result<Vec<PubAck>> {
        let checked = batch.into_iter().map(|(publish, time)| Ok((self.check(publish)?, time)));
        let events = checked.collect::<Result<Vec<_>>>()?;
        let durability = self.core.options().durability;
        self.core.writer().run(import::ImportAll { events, durability }).await
    }
}
