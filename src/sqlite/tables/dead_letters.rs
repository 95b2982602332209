//! `bus_dead_letters`: copies of what was given up on.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::message::Message;
use crate::sqlite::tables::requests::claim::body;

/// The table's name.
pub(crate) const TABLE: &str = "bus_dead_letters";

// By the primary key of bus_requests.
const BURY: &str = "INSERT INTO bus_dead_letters (source, source_id, subject, data, headers, reason, errors, attempts,
        created_at, died_at, priority, key, max_attempts, backoff, backoff_max, keep_for)
    SELECT 'job', id, subject, data, headers, ?2, errors, attempt, created_at, ?3, priority, key, max_attempts, backoff,
        backoff_max, keep_for
    FROM bus_requests WHERE sequence = ?1";
// By the primary key of bus_events.
const BURY_EVENT: &str =
    "INSERT INTO bus_dead_letters (source, source_id, consumer, subject, data, headers, reason, errors,
        attempts, created_at, died_at)
    SELECT 'event', id, ?2, subject, data, headers, ?3, ?4, ?5, created_at, ?6 FROM bus_events WHERE id = ?1";
const BURY_MESSAGE: &str =
    "INSERT INTO bus_dead_letters (source, source_id, consumer, subject, data, headers, reason, errors,
        attempts, created_at, died_at) VALUES ('event', ?1, ?2, ?7, ?8, ?9, ?3, ?4, ?5, ?10, ?6)";
// By the primary key.
const NEWEST: &str = "SELECT ifnull(max(id), 0) FROM bus_dead_letters";
const SUBJECTS_AFTER: &str = "SELECT id, subject FROM bus_dead_letters WHERE id > ?1 ORDER BY id LIMIT ?2";
const GET: &str =
    "SELECT id, source_id, subject, data, headers, reason, errors, attempts, created_at, died_at,
        CASE source WHEN 'event' THEN ifnull(consumer, '') END
    FROM bus_dead_letters WHERE id = ?1";
const SOURCE: &str = "SELECT source, source_id, subject, key, consumer FROM bus_dead_letters WHERE id = ?1";
// The first are the oldest: ids follow the order in which they died.
const OLDEST: &str = "SELECT id, died_at FROM bus_dead_letters ORDER BY id LIMIT ?1";
const REMOVE: &str = "DELETE FROM bus_dead_letters WHERE id = ?1";
const REQUEUE: &str = "INSERT INTO bus_requests (id, subject, headers, priority, ready, key, max_attempts, backoff, backoff_max,
        keep_for, created_at, data)
    SELECT source_id, subject, headers, priority, ?2, key, max_attempts, backoff, backoff_max, keep_for, created_at, data
    FROM bus_dead_letters WHERE id = ?1";

/// Copies a request that is given up on.
pub(crate) fn bury(conn: &Connection, sequence: i64, reason: &str, now: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(BURY)?.execute((sequence, reason, now))
}

/// An event that a consumer gives up on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadEvent<'a> {
    pub(crate) sequence: i64,
    pub(crate) consumer: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) errors: &'a str,
    pub(crate) attempts: i64,
}

/// Copies an event that is given up on, if the log still has it.
pub(crate) fn bury_event(conn: &Connection, dead: DeadEvent<'_>, now: i64) -> rusqlite::Result<usize> {
    let DeadEvent { sequence, consumer, reason, errors, attempts } = dead;
    conn.prepare_cached(BURY_EVENT)?.execute((sequence, consumer, reason, errors, attempts, now))
}

/// The same of an event that the log has no longer.
pub(crate) fn bury_message(
    conn: &Connection,
    dead: DeadEvent<'_>,
    message: &Message,
    now: i64,
) -> rusqlite::Result<usize> {
    let DeadEvent { sequence, consumer, reason, errors, attempts } = dead;
    conn.prepare_cached(BURY_MESSAGE)?.execute(rusqlite::params![
        sequence.to_string(),
        consumer,
        reason,
        errors,
        attempts,
        now,
        message.subject().as_str(),
        &message.payload()[..],
        message.headers().encode(),
        message.unix_millis(),
    ])
}

/// A dead letter, as far as its row can be read.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) id: i64,
    /// A job's id, or an event's sequence.
    pub(crate) source: String,
    /// Of an event, the consumer that gave it up.
    pub(crate) consumer: Option<String>,
    pub(crate) subject: String,
    /// Or why it cannot be read.
    pub(crate) body: Result<(bytes::Bytes, crate::headers::Headers), &'static str>,
    pub(crate) reason: String,
    pub(crate) errors: String,
    pub(crate) attempts: i64,
    pub(crate) created_at: i64,
    pub(crate) died_at: i64,
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let number = |at| row.get_ref(at).map(|value| value.as_i64().unwrap_or(0));
    let text = |at| {
        row.get_ref(at).map(|value| match value {
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        })
    };
    Ok(Letter {
        id: row.get(0)?,
        source: text(1)?,
        consumer: row.get_ref(10)?.as_str_or_null().ok().flatten().map(str::to_owned),
        subject: text(2)?,
        body: body(row.get_ref(3)?, row.get_ref(4)?),
        reason: text(5)?,
        errors: text(6)?,
        attempts: number(7)?,
        created_at: number(8)?,
        died_at: number(9)?,
    })
}

/// The last id; 0 if there is none.
pub(crate) fn newest(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))
}

/// Ids and subjects of the dead letters behind this id, in order.
pub(crate) fn subjects_after(
    conn: &Connection,
    id: i64,
    most: usize,
) -> rusqlite::Result<Vec<(i64, String)>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(SUBJECTS_AFTER)?;
    let rows = statement.query_map((id, most), |row| {
        Ok((
            row.get(0)?,
            String::from_utf8_lossy(row.get_ref(1)?.as_bytes().unwrap_or_default()).into_owned(),
        ))
    })?;
    rows.collect()
}

/// The dead letter of this id.
pub(crate) fn get(conn: &Connection, id: i64) -> rusqlite::Result<Option<Letter>> {
    conn.prepare_cached(GET)?.query_row([id], decode).optional()
}

/// Where a dead letter comes from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) is_job: bool,
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) key: Option<String>,
    pub(crate) consumer: Option<String>,
}

pub(crate) fn source(conn: &Connection, id: i64) -> rusqlite::Result<Option<Source>> {
    let source = |row: &Row<'_>| {
        Ok(Source {
            is_job: row.get_ref(0)?.as_str() == Ok("job"),
            id: row.get(1)?,
            subject: row.get(2)?,
            key: row.get(3)?,
            consumer: row.get(4)?,
        })
    };
    conn.prepare_cached(SOURCE)?.query_row([id], source).optional()
}

/// Those that died before then, so many at most, up to the first that did not. One whose time cannot be true, since it lies
/// beyond `future` or is none, is as old as the next.
pub(crate) fn died_before(
    conn: &Connection,
    (unix_millis, future): (i64, i64),
    most: usize,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(OLDEST)?;
    let mut rows = statement.query([-1])?;
    let (mut found, mut untold) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()?
        && found.len() < most
    {
        match row.get_ref(1)?.as_i64().ok().filter(|died_at| *died_at <= future) {
            None => untold.push(row.get(0)?),
            Some(died_at) if died_at < unix_millis => {
                found.append(&mut untold);
                found.push(row.get(0)?);
            }
            Some(_) => break,
        }
    }
    Ok(found)
}

pub(crate) fn remove(conn: &Connection, id: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE)?.execute([id])
}

/// Makes a job of it again, with no attempt behind it.
pub(crate) fn requeue(conn: &Connection, id: i64, ready: bool) -> rusqlite::Result<usize> {
    conn.prepare_cached(REQUEUE)?.execute((id, ready.then_some(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn every_step_is_by_the_key_and_sorts_nothing() {
        let conn = log();
        let by_key = "SEARCH bus_dead_letters USING INTEGER PRIMARY KEY";
        for (sql, params) in [(SUBJECTS_AFTER, 2), (GET, 1), (SOURCE, 1), (REMOVE, 1), (REQUEUE, 2)] {
            let plan = plan(&conn, sql, params);
            assert!(plan.contains(by_key) && !plan.contains("TEMP"), "{sql}: {plan}");
        }
        assert!(!plan(&conn, OLDEST, 1).contains("TEMP"));
        assert!(plan(&conn, BURY_EVENT, 6).contains("SEARCH bus_events USING INTEGER PRIMARY KEY"));
        assert!(plan(&conn, BURY, 3).contains("SEARCH bus_requests USING INTEGER PRIMARY KEY"));
    }
}
