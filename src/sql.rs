//! A publish or a job as a statement and its parameters, to run on any driver, inside any transaction.
//!
//! This is what other languages do by hand (`docs/sql.md`), checked: the grammar of the subject and the size are refused
//! here as the bus would. Readers and servers find such rows by themselves: on Linux within 20 ms, elsewhere within a
//! quarter of a second when they were idle.
//!
//! ```
//! use rowbus::{Job, Publish, sql};
//!
//! let statement = sql::publish(Publish::new("orders.created", "{}").header("Trace", "7f2c"), 1_700_000_000_000)?;
//! assert!(statement.sql.starts_with("INSERT INTO bus_events"));
//! assert_eq!(statement.params.len(), 5);
//!
//! let statement = sql::enqueue(Job::new("mail.send", "to: ada").priority(5), 1_700_000_000_000)?;
//! assert!(statement.sql.starts_with("INSERT INTO bus_requests"));
//! # Ok::<(), rowbus::Error>(())
//! ```

use crate::defaults::MAX_PAYLOAD;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::publish::Publish;
use crate::retry::millis;

/// Adds one event: subject, data, headers, created_at, message_id. The only statement that writes to the log.
pub const INSERT_EVENT: &str =
    "INSERT INTO bus_events (subject, data, headers, created_at, message_id) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Adds one job with an id of the caller's, a UUIDv7 in lower case. What the bus itself enqueues with, when it has looked
/// whether another job has the unique key or comes before it by its key.
pub const INSERT_JOB: &str = "INSERT INTO bus_requests (id, subject, headers, priority, ready, run_at, expires_at, key, unique_key, unique_until,
    max_attempts, backoff, backoff_max, keep_for, created_at, data)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// Adds one job that no other stands in the way of; the table's default gives it an id. What [`enqueue`] gives.
pub const INSERT_PLAIN_JOB: &str =
    "INSERT INTO bus_requests (subject, headers, priority, ready, run_at, expires_at, max_attempts, backoff, backoff_max,
    keep_for, created_at, data)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// A statement and what to bind to its numbered parameters, in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Statement {
    /// The text, with parameters `?1`, `?2`, …
    pub sql: &'static str,
    /// The values of the parameters.
    pub params: Vec<Value>,
}

/// A value to bind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

#[cfg(feature = "sqlite")]
impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef;
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

/// The statement that publishes this message, dated with this wall-clock time in Unix milliseconds.
///
/// # Errors
/// A mistake of [`Publish`]; [`ErrorKind::PayloadTooLarge`] above 1 MiB; [`ErrorKind::Unsupported`] for `message_id`
/// and `expect_last`, which need to look before they write: the bus itself does that.
pub fn publish(publish: Publish, unix_millis: i64) -> Result<Statement> {
    let parts = publish.into_parts()?;
    parts.check_size(MAX_PAYLOAD)?;
    if parts.message_id.is_some() || parts.expect_last.is_some() {
        let message =
            "message_id and expect_last take more than one statement: publish through the bus instead";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let params = vec![
        Value::Text(parts.subject.as_str().to_owned()),
        Value::Blob(parts.payload.to_vec()),
        parts.headers.encode().map_or(Value::Null, Value::Text),
        Value::Integer(unix_millis),
        Value::Null,
    ];
    Ok(Statement { sql: INSERT_EVENT, params })
}

/// The statement that enqueues this job, if it is this wall-clock time now, in Unix milliseconds.
///
/// The table gives the job its id. Who wants to ask for its reply later reads it back in the same transaction and on the same
/// connection: `SELECT id FROM bus_requests WHERE sequence = last_insert_rowid()`. The job is as durable as the commit that
/// it is part of; its own [`durability`](Job::durability) is not looked at.
///
/// ```
/// use std::time::Duration;
/// use rowbus::sql::{self, Value};
/// use rowbus::{ErrorKind, Job};
///
/// let later = Job::new("mail.send", "to: ada").delay(Duration::from_secs(60));
/// let statement = sql::enqueue(later, 1_700_000_000_000)?;
/// assert_eq!(statement.sql, sql::INSERT_PLAIN_JOB);
/// assert_eq!(statement.params[4], Value::Integer(1_700_000_060_000)); // run_at
///
/// let unique = sql::enqueue(Job::new("mail.send", "to: ada").unique("welcome:ada"), 0);
/// assert_eq!(unique.unwrap_err().kind(), ErrorKind::Unsupported);
/// # Ok::<(), rowbus::Error>(())
/// ```
///
/// # Errors
/// A mistake of [`Job`]; [`ErrorKind::PayloadTooLarge`] above 1 MiB; [`ErrorKind::Unsupported`] for `unique` and `key`, which
/// need to look before they write: the bus itself does that, and `rowbus::sqlite::enqueue_in` on a connection of rusqlite.
pub fn enqueue(job: Job, unix_millis: i64) -> Result<Statement> {
    let parts = job.into_parts()?;
    parts.check_size(MAX_PAYLOAD)?;
    if parts.unique.is_some() || parts.key.is_some() {
        let message = "unique and key take more than one statement: enqueue through the bus instead";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let integer = |value: Option<i64>| value.map_or(Value::Null, Value::Integer);
    let run_at = parts.run.unix_millis(unix_millis);
    let scheduled = (run_at > unix_millis).then_some(run_at);
    let ready = scheduled.is_none().then_some(1);
    let params = vec![
        Value::Text(parts.subject.as_str().to_owned()),
        parts.headers.encode().map_or(Value::Null, Value::Text),
        Value::Integer(parts.priority.into()),
        integer(ready),
        integer(scheduled),
        integer(parts.expires.map(|expires| expires.unix_millis(unix_millis))),
        Value::Integer(parts.max_attempts.into()),
        Value::Integer(parts.backoff.first_millis()),
        Value::Integer(parts.backoff.longest_millis()),
        Value::Integer(millis(parts.keep_reply)),
        Value::Integer(unix_millis),
        Value::Blob(parts.payload.to_vec()),
    ];
    Ok(Statement { sql: INSERT_PLAIN_JOB, params })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::retry::Backoff;

    #[test]
    fn what_a_single_statement_cannot_keep_is_refused() {
        for message in [Publish::new("a", "").message_id("1"), Publish::new("a", "").expect_last(0)] {
            assert_eq!(publish(message, 0).unwrap_err().kind(), ErrorKind::Unsupported);
        }
        let large = publish(Publish::new("a", vec![0; MAX_PAYLOAD + 1]), 0).unwrap_err();
        assert!(matches!(large.kind(), ErrorKind::PayloadTooLarge { .. }));
    }
    #[test]
    fn a_job_that_has_to_look_for_others_is_refused() {
        for job in [Job::new("a", "").unique("1"), Job::new("a", "").key("1")] {
            assert_eq!(enqueue(job, 0).unwrap_err().kind(), ErrorKind::Unsupported);
        }
        let large = enqueue(Job::new("a", vec![0; MAX_PAYLOAD + 1]), 0).unwrap_err();
        assert!(matches!(large.kind(), ErrorKind::PayloadTooLarge { .. }));
        assert_eq!(enqueue(Job::new("a..b", ""), 0).unwrap_err().kind(), ErrorKind::InvalidSubject);
    }

    #[test]
    fn a_job_has_each_of_its_options_in_its_column() {
        let minute = Duration::from_secs(60);
        let job = Job::new("mail.send", "body")
            .header("Trace", "7")
            .priority(-3)
            .expires_in(minute)
            .max_attempts(4)
            .backoff(Backoff::exponential(Duration::from_millis(20), Duration::from_millis(500)))
            .keep_reply(Duration::from_secs(2));
        let expected = [
            Value::Text("mail.send".to_owned()),
            Value::Text("Trace: 7\n".to_owned()),
            Value::Integer(-3),
            Value::Integer(1),
            Value::Null,
            Value::Integer(61_000),
            Value::Integer(4),
            Value::Integer(20),
            Value::Integer(500),
            Value::Integer(2_000),
            Value::Integer(1_000),
            Value::Blob(b"body".to_vec()),
        ];
        let statement = enqueue(job, 1_000).unwrap();
        assert_eq!(statement.params, expected);
        let columns = statement.sql.split_once('(').unwrap().1.split_once(')').unwrap().0;
        assert_eq!(columns.split(',').count(), expected.len());
        let last = format!("?{})", expected.len());
        assert!(statement.sql.ends_with(&last), "{}", statement.sql);
    }

    #[test]
    fn a_job_is_ready_or_scheduled_and_never_both() {
        let of = |job| enqueue(job, 1_000).unwrap().params[3..5].to_vec();
        let ready = [Value::Integer(1), Value::Null];
        assert_eq!(of(Job::new("a", "")), ready);
        let past = chrono::DateTime::from_timestamp_millis(999).unwrap();
        assert_eq!(of(Job::new("a", "").run_at(past)), ready);
        let scheduled = [Value::Null, Value::Integer(1_001)];
        assert_eq!(of(Job::new("a", "").delay(Duration::from_millis(1))), scheduled);
    }
}
