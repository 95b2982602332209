//! `bus_replies`: parts of replies, until the request goes that they belong to.

use bytes::Bytes;
use rusqlite::Connection;

use crate::headers::Headers;
use crate::reply::Response;
use crate::sqlite::tables::requests::claim::body;

// All by the primary key.
const ADD: &str = "INSERT INTO bus_replies (request, attempt, part, data, headers, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const AFTER: &str = "SELECT attempt, part, data, headers FROM bus_replies
    WHERE request = ?1 AND (attempt, part) > (?2, ?3) ORDER BY attempt, part LIMIT ?4";
// A scan, after a restart of the machine.
const REMOVE_ORPHANS: &str =
    "DELETE FROM bus_replies WHERE request NOT IN (SELECT sequence FROM bus_requests)";
const REMOVE: &str = "DELETE FROM bus_replies WHERE request = ?1";

/// A part of a reply.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) attempt: i64,
    pub(crate) number: i64,
    pub(crate) data: Bytes,
    pub(crate) headers: Headers,
}

pub(crate) fn add(
    conn: &Connection,
    request: i64,
    attempt: i64,
    number: u32,
    part: &Response,
    now: i64,
) -> rusqlite::Result<usize> {
    let (data, headers) = (&part.payload()[..], part.headers().encode());
    conn.prepare_cached(ADD)?.execute((request, attempt, number, data, headers, now))
}

/// Parts behind this one, in order.
pub(crate) fn after(
    conn: &Connection,
    request: i64,
    (attempt, number): (i64, i64),
    most: usize,
) -> rusqlite::Result<Vec<Part>> {
    let mut statement = conn.prepare_cached(AFTER)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map((request, attempt, number, most), |row| {
        let (data, headers) = body(row.get_ref(2)?, row.get_ref(3)?).unwrap_or_default();
        Ok(Part { attempt: row.get(0)?, number: row.get(1)?, data, headers })
    })?;
    rows.collect()
}

/// Removes the parts of requests that are gone.
pub(crate) fn remove_orphans(conn: &Connection) -> rusqlite::Result<usize> {
    conn.execute(REMOVE_ORPHANS, [])
}

/// Removes the parts of a request.
pub(crate) fn remove(conn: &Connection, request: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE)?.execute([request])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn every_step_is_by_the_key_and_sorts_nothing() {
        let conn = log();
        for (sql, params) in [(AFTER, 4), (REMOVE, 1)] {
            let plan = plan(&conn, sql, params);
            assert!(plan.contains("USING PRIMARY KEY") && !plan.contains("TEMP"), "{sql}: {plan}");
        }
    }
}
