//! Taking: what is ready, and the lease on it.

use bytes::Bytes;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::defaults::MAX_ROW;
use crate::headers::Headers;
use crate::sqlite::tables::requests::value;

// By bus_requests_ready, in its order.
const READY: &str = "SELECT sequence, id, kind, headers, data, attempt, run_at, expires_at, deadline, key,
        unique_key IS NOT NULL, caller, created_at
    FROM bus_requests WHERE ready IS NOT NULL AND subject = ?1 ORDER BY priority DESC, sequence LIMIT ?2";
// One step in the index a distinct subject, however many rows it has.
const NEXT_SUBJECT: &str =
    "SELECT subject FROM bus_requests WHERE ready IS NOT NULL AND subject > ?1 ORDER BY subject LIMIT 1";
const HAS_READY: &str = "SELECT 1 FROM bus_requests WHERE ready IS NOT NULL AND subject = ?1
    AND NOT EXISTS (SELECT 1 FROM bus_queues WHERE subject = ?1 AND paused_at IS NOT NULL) LIMIT 1";
// By bus_requests_by_key.
const FIRST_OF_KEY: &str = "SELECT min(sequence) FROM bus_requests
    WHERE subject = ?1 AND key = ?2 AND key IS NOT NULL AND finished_at IS NULL";
// By the primary key.
const LEASE: &str =
    "UPDATE bus_requests SET ready = NULL, attempt = attempt + 1, lease_peer = ?2, lease_until = ?3
    WHERE sequence = ?1 AND ready IS NOT NULL";
const PARK: &str = "UPDATE bus_requests SET ready = NULL WHERE sequence = ?1 AND ready IS NOT NULL";
const UNSCHEDULE: &str = "UPDATE bus_requests SET run_at = NULL WHERE sequence = ?1";
const RENEW: &str = "UPDATE bus_requests SET lease_until = max(lease_until, ?3)
    WHERE sequence = ?1 AND attempt = ?2 AND lease_until IS NOT NULL";
const IS_HELD: &str =
    "SELECT 1 FROM bus_requests WHERE sequence = ?1 AND attempt = ?2 AND lease_until IS NOT NULL
    AND (cancelled_at IS NULL OR kind = 'job')";
const CALLER: &str = "SELECT caller FROM bus_requests WHERE sequence = ?1";
// By bus_requests_to_cancel.
const TO_CANCEL: &str = "SELECT sequence, attempt FROM bus_requests INDEXED BY bus_requests_to_cancel
    WHERE lease_peer IS ?1 AND cancelled_at IS NOT NULL AND lease_until IS NOT NULL";

#[cfg(test)]
pub(super) const PLANS: &[super::Plan] = &[
    (READY, 2, "bus_requests_ready"),
    (NEXT_SUBJECT, 1, "bus_requests_ready"),
    (HAS_READY, 1, "bus_requests_ready"),
    (FIRST_OF_KEY, 2, "bus_requests_by_key"),
    (LEASE, 3, super::BY_KEY),
    (PARK, 1, super::BY_KEY),
    (UNSCHEDULE, 1, super::BY_KEY),
    (RENEW, 3, super::BY_KEY),
    (IS_HELD, 2, super::BY_KEY),
    (CALLER, 1, super::BY_KEY),
    (TO_CANCEL, 1, "bus_requests_to_cancel"),
];

/// A row that is ready, as anybody may have written it.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) sequence: i64,
    pub(crate) id: String,
    pub(crate) is_request: bool,
    /// Or why the row cannot be a message.
    pub(crate) body: Result<(Bytes, Headers), &'static str>,
    pub(crate) attempt: i64,
    pub(crate) run_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) deadline: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) is_unique: bool,
    pub(crate) caller: Option<i64>,
    pub(crate) created_at: i64,
}

/// The first of a subject that are ready.
pub(crate) fn ready(conn: &Connection, subject: &str, most: usize) -> rusqlite::Result<Vec<Candidate>> {
    let mut statement = conn.prepare_cached(READY)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map((subject, most), candidate)?;
    rows.collect()
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    let number = |at| row.get_ref(at).map(|found| value::number(found).unwrap_or(0));
    let maybe = |at| row.get_ref(at).map(value::number);
    let text = |at| row.get_ref(at).map(|value| value.as_str().ok().map(str::to_owned));
    Ok(Candidate {
        sequence: row.get(0)?,
        id: text(1)?.unwrap_or_default(),
        is_request: row.get_ref(2)?.as_str() == Ok("request"),
        body: body(row.get_ref(4)?, row.get_ref(3)?),
        attempt: number(5)?,
        run_at: maybe(6)?,
        expires_at: maybe(7)?,
        deadline: maybe(8)?,
        key: text(9)?,
        is_unique: row.get(10)?,
        caller: maybe(11)?,
        created_at: number(12)?,
    })
}

/// Bytes and headers as a message has them, or why they cannot be one's.
pub(crate) fn body(data: ValueRef<'_>, headers: ValueRef<'_>) -> Result<(Bytes, Headers), &'static str> {
    let data = match data {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) if bytes.len() <= MAX_ROW => {
            Bytes::copy_from_slice(bytes)
        }
        ValueRef::Null => Bytes::new(),
        ValueRef::Blob(_) | ValueRef::Text(_) => return Err("the data is larger than 64 MiB"),
        _ => return Err("the data is neither text nor blob"),
    };
    let headers = match headers {
        ValueRef::Null => Headers::new(),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| Headers::decode(text).ok())
            .ok_or("the headers are no lines of \"Name: value\"")?,
        _ => return Err("the headers are no text"),
    };
    Ok((data, headers))
}

/// The distinct subject with something ready that follows this text; neither need be UTF-8.
pub(crate) fn next_subject(conn: &Connection, after: &[u8]) -> rusqlite::Result<Option<Vec<u8>>> {
    let after = ToSqlOutput::Borrowed(ValueRef::Text(after));
    let bytes = |row: &Row<'_>| row.get_ref(0).map(|text| text.as_bytes().unwrap_or_default().to_vec());
    conn.prepare_cached(NEXT_SUBJECT)?.query_row([after], bytes).optional()
}

/// Whether anything of a subject is ready and not held back.
pub(crate) fn has_ready(conn: &Connection, subject: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(HAS_READY)?.exists([subject])
}

/// The first unfinished job of a key.
pub(crate) fn first_of_key(conn: &Connection, subject: &str, key: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(FIRST_OF_KEY)?.query_row((subject, key), |row| row.get(0))
}

/// Leases it to this peer until then, in awake milliseconds; the attempt is one more.
pub(crate) fn lease(
    conn: &Connection,
    sequence: i64,
    peer: Option<i64>,
    until: i64,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(LEASE)?.execute((sequence, peer, until))
}

/// It is not ready: it is scheduled, or behind another of its key.
pub(crate) fn park(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(PARK)?.execute([sequence])
}

/// Its time has come.
pub(crate) fn unschedule(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(UNSCHEDULE)?.execute([sequence])
}

/// Makes a lease last until then, unless it does already; 0 if it has ended.
pub(crate) fn renew(conn: &Connection, sequence: i64, attempt: i64, until: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(RENEW)?.execute((sequence, attempt, until))
}

/// Whether this attempt holds it, and somebody wants what it says.
pub(crate) fn is_held(conn: &Connection, sequence: i64, attempt: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(IS_HELD)?
        .query_row((sequence, attempt), |_| Ok(()))
        .optional()
        .map(|held| held.is_some())
}

/// Who waits for the reply.
pub(crate) fn caller(conn: &Connection, sequence: i64) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(CALLER)?.query_row([sequence], |row| row.get(0)).optional().map(Option::flatten)
}

/// What this peer holds and is to stop: sequence and attempt.
pub(crate) fn to_cancel(conn: &Connection, peer: Option<i64>) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut statement = conn.prepare_cached(TO_CANCEL)?;
    let rows = statement.query_map([peer], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
