//! What outlives the process that asked for it: jobs, and what was given up on.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::filter::Filter;
use crate::future::BoxFuture;
use crate::headers::Headers;
use crate::job::Job;
use crate::messenger::Messenger;
use crate::reply::{Replies, Reply};
use crate::subject::Subject;

/// A bus that keeps jobs: what [`Messenger::as_durable`] gives where there is one.
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
    /// expiry that has passed and a unique key that another job may have by now are not in the way.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if one is asked for by its id and is not there.
    fn requeue(&self, which: Dead) -> BoxFuture<'_, Result<u64>>;

    /// Removes dead letters for good; how many.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if one is asked for by its id and is not there.
    fn purge(&self, which: Dead) -> BoxFuture<'_, Result<u64>>;
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

/// The id of a job: what another process needs to ask for its reply.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Arc<str>);

impl JobId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for JobId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A job that was enqueued. Dropping it changes nothing.
#[derive(Clone)]
pub struct JobHandle {
    id: JobId,
    duplicate: bool,
    bus: Arc<dyn Durable>,
}

impl JobHandle {
    /// A handle as a backend makes it.
    pub fn new(id: JobId, duplicate: bool, bus: Arc<dyn Durable>) -> Self {
        Self { id, duplicate, bus }
    }

    /// Its id, by which any process can ask for it.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Whether it had been enqueued before, under the same unique key: nothing was added.
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }

    /// Waits for its final reply.
    ///
    /// # Errors
    /// As [`DurableExt::reply`].
    pub async fn reply(&self) -> Result<Reply> {
        self.replies().await?.last().await
    }

    /// Its progress, part by part, and then its final reply.
    ///
    /// # Errors
    /// As [`Durable::replies`].
    pub async fn replies(&self) -> Result<Replies> {
        self.bus.replies(self.id.clone()).await
    }

    /// How it fares.
    ///
    /// # Errors
    /// As [`Durable::job`].
    pub async fn info(&self) -> Result<JobInfo> {
        self.bus.job(self.id.clone()).await
    }

    /// Cancels it.
    ///
    /// # Errors
    /// As [`Durable::cancel`].
    pub async fn cancel(&self) -> Result<bool> {
        self.bus.cancel(self.id.clone()).await
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("id", &self.id)
            .field("duplicate", &self.duplicate)
            .finish_non_exhaustive()
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// Not before its time.
    Scheduled,
    /// Behind an unfinished job of the same key.
    Waiting,
    /// To be taken by a server.
    Ready,
    /// A server has it.
    Leased,
    /// It was done.
    Done,
    /// It was given up on, and is a dead letter.
    Dead,
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// The word for it, as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it is over.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a job fares.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobInfo {
    /// Its id.
    pub id: JobId,
    /// Its subject.
    pub subject: Subject,
    /// Where it is.
    pub state: JobState,
    /// How often it was started.
    pub attempt: u32,
    /// How often it may be.
    pub max_attempts: u32,
    /// Its priority.
    pub priority: i32,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it will be started, if it is scheduled.
    pub run_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Whether it was asked to end while it runs.
    pub cancel_requested: bool,
    /// The attempts that failed.
    pub failures: Vec<Failure>,
}

impl JobInfo {
    /// What a backend knows of every job; the rest is set on it.
    pub fn new(id: JobId, subject: Subject, state: JobState, created_at: DateTime<Utc>) -> Self {
        Self {
            id,
            subject,
            state,
            attempt: 0,
            max_attempts: 0,
            priority: 0,
            created_at,
            run_at: None,
            finished_at: None,
            cancel_requested: false,
            failures: Vec::new(),
        }
    }
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: DateTime<Utc>,
    /// What its handler said, in one line.
    pub message: String,
}

impl Failure {
    /// A failure as a backend recorded it.
    pub fn new(attempt: u32, at: DateTime<Utc>, message: impl Into<String>) -> Self {
        Self { attempt, at, message: message.into() }
    }
}

/// Which dead letters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Dead {
    /// The one with this id.
    Letter(u64),
    /// Those whose subjects this filter matches.
    Of(Filter),
}

/// What was given up on: a whole copy, which stays until it is requeued or purged.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its id among the dead letters: from 1, rising.
    pub id: u64,
    /// The job it was.
    pub job: JobId,
    /// Its subject.
    pub subject: Subject,
    /// Its bytes.
    pub payload: Bytes,
    /// Its headers.
    pub headers: Headers,
    /// Why it was given up on: `failed`, `exhausted`, `expired` or what was wrong with its row.
    pub reason: String,
    /// How often it was started.
    pub attempts: u32,
    /// The attempts that failed.
    pub failures: Vec<Failure>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it was given up on.
    pub died_at: DateTime<Utc>,
}

impl DeadLetter {
    /// A dead letter with these words; the rest is set on it.
    pub fn new(id: u64, job: JobId, subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            id,
            job,
            subject,
            payload: Bytes::new(),
            headers: Headers::new(),
            reason: reason.into(),
            attempts: 0,
            failures: Vec::new(),
            created_at: DateTime::default(),
            died_at: DateTime::default(),
        }
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id)
            .field("job", &self.job)
            .field("subject", &self.subject)
            .field("payload_bytes", &self.payload.len())
            .field("reason", &self.reason)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
