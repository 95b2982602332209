//! Work that nobody has to wait for.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::defaults::{KEEP_REPLY, MAX_ATTEMPTS, MAX_KEY};
use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;
use crate::publish::Durability;
use crate::retry::Backoff;
use crate::subject::Subject;

/// A job to enqueue: a subject, a body and options.
///
/// ```
/// use std::time::Duration;
/// use rowbus::Job;
///
/// let welcome = Job::new("mail.send", "to: ada").delay(Duration::from_millis(1_500)).unique("welcome:42").priority(5);
/// assert!(welcome.into_parts().is_ok());
/// ```
#[derive(Clone)]
#[must_use = "a job is enqueued by passing this to `enqueue`"]
pub struct Job {
    parts: Result<JobParts>,
}

/// A checked [`Job`], as a backend takes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct JobParts {
    /// The subject, which a server's filter is to match.
    pub subject: Subject,
    /// The bytes.
    pub payload: Bytes,
    /// The headers.
    pub headers: Headers,
    /// Not before.
    pub run: RunAt,
    /// Not started after.
    pub expires: Option<RunAt>,
    /// Higher first.
    pub priority: i32,
    /// One at a time, in order, with others of this key.
    pub key: Option<Box<str>>,
    /// Not beside another of this key, for so long.
    pub unique: Option<(Box<str>, Unique)>,
    /// How often it is tried.
    pub max_attempts: u32,
    /// The time between two attempts.
    pub backoff: Backoff,
    /// How long its reply is kept.
    pub keep_reply: Duration,
    /// The durability asked for, if it is not the bus's own.
    pub durability: Option<Durability>,
}

/// A time, from now or on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunAt {
    /// So long after it was enqueued.
    In(Duration),
    /// Then.
    At(DateTime<Utc>),
}

/// How long a job's unique key stands in the way of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unique {
    /// Until it is done, dead or cancelled.
    WhilePending,
    /// For this time from when it was enqueued, whatever becomes of it.
    For(Duration),
    /// For ever.
    Forever,
}

const YEARS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Job {
    /// A job with this subject and body.
    pub fn new<S>(subject: S, payload: impl Into<Bytes>) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        let parts = subject.try_into().map_err(Error::from).map(|subject| JobParts {
            subject,
            payload: payload.into(),
            headers: Headers::new(),
            run: RunAt::In(Duration::ZERO),
            expires: None,
            priority: 0,
            key: None,
            unique: None,
            max_attempts: MAX_ATTEMPTS,
            backoff: Backoff::default(),
            keep_reply: KEEP_REPLY,
            durability: None,
        });
        Self { parts }
    }

    /// A job whose body is this value as JSON.
    #[cfg(feature = "json")]
    pub fn json<S>(subject: S, value: &impl serde::Serialize) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(subject, body),
            Err(error) => {
                let message = "the value cannot be written as JSON";
                Self { parts: Err(Error::with_source(ErrorKind::Json, message, error)) }
            }
        }
    }

    /// Adds a header; a name may have several values.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.and(|parts| parts.headers.append(name, value))
    }

    /// Replaces all headers.
    pub fn headers(self, headers: Headers) -> Self {
        self.and(|parts| {
            parts.headers = headers;
            Ok(())
        })
    }

    /// Not before this time has passed, to the millisecond.
    pub fn delay(self, delay: Duration) -> Self {
        self.and(|parts| {
            parts.run = RunAt::In(within(delay, "delay")?);
            Ok(())
        })
    }

    /// Not before this time by the wall clock.
    pub fn run_at(self, time: DateTime<Utc>) -> Self {
        self.and(|parts| {
            parts.run = RunAt::At(time);
            Ok(())
        })
    }

    /// Not started later than this from now; it becomes a dead letter in place of that.
    pub fn expires_in(self, time: Duration) -> Self {
        self.and(|parts| {
            parts.expires = Some(RunAt::In(within(time, "expires_in")?));
            Ok(())
        })
    }

    /// Not started later than this by the wall clock; it becomes a dead letter in place of that.
    pub fn expires_at(self, time: DateTime<Utc>) -> Self {
        self.and(|parts| {
            parts.expires = Some(RunAt::At(time));
            Ok(())
        })
    }

    /// Higher is taken first among those of the same subject; 0 unless set.
    pub fn priority(self, priority: i32) -> Self {
        self.and(|parts| {
            parts.priority = priority;
            Ok(())
        })
    }

    /// One at a time and in the order enqueued, with other jobs of the same subject and key. One that is tried again later
    /// holds up those behind it.
    pub fn key(self, key: impl Into<Box<str>>) -> Self {
        self.and(|parts| {
            parts.key = Some(checked_key(key.into(), "key")?);
            Ok(())
        })
    }

    /// Only if no job of the same subject and unique key is pending: else that one is the answer, as `duplicate`.
    pub fn unique(self, key: impl Into<Box<str>>) -> Self {
        self.unique_as(key, Unique::WhilePending)
    }

    /// As [`unique`](Self::unique), for as long as this says.
    pub fn unique_as(self, key: impl Into<Box<str>>, how_long: Unique) -> Self {
        self.and(|parts| {
            if let Unique::For(time) = how_long {
                within(time, "unique")?;
            }
            parts.unique = Some((checked_key(key.into(), "unique")?, how_long));
            Ok(())
        })
    }

    /// How often it is tried, 20 times unless set, before it becomes a dead letter.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.and(|parts| {
            if attempts == 0 {
                return Err(Error::new(ErrorKind::InvalidOption, "max_attempts is at least 1; got 0"));
            }
            parts.max_attempts = attempts;
            Ok(())
        })
    }

    /// The time between two attempts: 1 s, doubled up to 1 h, unless set.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.and(|parts| {
            parts.backoff = backoff;
            Ok(())
        })
    }

    /// How long its reply can be asked for when it is done, 1 h unless set.
    pub fn keep_reply(self, time: Duration) -> Self {
        self.and(|parts| {
            parts.keep_reply = within(time, "keep_reply")?;
            Ok(())
        })
    }

    /// Acknowledged when it survives a crash of the process, without waiting for the disk.
    pub fn relaxed(self) -> Self {
        self.durability(Durability::Relaxed)
    }

    /// Acknowledged at this level instead of the bus's own.
    pub fn durability(self, durability: Durability) -> Self {
        self.and(|parts| {
            parts.durability = Some(durability);
            Ok(())
        })
    }

    /// The checked parts, for a backend.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn into_parts(self) -> Result<JobParts> {
        self.parts
    }

    fn and(mut self, set: impl FnOnce(&mut JobParts) -> Result<()>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(error) = set(parts)
        {
            self.parts = Err(error);
        }
        self
    }
}

fn within(time: Duration, what: &str) -> Result<Duration> {
    if time <= YEARS {
        return Ok(time);
    }
    Err(Error::new(ErrorKind::InvalidOption, format!("{what} is at most 100 years; got {time:?}")))
}

fn checked_key(key: Box<str>, what: &str) -> Result<Box<str>> {
    if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
        let message =
            format!("a {what} is 1 to {MAX_KEY} bytes without control characters; got {} bytes", key.len());
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    Ok(key)
}

impl RunAt {
    /// The time in Unix milliseconds, if it is `now` now.
    pub fn unix_millis(self, now: i64) -> i64 {
        match self {
            Self::In(delay) => now.saturating_add(crate::retry::millis(delay)),
            Self::At(time) => time.timestamp_millis(),
        }
    }
}

impl JobParts {
    /// Refuses what is larger than `limit` bytes with its headers.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadTooLarge`].
    pub fn check_size(&self, limit: usize) -> Result<()> {
        crate::publish::check_size("job", &self.subject, &self.payload, &self.headers, limit)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            Ok(parts) => fmt::Debug::fmt(parts, f),
            Err(error) => f.debug_tuple("Job").field(error).finish(),
        }
    }
}

impl fmt::Debug for JobParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("subject", &self.subject)
            .field("payload_bytes", &self.payload.len())
            .field("headers", &self.headers)
            .field("run", &self.run)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_told_by_name() {
        let refused = |job: Job| {
            let error = job.into_parts().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            error.to_string()
        };
        assert!(refused(Job::new("a", "").max_attempts(0)).contains("max_attempts"));
        assert!(refused(Job::new("a", "").delay(Duration::MAX)).contains("delay"));
        assert!(refused(Job::new("a", "").unique("")).contains("unique"));
        assert!(refused(Job::new("a", "").key("x".repeat(256))).contains("key"));
    }

    #[test]
    fn times_are_counted_from_when_it_is_enqueued() {
        assert_eq!(RunAt::In(Duration::from_millis(5)).unix_millis(10), 15);
        assert_eq!(RunAt::At(DateTime::from_timestamp_millis(7).unwrap()).unix_millis(10), 7);
        assert_eq!(RunAt::In(YEARS).unix_millis(i64::MAX), i64::MAX);
    }
}
