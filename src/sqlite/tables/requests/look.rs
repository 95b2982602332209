//! Looking: what callers wait for, and what can be told of a job.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::headers::Headers;
use crate::sqlite::tables::requests::claim::body;
use crate::sqlite::tables::requests::value;

// By the primary key.
const FINISHED: &str = "SELECT outcome, attempt, error, code, reply, reply_headers FROM bus_requests
    WHERE sequence = ?1 AND id = ?2 AND finished_at IS NOT NULL";
const EXISTS: &str = "SELECT 1 FROM bus_requests WHERE sequence = ?1";
const SUBJECT: &str = "SELECT subject FROM bus_requests WHERE sequence = ?1";
const WITHDRAW: &str =
    "DELETE FROM bus_requests WHERE sequence = ?1 AND id = ?2 AND kind = 'request' AND lease_until IS NULL";
const ASK_TO_STOP: &str = "UPDATE bus_requests SET cancelled_at = ?3
    WHERE sequence = ?1 AND id = ?2 AND lease_until IS NOT NULL AND cancelled_at IS NULL";
const HOLDER: &str = "SELECT lease_peer FROM bus_requests WHERE sequence = ?1 AND lease_until IS NOT NULL";
// By bus_requests_by_id.
const BY_ID: &str = "SELECT sequence, finished_at IS NOT NULL, lease_until IS NOT NULL
    FROM bus_requests WHERE id = ?1 AND kind = 'job' AND (keep_until IS NULL OR keep_until > ?2)";
const INFO: &str = "SELECT subject, state, attempt, max_attempts, priority, created_at, run_at, finished_at,
        cancelled_at IS NOT NULL, errors
    FROM bus_requests WHERE id = ?1 AND kind = 'job' AND (keep_until IS NULL OR keep_until > ?2)";

#[cfg(test)]
pub(super) const PLANS: &[super::Plan] = &[
    (FINISHED, 2, super::BY_KEY),
    (EXISTS, 1, super::BY_KEY),
    (SUBJECT, 1, super::BY_KEY),
    (WITHDRAW, 2, super::BY_KEY),
    (ASK_TO_STOP, 3, super::BY_KEY),
    (HOLDER, 1, super::BY_KEY),
    (BY_ID, 2, "bus_requests_by_id"),
    (INFO, 2, "bus_requests_by_id"),
];

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: String,
    pub(crate) attempt: i64,
    pub(crate) error: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) reply: Bytes,
    pub(crate) headers: Headers,
}

/// How it ended; `None` while it has not. By its id as well: the sequence of a transaction that was rolled back is given
/// to another.
pub(crate) fn ended(conn: &Connection, sequence: i64, id: &str) -> rusqlite::Result<Option<Ended>> {
    conn.prepare_cached(FINISHED)?.query_row((sequence, id), decode).optional()
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Ended> {
    let text = |at| row.get_ref(at).map(|value| value.as_str().ok().map(str::to_owned));
    let (reply, headers) = body(row.get_ref(4)?, row.get_ref(5)?).unwrap_or_default();
    Ok(Ended {
        outcome: text(0)?.unwrap_or_default(),
        attempt: row.get_ref(1)?.as_i64().unwrap_or(0),
        error: text(2)?,
        code: text(3)?,
        reply,
        headers,
    })
}

/// Whether it is there, in whatever state.
pub(crate) fn exists(conn: &Connection, sequence: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(EXISTS)?.exists([sequence])
}

/// Its subject.
pub(crate) fn subject(conn: &Connection, sequence: i64) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached(SUBJECT)?.query_row([sequence], |row| row.get_ref(0).map(value::text)).optional()
}

/// Takes a request back that nobody holds, or that is over; 0 if somebody holds it.
pub(crate) fn withdraw(conn: &Connection, sequence: i64, id: &str) -> rusqlite::Result<usize> {
    conn.prepare_cached(WITHDRAW)?.execute((sequence, id))
}

/// Notes that what somebody holds is wanted no more.
pub(crate) fn ask_to_stop(conn: &Connection, sequence: i64, id: &str, now: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(ASK_TO_STOP)?.execute((sequence, id, now))
}

/// The peer that holds it, if it can say which it is.
pub(crate) fn holder(conn: &Connection, sequence: i64) -> rusqlite::Result<Option<i64>> {
    let slot = |row: &Row<'_>| row.get_ref(0).map(|slot| slot.as_i64().ok());
    conn.prepare_cached(HOLDER)?.query_row([sequence], slot).optional().map(Option::flatten)
}

/// A job by its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) sequence: i64,
    pub(crate) is_finished: bool,
    pub(crate) is_leased: bool,
}

/// The job of this id, unless its reply was to be kept no longer.
pub(crate) fn by_id(conn: &Connection, id: &str, now: i64) -> rusqlite::Result<Option<Found>> {
    let found =
        |row: &Row<'_>| Ok(Found { sequence: row.get(0)?, is_finished: row.get(1)?, is_leased: row.get(2)? });
    conn.prepare_cached(BY_ID)?.query_row((id, now), found).optional()
}

/// What can be told of a job.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) subject: String,
    pub(crate) state: String,
    pub(crate) attempt: i64,
    pub(crate) max_attempts: i64,
    pub(crate) priority: i64,
    pub(crate) created_at: i64,
    pub(crate) run_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) is_cancelled: bool,
    pub(crate) errors: String,
}

/// What can be told of the job of this id, unless its reply was to be kept no longer.
pub(crate) fn info(conn: &Connection, id: &str, now: i64) -> rusqlite::Result<Option<Info>> {
    let info = |row: &Row<'_>| {
        let number = |at| row.get_ref(at).map(|found| value::number(found).unwrap_or(0));
        let maybe = |at| row.get_ref(at).map(value::number);
        let text = |at| row.get_ref(at).map(value::text);
        Ok(Info {
            subject: text(0)?,
            state: text(1)?,
            attempt: number(2)?,
            max_attempts: number(3)?,
            priority: number(4)?,
            created_at: number(5)?,
            run_at: maybe(6)?,
            finished_at: maybe(7)?,
            is_cancelled: row.get(8)?,
            errors: text(9)?,
        })
    };
    conn.prepare_cached(INFO)?.query_row((id, now), info).optional()
}
