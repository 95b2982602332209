//! The bus on an SQLite file.
//!
//! From the bus to its loops (`writer`, `tail`, `checkpoint`), from them to the `tables` that hold the SQL, and from there to the
//! connection: arrows point one way.

mod archive;
mod archived_letters;
mod attach;
mod backup;
mod boot;
mod builder;
mod byte_lock;
mod checkpoint;
mod connection;
mod consume;
mod copies;
mod copying;
mod core;
mod deaths;
mod disk;
mod doctor;
mod durable;
mod failure;
mod fault;
mod filters;
#[cfg(feature = "nats")]
mod forwarding;
mod identity;
mod import;
mod in_transaction;
mod lineage;
mod links;
mod log;
mod migrator;
mod mortality;
mod mount;
mod open;
mod peers;
mod process;
mod prune;
mod publishing;
mod salvage;
mod schema;
mod sidecar;
mod stats;
mod stream;
mod tables;
mod tail;
mod transaction;
mod unfinished;
mod url;
mod version;
mod wake;
mod watcher;
mod work;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

pub use archive::{Archive, Events};
pub use archived_letters::DeadLetters;
pub use attach::Attachment;
pub use backup::Backup;
pub use builder::SqliteBuilder;
pub use doctor::{Depth, Diagnosis, Finding, Severity, diagnose};
pub use in_transaction::{enqueue_in, publish_in};
pub use migrator::{MigrationState, MigrationStatus, Migrator, SchemaStatus, migrate_in};
pub use peers::Peer;
pub use salvage::{Salvage, Salvaged, SalvagedTable};
pub use schema::{Migrate, Migration, migration_sql, migrations};
pub use stats::{
    Activity, BusStats, Checkpoints, Count, FileStats, Histogram, Inspector, RequestCounts, Stats,
    SubjectActivity, Wakes,
};
pub use transaction::Transaction;
pub use unfinished::Unfinished;

use crate::capabilities::Capabilities;
use crate::durable::Durable;
use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{Durability, PubAck, Publish, PublishParts};
use crate::reply::{Replies, Reply};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};
use builder::Options;
use core::Core;
#[cfg(feature = "nats")]
pub(crate) use lineage::Lineage;
use publishing::{PublishAll, PublishOne};
use stream::LogStream;

/// A bus on an SQLite file, shared with every other process that opens it. Cheap to clone: clones are handles of one bus.
///
/// The one-line verbs are in [`MessengerExt`](crate::MessengerExt), the contract in [`Messenger`]. Opening needs a tokio runtime, and so do
/// the calls; reads and flushes happen on threads of their own. Dropping the last handle is as good as
/// [`close`](Messenger::close), except that it blocks for as long as it takes.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// use rowbus::{Messenger, MessengerExt, Publish, SqliteBus};
///
/// let bus = SqliteBus::open(&path).await?;
/// let ack = bus.send(Publish::new("orders.created", "{}").message_id("order-17")).await?;
/// assert!(!ack.duplicate);
/// let again = bus.send(Publish::new("orders.created", "{}").message_id("order-17")).await?;
/// assert_eq!((again.duplicate, again.sequence), (true, ack.sequence));
/// # bus.close().await }
/// ```
#[derive(Clone)]
pub struct SqliteBus {
    core: Arc<Core>,
}

impl SqliteBus {
    /// Opens the bus in this file with the default options; creates the file and its tables where they are missing.
    ///
    /// # Errors
    /// As [`SqliteBuilder::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open().await
    }

    /// Options for a bus in this file.
    pub fn builder(path: impl AsRef<Path>) -> SqliteBuilder {
        SqliteBuilder::new(path.as_ref().to_owned())
    }

    pub(crate) async fn open_with(path: PathBuf, options: Options) -> Result<Self> {
        let core = off_runtime(move || Core::open(&path, options)).await?;
        Ok(Self { core })
    }

    /// The file, as its canonical path.
    pub fn path(&self) -> &Path {
        self.core.path()
    }

    /// Who has the file open, this bus and those of other processes, in the order in which they said so. One that has died,
    /// however it did, is missing at once. One that has only just opened the file shows up a moment later: it says so
    /// behind the opening, and again until the file is free to be written.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// let bus = rowbus::SqliteBus::builder(&path).name("tray").open().await?;
    /// for peer in bus.peers().await? {
    ///     println!("{} (process {})", peer.name, peer.pid);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Unsupported` on systems other than Linux, or where the sidecar cannot be used; as any reading verb.
    pub async fn peers(&self) -> Result<Vec<Peer>> {
        self.core.check_process()?;
        let core = Arc::clone(&self.core);
        off_runtime(move || core.peers()).await
    }

    /// For a call that goes on on another thread.
    pub(crate) fn checked_core(&self) -> Result<Arc<Core>> {
        self.core.check_process()?;
        Ok(Arc::clone(&self.core))
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn downgrade(&self) -> Weak<Core> {
        Arc::downgrade(&self.core)
    }

    fn check(&self, publish: Publish) -> Result<PublishParts> {
        let event = publish.into_parts()?;
        event.check_size(self.core.options().max_payload)?;
        Ok(event)
    }

    fn durability(&self, event: &PublishParts) -> Durability {
        event.durability.unwrap_or(self.core.options().durability)
    }
}

impl Messenger for SqliteBus {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        Box::pin(async move {
            let event = self.check(publish)?;
            let durability = self.durability(&event);
            self.core.writer().run(PublishOne { event, durability }).await
        })
    }

    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        Box::pin(async move {
            let events = batch.into_iter().map(|publish| self.check(publish)).collect::<Result<Vec<_>>>()?;
            let strongest = events.iter().map(|event| self.durability(event)).max();
            let durability = strongest.unwrap_or(Durability::Relaxed);
            self.core.writer().run(PublishAll { events, durability }).await
        })
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async move {
            let parts = subscribe.into_parts()?;
            self.core.check_process()?;
            let (readers, runtime) = (self.core.readers().clone(), tokio::runtime::Handle::current());
            off_runtime(move || LogStream::begin(readers, parts, runtime)).await.map(Subscription::new)
        })
    }

    fn last(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Message>>> {
        Box::pin(async move {
            self.core.check_process()?;
            let log = Arc::clone(&self.core.readers().log);
            off_runtime(move || log.last(&subject)).await
        })
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            self.core.check_process()?;
            self.core.work().call(request.into_parts()?, false).await?.last().await
        })
    }

    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async move {
            self.core.check_process()?;
            self.core.work().call(request.into_parts()?, true).await
        })
    }

    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>> {
        Box::pin(async move {
            self.core.check_process()?;
            self.core.work().serve(serve.into_parts()?, handler).await
        })
    }

    fn as_durable(&self) -> Result<Arc<dyn Durable>> {
        Ok(Arc::new(self.clone()))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.core.check_process()?;
            self.core.consumers().close();
            self.core.work().close().await;
            let core = Arc::clone(&self.core);
            off_runtime(move || {
                core.stop();
                Ok(())
            })
            .await
        })
    }

    fn capabilities(&self) -> Capabilities {
        let mut has = Capabilities::none();
        (has.durable, has.replay, has.total_order, has.lossless) = (true, true, true, true);
        (has.atomic_batches, has.deduplication, has.expect_last) = (true, true, true);
        (has.waits_for_servers, has.logged, has.shared_queue, has.takes_over) = (true, true, true, true);
        (has.jobs, has.consumers, has.releases) = (true, true, true);
        (has.duplicates_before_expectations, has.duplicates_in_batches) = (true, true);
        (has.cumulative_consumers, has.backing_off_apart, has.failure_history) = (true, true, true);
        (has.requeue, has.job_info, has.job_cancellation, has.job_pauses) = (true, true, true, true);
        (has.job_priorities, has.job_keys, has.job_uniqueness, has.job_expiry) = (true, true, true, true);
        (has.free_releases, has.fair_subjects, has.dead_letters_in_one_step) = (true, true, true);
        has
    }
}

impl fmt::Debug for SqliteBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBus").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// Runs what blocks on a thread that may.
async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_) => Err(Error::closed()),
    }
}
