//! A job that was enqueued: its id, its handle, and how it fares.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::durable::Durable;
use crate::error::Result;
use crate::reply::{Replies, Reply};
use crate::subject::Subject;

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
    /// As [`DurableExt::reply`](crate::DurableExt::reply).
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
