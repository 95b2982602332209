//! What was given up on.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::filter::Filter;
use crate::headers::Headers;
use crate::job_handle::{Failure, JobId};
use crate::subject::Subject;

/// Which dead letters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Dead {
    /// The one with this id.
    Letter(u64),
    /// Those whose subjects this filter matches.
    Of(Filter),
}

/// What a dead letter was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadSource {
    /// A job.
    Job(JobId),
    /// An event that a consumer gave up on.
    #[non_exhaustive]
    Event {
        /// The consumer's name.
        consumer: String,
        /// The event's place in the log, which may hold it no longer.
        sequence: u64,
    },
}

impl DeadSource {
    /// An event that this consumer gave up on, as a backend says it.
    pub fn event(consumer: impl Into<String>, sequence: u64) -> Self {
        Self::Event { consumer: consumer.into(), sequence }
    }
}

/// What was given up on: a whole copy, which stays until it is requeued or purged.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its id among the dead letters: from 1, rising.
    pub id: u64,
    /// What it was.
    pub source: DeadSource,
    /// Its subject.
    pub subject: Subject,
    /// Its bytes.
    pub payload: Bytes,
    /// Its headers.
    pub headers: Headers,
    /// Why it was given up on: `failed`, `exhausted`, `expired`, `salvaged` (from a damaged file, in which it may have been done
    /// already), what was wrong with its row, or what was said of an event that was [terminated](crate::Delivery::term).
    pub reason: String,
    /// How often it was started, or delivered.
    pub attempts: u32,
    /// The attempts that failed.
    pub failures: Vec<Failure>,
    /// When it was enqueued, or published.
    pub created_at: DateTime<Utc>,
    /// When it was given up on.
    pub died_at: DateTime<Utc>,
}

impl DeadLetter {
    /// A dead letter with these words; the rest is set on it.
    pub fn new(id: u64, source: DeadSource, subject: Subject, reason: impl Into<String>) -> Self {
        Self {
            id,
            source,
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

    /// The job that it was, if it was one.
    pub fn job(&self) -> Option<&JobId> {
        match &self.source {
            DeadSource::Job(id) => Some(id),
            DeadSource::Event { .. } => None,
        }
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("subject", &self.subject)
            .field("payload_bytes", &self.payload.len())
            .field("reason", &self.reason)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
