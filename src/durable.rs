//! What outlives the process that asked for it: jobs, consumers, and what was given up on.

use crate::consumer::Consumer;
use crate::consumer_info::ConsumerInfo;
use crate::dead_letter::{Dead, DeadLetter};
use crate::error::Result;
use crate::future::BoxFuture;
use crate::inbox::Inbox;
use crate::job::Job;
use crate::job_handle::{JobHandle, JobId, JobInfo};
use crate::messenger::Messenger;
use crate::reply::{Replies, Reply};
use crate::subject::Subject;
use crate::subscribe::StartAt;

/// A bus that keeps jobs and consumers: what [`Messenger::as_durable`] gives where there is one.
///
/// The one-line verbs are in [`DurableExt`].
pub trait Durable: Messenger {
    /// Enqueues all of them, in this order, or none. One whose unique key is taken is none the less a success: its handle
    /// is that of the job that has it, and a `duplicate`.
    ///
    /// # Errors
    /// Every mistake of [`Job`], [`PayloadTooLarge`](crate::ErrorKind::PayloadTooLarge), and what the backend meets.
    fn submit(&self, jobs: Vec<Job>) -> BoxFuture<'_, Result<Vec<JobHandle>>>;

    /// How a job fares.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if it never was, or its reply is no longer kept.
    fn job(&self, id: JobId) -> BoxFuture<'_, Result<JobInfo>>;

    /// The replies to a job, from its first part on: whoever asks, in whichever process, now or later.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    fn replies(&self, id: JobId) -> BoxFuture<'_, Result<Replies>>;

    /// Cancels a job. One that waits is cancelled at once; the handler of one that runs is told, and what it returns decides:
    /// done if it answers none the less, cancelled if not. `false` if it had ended before.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<bool>>;

    /// Holds back what waits on this subject: requests and jobs are taken, and nobody starts them before it is resumed. What
    /// runs goes on. All processes are held back, and a restart changes nothing.
    ///
    /// # Errors
    /// What the backend meets.
    fn pause(&self, subject: Subject) -> BoxFuture<'_, Result<()>>;

    /// Ends a pause.
    ///
    /// # Errors
    /// What the backend meets.
    fn resume(&self, subject: Subject) -> BoxFuture<'_, Result<()>>;

    /// Dead letters in the order in which they died, behind the id `after`, at most `limit`.
    ///
    /// # Errors
    /// What the backend meets.
    fn dead_letters(&self, which: Dead, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>>;

    /// Makes jobs of dead letters again, with their ids, priorities, keys and backoffs and all attempts before them; how many. An
    /// expiry that has passed and a unique key that another job may have by now are not in the way. Events are delivered anew to
    /// the explicit consumer that gave them up, if the log still has them; else their letters stay.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if one is asked for by its id and is not there, or its event or consumer is no
    /// more; [`Unsupported`](crate::ErrorKind::Unsupported) for one of a cumulative consumer, which has gone on behind it.
    fn requeue(&self, which: Dead) -> BoxFuture<'_, Result<u64>>;

    /// Removes dead letters for good; how many.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if one is asked for by its id and is not there.
    fn purge(&self, which: Dead) -> BoxFuture<'_, Result<u64>>;

    /// Opens a consumer as one of its members, and makes it if there is none of this name; see [`Consumer`] for its options.
    /// A consumer that had stopped goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// use rowbus::{Consumer, Durable, InMemBus, MessengerExt};
    ///
    /// let bus = InMemBus::new();
    /// bus.publish("orders.created", "one pizza").await?;
    /// let mut inbox = bus.consumer(Consumer::durable("indexer").filter("orders.>")).await?;
    /// let delivery = inbox.next().await.expect("the bus is open")?;
    /// assert_eq!((delivery.text(), delivery.attempt()), (Some("one pizza"), 1));
    /// delivery.ack().await?;
    /// assert_eq!(bus.consumer_info("indexer").await?.ack_floor, 1);
    /// # inbox.leave().await }
    /// ```
    ///
    /// # Errors
    /// A mistake of [`Consumer`]; [`ConsumerMismatch`](crate::ErrorKind::ConsumerMismatch) for a setting that an existing one cannot
    /// change; [`CursorAhead`](crate::ErrorKind::CursorAhead) for a start beyond the end of the log. Where an existing one's
    /// position lies beyond the end, that is the first item.
    fn consumer(&self, consumer: Consumer) -> BoxFuture<'_, Result<Inbox>>;

    /// How a consumer fares.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    fn consumer_info<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ConsumerInfo>>;

    /// How all consumers fare, by name.
    ///
    /// # Errors
    /// What the backend meets.
    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>>>;

    /// Moves a consumer's position, forward or back. What its members hold is theirs no more, and what waits to come again is
    /// forgotten; a consumer that had stopped goes on.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`CursorAhead`](crate::ErrorKind::CursorAhead) for a place beyond the end of the log.
    fn seek_consumer<'a>(&'a self, name: &'a str, to: StartAt) -> BoxFuture<'a, Result<()>>;

    /// Has nothing more delivered, to any member, until it is resumed. What was delivered can be acknowledged. A restart changes
    /// nothing.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    fn pause_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Ends a pause, and has a consumer that had stopped try its event again, with all attempts before it.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    fn resume_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Removes a consumer with its position. Inboxes that have it open end with [`NotFound`](crate::ErrorKind::NotFound). Its
    /// dead letters stay.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    fn delete_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// The common case of each verb of [`Durable`] as one line; every durable bus has it, `dyn Durable` too.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// use rowbus::{Call, DurableExt, InMemBus, Job, MessengerExt};
///
/// let bus = InMemBus::new();
/// let service = bus.serve("mail.send", |call: Call| async move { Ok(format!("sent {}", call.text().unwrap_or("?"))) }).await?;
/// let job = bus.enqueue(Job::new("mail.send", "a letter").unique("letter:1")).await?;
/// assert_eq!(job.reply().await?.text(), Some("sent a letter"));
/// # service.stop().await }
/// ```
pub trait DurableExt: Durable {
    /// Enqueues one job.
    ///
    /// # Errors
    /// As [`Durable::submit`].
    fn enqueue(&self, job: Job) -> impl Future<Output = Result<JobHandle>> + Send {
        let submitted = self.submit(vec![job]);
        async move { submitted.await?.pop().ok_or_else(crate::Error::closed) }
    }

    /// Enqueues all of them, in this order, or none.
    ///
    /// # Errors
    /// As [`Durable::submit`].
    fn enqueue_all(
        &self,
        jobs: impl IntoIterator<Item = Job>,
    ) -> impl Future<Output = Result<Vec<JobHandle>>> + Send {
        self.submit(jobs.into_iter().collect())
    }

    /// The final reply to a job; waits for it.
    ///
    /// # Errors
    /// [`Handler`](crate::ErrorKind::Handler) with its last error if it became a dead letter, [`Cancelled`](crate::ErrorKind::Cancelled) if it was
    /// cancelled; [`NotFound`](crate::ErrorKind::NotFound).
    fn reply(&self, id: JobId) -> impl Future<Output = Result<Reply>> + Send {
        let replies = self.replies(id);
        async move { replies.await?.last().await }
    }
}

impl<D: Durable + ?Sized> DurableExt for D {}
