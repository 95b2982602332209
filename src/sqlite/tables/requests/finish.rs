//! Ending: every way out of a lease, and out of the queue.

use rusqlite::{Connection, OptionalExtension};

use crate::reply::Response;
use crate::sqlite::tables::requests::value;

/// How a request ended without an answer, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A job that was given up on.
    Dead,
    /// A job that was cancelled.
    Cancelled,
    /// A request whose handler failed.
    Failed,
    /// A request whose server died.
    Lost,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

// All by the primary key. The attempt is the fencing token: one that is over finds no row.
const ANSWER_REQUEST: &str =
    "UPDATE bus_requests SET lease_until = NULL, finished_at = ?3, outcome = 'done', reply = ?4,
        reply_headers = ?5
    WHERE sequence = ?1 AND attempt = ?2 AND lease_until IS NOT NULL AND cancelled_at IS NULL";
const FAIL_REQUEST: &str =
    "UPDATE bus_requests SET lease_until = NULL, finished_at = ?3, outcome = ?4, error = ?5,
        code = ?6, reply = ?7
    WHERE sequence = ?1 AND attempt = ?2 AND lease_until IS NOT NULL AND cancelled_at IS NULL";
const DROP_CANCELLED: &str = "DELETE FROM bus_requests
    WHERE sequence = ?1 AND attempt = ?2 AND kind = 'request' AND cancelled_at IS NOT NULL AND lease_until IS NOT NULL";
const ANSWER_JOB: &str = "UPDATE bus_requests SET lease_until = NULL, finished_at = ?3, outcome = 'done',
        keep_until = max(min(?3, 9223372036854775807 - keep_for) + keep_for, ifnull(unique_until, 0)), reply = ?4, reply_headers = ?5
    WHERE sequence = ?1 AND attempt = ?2 AND lease_until IS NOT NULL";
const HELD_JOB: &str = "SELECT subject, released, max_attempts, backoff, backoff_max, cancelled_at IS NOT NULL, kind = 'request', redeliver
    FROM bus_requests WHERE sequence = ?1 AND attempt = ?2 AND lease_until IS NOT NULL";
const RETRY: &str =
    "UPDATE bus_requests SET lease_until = NULL, ready = ?2, run_at = ?3, error = ?4, code = ?5,
        errors = ifnull(errors, '') || ?6
    WHERE sequence = ?1";
const END: &str =
    "UPDATE bus_requests SET ready = NULL, run_at = NULL, lease_until = NULL, finished_at = ?2, outcome = ?3,
        keep_until = max(min(?2, 9223372036854775807 - keep_for) + keep_for, ifnull(unique_until, 0)),
        error = ifnull(?4, error), code = ?5, reply = ?6, errors = nullif(ifnull(errors, '') || ?7, '')
    WHERE sequence = ?1";
const RELEASE: &str = "UPDATE bus_requests SET lease_until = NULL, ready = 1, released = released + 1
    WHERE sequence = ?1 AND attempt = ?2 AND lease_until IS NOT NULL AND cancelled_at IS NULL AND redeliver != 0";
const REMOVE: &str = "DELETE FROM bus_requests WHERE sequence = ?1";
const FREE_UNIQUE: &str =
    "UPDATE bus_requests SET unique_key = NULL WHERE sequence = ?1 AND unique_until IS NULL";
// By the primary key, and then by bus_requests_by_key.
const PROMOTE: &str = "UPDATE bus_requests SET ready = 1
    WHERE sequence = (SELECT min(next.sequence) FROM bus_requests ended JOIN bus_requests next
        ON next.subject = ended.subject AND next.key = ended.key AND next.key IS NOT NULL AND next.finished_at IS NULL
        WHERE ended.sequence = ?1)
    AND ready IS NULL AND lease_until IS NULL AND run_at IS NULL";

#[cfg(test)]
pub(super) const PLANS: &[super::Plan] = &[
    (ANSWER_REQUEST, 5, super::BY_KEY),
    (FAIL_REQUEST, 7, super::BY_KEY),
    (DROP_CANCELLED, 2, super::BY_KEY),
    (ANSWER_JOB, 5, super::BY_KEY),
    (HELD_JOB, 2, super::BY_KEY),
    (RETRY, 6, super::BY_KEY),
    (END, 7, super::BY_KEY),
    (RELEASE, 2, super::BY_KEY),
    (REMOVE, 1, super::BY_KEY),
    (FREE_UNIQUE, 1, super::BY_KEY),
    (PROMOTE, 1, "bus_requests_by_key"),
];

/// Keeps the body of an answer out of the file where there is none.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

/// A request is answered; 0 if the lease has ended or the caller has gone.
pub(crate) fn answer_request(
    conn: &Connection,
    (sequence, attempt): (i64, i64),
    response: &Response,
    now: i64,
) -> rusqlite::Result<usize> {
    let (payload, headers) = (body(response.payload()), response.headers().encode());
    conn.prepare_cached(ANSWER_REQUEST)?.execute((sequence, attempt, now, payload, headers))
}

/// What a handler said when it failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) message: &'a str,
    pub(crate) code: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// A request ends without an answer; 0 if the lease has ended or the caller has gone.
pub(crate) fn fail_request(
    conn: &Connection,
    (sequence, attempt): (i64, i64),
    outcome: Outcome,
    said: Said<'_>,
    now: i64,
) -> rusqlite::Result<usize> {
    let Said { message, code, body: bytes } = said;
    let params = (sequence, attempt, now, outcome.as_str(), message, code, body(bytes));
    conn.prepare_cached(FAIL_REQUEST)?.execute(params)
}

/// Removes a request whose caller has gone, when its server is done with it; 0 if the lease has ended.
pub(crate) fn drop_cancelled(conn: &Connection, (sequence, attempt): (i64, i64)) -> rusqlite::Result<usize> {
    conn.prepare_cached(DROP_CANCELLED)?.execute((sequence, attempt))
}

/// A job is done; 0 if the lease has ended.
pub(crate) fn answer_job(
    conn: &Connection,
    (sequence, attempt): (i64, i64),
    response: &Response,
    now: i64,
) -> rusqlite::Result<usize> {
    let (payload, headers) = (body(response.payload()), response.headers().encode());
    conn.prepare_cached(ANSWER_JOB)?.execute((sequence, attempt, now, payload, headers))
}

/// What decides the fate of an attempt that failed.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) subject: String,
    pub(crate) released: i64,
    pub(crate) max_attempts: i64,
    pub(crate) backoff: i64,
    pub(crate) backoff_max: i64,
    pub(crate) is_cancelled: bool,
    pub(crate) is_request: bool,
    pub(crate) redeliver: bool,
}

/// The row, if this attempt holds it.
pub(crate) fn held(conn: &Connection, (sequence, attempt): (i64, i64)) -> rusqlite::Result<Option<Held>> {
    let row = |row: &rusqlite::Row<'_>| {
        // A hand may have written anything into them.
        let number = |at| row.get_ref(at).map(|found| value::number(found).unwrap_or(0));
        Ok(Held {
            subject: value::text(row.get_ref(0)?),
            released: number(1)?,
            max_attempts: number(2)?,
            backoff: number(3)?,
            backoff_max: number(4)?,
            is_cancelled: row.get(5)?,
            is_request: row.get(6)?,
            redeliver: number(7)? != 0,
        })
    };
    conn.prepare_cached(HELD_JOB)?.query_row((sequence, attempt), row).optional()
}

/// It is to be tried again: then, or at once.
pub(crate) fn retry(
    conn: &Connection,
    sequence: i64,
    run_at: Option<i64>,
    message: &str,
    code: Option<&str>,
    line: &str,
) -> rusqlite::Result<usize> {
    let ready = run_at.is_none().then_some(1);
    conn.prepare_cached(RETRY)?.execute((sequence, ready, run_at, message, code, line))
}

/// It is over, from whatever state. `line` is added to its errors.
pub(crate) fn end(
    conn: &Connection,
    sequence: i64,
    outcome: Outcome,
    said: Option<Said<'_>>,
    line: &str,
    now: i64,
) -> rusqlite::Result<usize> {
    let message = said.map(|said| said.message);
    let (code, bytes) = (said.and_then(|said| said.code), said.and_then(|said| body(said.body)));
    conn.prepare_cached(END)?.execute((sequence, now, outcome.as_str(), message, code, bytes, line))
}

/// It is given back unfinished; 0 if the lease has ended, it was cancelled or is to be given to no other.
pub(crate) fn release(conn: &Connection, (sequence, attempt): (i64, i64)) -> rusqlite::Result<usize> {
    conn.prepare_cached(RELEASE)?.execute((sequence, attempt))
}

/// It is gone.
pub(crate) fn remove(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE)?.execute([sequence])
}

/// It stands in the way of no other any more, if it did only while it was pending.
pub(crate) fn free_unique(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(FREE_UNIQUE)?.execute([sequence])
}

/// The next of its key, if it has one, may be taken, unless it is already or has its time to wait for; how many rows
/// that changed.
pub(crate) fn promote_next(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(PROMOTE)?.execute([sequence])
}
