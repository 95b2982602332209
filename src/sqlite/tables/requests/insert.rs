//! Asking.

use rusqlite::{Connection, OptionalExtension};

use crate::job::{JobParts, Unique};
use crate::request::RequestParts;
use crate::retry::millis;

const REQUEST: &str =
    "INSERT INTO bus_requests (id, kind, subject, headers, deadline, redeliver, caller, created_at, data)
    VALUES (?1, 'request', ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const JOB: &str = crate::sql::INSERT_JOB;
// By bus_requests_unique.
const UNIQUE: &str = "SELECT sequence, id, unique_until, finished_at FROM bus_requests
    WHERE subject = ?1 AND unique_key = ?2 AND unique_key IS NOT NULL";
const FORGET_UNIQUE: &str = "UPDATE bus_requests SET unique_key = NULL WHERE sequence = ?1";
// By bus_requests_by_key.
const UNFINISHED_OF_KEY: &str = "SELECT 1 FROM bus_requests WHERE subject = ?1 AND key = ?2 AND key IS NOT NULL AND finished_at IS NULL LIMIT 1";

/// Adds a request and gives its sequence. `deadline` is in awake milliseconds.
pub(crate) fn request(
    conn: &Connection,
    id: &str,
    request: &RequestParts,
    deadline: i64,
    caller: Option<i64>,
    now: i64,
) -> rusqlite::Result<i64> {
    let (subject, headers) = (request.subject.as_str(), request.headers.encode());
    conn.prepare_cached(REQUEST)?.execute((
        id,
        subject,
        headers,
        deadline,
        request.redeliver,
        caller,
        now,
        &request.payload[..],
    ))?;
    Ok(conn.last_insert_rowid())
}

/// What stands in the way of a job that is to be unique.
pub(crate) fn taken(
    conn: &Connection,
    subject: &str,
    unique: &str,
    now: i64,
) -> rusqlite::Result<Option<(i64, String)>> {
    let found = conn
        .prepare_cached(UNIQUE)?
        .query_row((subject, unique), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get(1)?,
                row.get::<_, Option<i64>>(2)?,
                row.get::<_, Option<i64>>(3)?,
            ))
        })
        .optional()?;
    let Some((sequence, id, until, finished)) = found else { return Ok(None) };
    // One whose row could not be told to let go of its key, since it was written by hand, does so here.
    let over = until.map_or(finished.is_some(), |until| until <= now);
    if over {
        conn.prepare_cached(FORGET_UNIQUE)?.execute([sequence])?;
        return Ok(None);
    }
    Ok(Some((sequence, id)))
}

/// Adds a job and gives its sequence; nothing is known to stand in its way.
pub(crate) fn job(conn: &Connection, id: &str, job: &JobParts, now: i64) -> rusqlite::Result<i64> {
    let subject = job.subject.as_str();
    let run_at = job.run.unix_millis(now);
    let scheduled = (run_at > now).then_some(run_at);
    let behind = match &job.key {
        Some(key) => is_behind(conn, subject, key)?,
        None => false,
    };
    let ready = (scheduled.is_none() && !behind).then_some(1);
    let unique_key = job.unique.as_ref().map(|(key, _)| &**key);
    let unique_until = job.unique.as_ref().and_then(|(_, how_long)| match how_long {
        Unique::WhilePending => None,
        Unique::For(time) => Some(now.saturating_add(millis(*time))),
        Unique::Forever => Some(i64::MAX),
    });
    let mut statement = conn.prepare_cached(JOB)?;
    let params: [&dyn rusqlite::ToSql; 16] = [
        &id,
        &subject,
        &job.headers.encode(),
        &job.priority,
        &ready,
        &scheduled,
        &job.expires.map(|expires| expires.unix_millis(now)),
        &job.key,
        &unique_key,
        &unique_until,
        &job.max_attempts,
        &job.backoff.first_millis(),
        &job.backoff.longest_millis(),
        &millis(job.keep_reply),
        &now,
        &&job.payload[..],
    ];
    statement.execute(&params[..])?;
    Ok(conn.last_insert_rowid())
}

/// Whether a job of this key would have to wait for another.
pub(crate) fn is_behind(conn: &Connection, subject: &str, key: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(UNFINISHED_OF_KEY)?.exists((subject, key))
}
