//! The backend in memory: one process, no disk, the same contract.

mod broker;
mod builder;
mod callers;
mod consumers;
mod dedup;
mod desk;
mod durable;
mod log;
mod reader;
mod requests;
mod shared;
#[cfg(test)]
mod tests;
mod timer;
mod url;

use std::fmt;
use std::sync::Arc;

use self::broker::Broker;
pub use self::builder::InMemBuilder;
use self::shared::Shared;
use crate::capabilities::Capabilities;
use crate::durable::Durable;
use crate::error::Result;
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};

/// A bus in memory: what the unit tests of an app use in place of a file.
///
/// A clone is another handle of the same bus; the last one that is dropped closes it. All subscribers see one
/// total order, sequences begin at 1, and the newest events are kept for replay: 65,536 of them or 64 MiB,
/// unless [configured](InMemBuilder).
///
/// It keeps the whole contract of [`Messenger`] and of [`Durable`], and differs from SQLite in what its [`Capabilities`] say:
/// nothing outlives the process, and a stream whose reader is too slow for its buffer gets an
/// [`Overflow`](crate::ErrorKind::Overflow) item, where SQLite lets it catch up. Jobs and consumers end with it, and parts of
/// replies are kept in memory until their caller reads them. A consumer reads straight from the log, so nothing overflows: it gets
/// a [`Gap`](crate::ErrorKind::Gap) item where the log has forgotten what it had not delivered. Requests, services and consumers
/// need a tokio runtime with its timer.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// use rowbus::{InMemBus, Messenger, MessengerExt, StartAt, Subscribe};
///
/// let bus = InMemBus::new();
/// bus.publish("orders.created", "one pizza").await?;
///
/// let mut orders = bus.clone().subscribe(Subscribe::to("orders.>").from(StartAt::Oldest)).await?;
/// bus.publish("orders.paid", "cash").await?;
/// assert_eq!(orders.next().await.unwrap()?.text(), Some("one pizza"));
/// assert_eq!(orders.next().await.unwrap()?.text(), Some("cash"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct InMemBus {
    handles: Arc<Handles>,
}

/// Streams and services hold what is inside, handles hold this: without a handle nobody can publish or call any more.
struct Handles {
    shared: Arc<Shared>,
    broker: Arc<Broker>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        // Members of consumers read the log as long as the broker lets them.
        self.broker.close();
        self.shared.close();
    }
}

impl InMemBus {
    /// A new, empty bus with the default options.
    pub fn new() -> Self {
        Self::builder().build_unchecked()
    }

    /// Options for a new bus.
    pub fn builder() -> InMemBuilder {
        InMemBuilder::default()
    }

    /// What tells this log from any other, for who keeps positions; see [`Subscribe::of_incarnation`](crate::Subscribe::of_incarnation).
    pub fn incarnation(&self) -> String {
        self.handles.shared.incarnation().to_owned()
    }

    /// Takes every event up to this sequence out of the log, as retention does on other backends: to test
    /// what a program does with a [`Gap`](crate::ErrorKind::Gap). Streams that have begun are not concerned, and consumers with what
    /// was not delivered to them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// use rowbus::{ErrorKind, InMemBus, Messenger, MessengerExt, StartAt, Subscribe};
    ///
    /// let bus = InMemBus::new();
    /// let gone = bus.publish("orders.created", "one pizza").await?;
    /// bus.forget_through(gone.sequence);
    ///
    /// let mut orders = bus.subscribe(Subscribe::to("orders.>").from(StartAt::Sequence(1))).await?;
    /// let gap = orders.next().await.unwrap().unwrap_err();
    /// assert!(matches!(gap.kind(), ErrorKind::Gap { first: 1, last: 1, .. }));
    /// # Ok(()) }
    /// ```
    pub fn forget_through(&self, sequence: u64) {
        self.handles.shared.forget_through(sequence);
    }

    /// Looks at the clock again, and does what has become due by it: for tests that
    /// [set the clock](InMemBuilder::clock) themselves.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicI64, Ordering};
    /// use std::time::Duration;
    ///
    /// use rowbus::{Call, Clock, DurableExt, InMemBus, Job, JobState, MessengerExt};
    ///
    /// #[derive(Debug, Default)]
    /// struct ByHand(AtomicI64);
    /// impl Clock for ByHand {
    ///     fn unix_millis(&self) -> i64 {
    ///         self.0.load(Ordering::SeqCst)
    ///     }
    /// }
    ///
    /// let clock = Arc::new(ByHand::default());
    /// let bus = InMemBus::builder().clock(clock.clone()).build()?;
    /// let service = bus.serve("remind", |_: Call| async { Ok("done") }).await?;
    /// let job = bus.enqueue(Job::new("remind", "").delay(Duration::from_secs(3600))).await?;
    /// assert_eq!(job.info().await?.state, JobState::Scheduled);
    ///
    /// clock.0.store(3_600_000, Ordering::SeqCst);
    /// bus.nudge();
    /// assert_eq!(job.reply().await?.text(), Some("done"));
    /// # service.stop().await }
    /// ```
    pub fn nudge(&self) {
        self.handles.broker.nudge();
    }

    fn over(shared: Shared, broker: Broker) -> Self {
        Self { handles: Arc::new(Handles { shared: Arc::new(shared), broker: Arc::new(broker) }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handles.shared
    }

    fn broker(&self) -> &Arc<Broker> {
        &self.handles.broker
    }
}

impl Default for InMemBus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemBus").finish_non_exhaustive()
    }
}

/// Each future that waits for no handler is done at its first poll; dropped before, it has done nothing.
impl Messenger for InMemBus {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        Box::pin(async {
            let parts = publish.into_parts()?;
            let subject = parts.subject.clone();
            let ack = self.shared().send(parts)?;
            self.broker().published(std::iter::once(&subject));
            Ok(ack)
        })
    }

    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        Box::pin(async {
            let batch = batch.into_iter().map(Publish::into_parts).collect::<Result<Vec<_>>>()?;
            let subjects: Vec<_> = batch.iter().map(|parts| parts.subject.clone()).collect();
            let acks = self.shared().send_all(batch)?;
            self.broker().published(subjects.iter());
            Ok(acks)
        })
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async { Ok(Subscription::new(self.shared().subscribe(subscribe.into_parts()?)?)) })
    }

    fn last(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Message>>> {
        Box::pin(async move { self.shared().last(&subject) })
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async { Replies::new(self.broker().open(request.into_parts()?, false)?).last().await })
    }

    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async { Ok(Replies::new(self.broker().open(request.into_parts()?, true)?)) })
    }

    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>> {
        Box::pin(async move { self.broker().serve(serve.into_parts()?, &handler) })
    }

    fn as_durable(&self) -> Result<Arc<dyn Durable>> {
        Ok(Arc::new(self.clone()))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.shared().end_streams();
            self.broker().drain().await;
            self.broker().close();
            self.shared().close();
            Ok(())
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            replay: true,
            total_order: true,
            lossless: false,
            atomic_batches: true,
            deduplication: true,
            expect_last: true,
            waits_for_servers: true,
            logged: true,
            shared_queue: true,
            takes_over: true,
            jobs: true,
            consumers: true,
            duplicates_before_expectations: true,
            duplicates_in_batches: true,
            cumulative_consumers: true,
            backing_off_apart: true,
            failure_history: true,
            dead_letters_in_one_step: true,
            requeue: true,
            job_info: true,
            job_cancellation: true,
            job_priorities: true,
            job_keys: true,
            job_uniqueness: true,
            job_expiry: true,
            job_pauses: true,
            free_releases: true,
            fair_subjects: true,
            releases: true,
        }
    }
}
