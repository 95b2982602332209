//! What is looked for in a file whose health is in doubt. Scans up to a bound where no index serves: who asks has had the
//! whole file read already.

use rusqlite::Connection;

// A scan, up to the bound.
const OVERDUE_REQUESTS: &str = "SELECT count(*) FROM (SELECT 1 FROM bus_requests
    WHERE kind = 'request' AND finished_at IS NULL AND deadline IS NOT NULL AND deadline < ?1 LIMIT 1000)";
// By bus_requests_expiring, up to the bound.
const EXPIRED_JOBS: &str = "SELECT count(*) FROM (SELECT 1 FROM bus_requests
    WHERE expires_at IS NOT NULL AND lease_until IS NULL AND finished_at IS NULL AND expires_at < ?1 LIMIT 1000)";
// By the primary key, from its end.
const LATEST: &str = "SELECT id, created_at FROM bus_events ORDER BY id DESC LIMIT 1000";

/// Requests whose callers have given up before this awake time, 1,000 at most.
pub(crate) fn overdue_requests(conn: &Connection, awake: i64) -> rusqlite::Result<i64> {
    conn.query_row(OVERDUE_REQUESTS, [awake], |row| row.get(0))
}

/// Jobs that were not begun before this time and should have been, 1,000 at most.
pub(crate) fn expired_jobs(conn: &Connection, unix_millis: i64) -> rusqlite::Result<i64> {
    conn.query_row(EXPIRED_JOBS, [unix_millis], |row| row.get(0))
}

/// The event among the newest that is the furthest in the future: its sequence and time.
pub(crate) fn latest(conn: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let mut statement = conn.prepare(LATEST)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get_ref(1)?.as_i64().unwrap_or(0))))?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().max_by_key(|(_, time)| *time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn what_an_index_serves_is_looked_for_by_it() {
        let conn = log();
        assert!(plan(&conn, EXPIRED_JOBS, 1).contains("INDEX bus_requests_expiring"));
        assert!(!plan(&conn, LATEST, 0).contains("TEMP"));
    }
}
