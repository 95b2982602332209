//! A publish as a statement and its parameters, to run on any driver, inside any transaction.
//!
//! This is what other languages do by hand (`docs/sql.md`), checked: the grammar of the subject and the size are refused
//! here as the bus would. Readers find such rows by themselves: on Linux within 20 ms, elsewhere within a quarter of a
//! second when they were idle.
//!
//! ```
//! use rowbus::{Publish, sql};
//!
//! let statement = sql::publish(Publish::new("orders.created", "{}").header("Trace", "7f2c"), 1_700_000_000_000)?;
//! assert!(statement.sql.starts_with("INSERT INTO bus_events"));
//! assert_eq!(statement.params.len(), 5);
//! # Ok::<(), rowbus::Error>(())
//! ```

use crate::defaults::MAX_PAYLOAD;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::Publish;

/// Adds one event: subject, data, headers, created_at, message_id. The only statement that writes to the log.
pub const INSERT_EVENT: &str =
    "INSERT INTO bus_events (subject, data, headers, created_at, message_id) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Adds one job. The only statement that enqueues.
pub const INSERT_JOB: &str = "INSERT INTO bus_requests (id, subject, headers, priority, ready, run_at, expires_at, key, unique_key, unique_until,
    max_attempts, backoff, backoff_max, keep_for, created_at, data)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_single_statement_cannot_keep_is_refused() {
        for message in [Publish::new("a", "").message_id("1"), Publish::new("a", "").expect_last(0)] {
            assert_eq!(publish(message, 0).unwrap_err().kind(), ErrorKind::Unsupported);
        }
        let large = publish(Publish::new("a", vec![0; MAX_PAYLOAD + 1]), 0).unwrap_err();
        assert!(matches!(large.kind(), ErrorKind::PayloadTooLarge { .. }));
    }
}
