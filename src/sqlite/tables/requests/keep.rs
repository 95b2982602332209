//! What is over: rows that are kept for their replies, until nobody can want these any more.

use rusqlite::Connection;

// By bus_requests_kept.
const PAST: &str = "SELECT sequence FROM bus_requests WHERE keep_until IS NOT NULL AND keep_until <= ?1
    ORDER BY keep_until LIMIT ?2";
// By the primary key.
const REMOVE: &str = "DELETE FROM bus_requests WHERE sequence = ?1 AND finished_at IS NOT NULL";
const WALK: &str = "SELECT sequence, kind = 'request', ifnull(deadline, 0) + ?2 < ?3
    FROM bus_requests WHERE sequence > ?1 ORDER BY sequence LIMIT ?4";
const REMOVE_REQUEST: &str = "DELETE FROM bus_requests WHERE sequence = ?1 AND kind = 'request'";

#[cfg(test)]
pub(super) const PLANS: &[super::Plan] = &[
    (PAST, 2, "bus_requests_kept"),
    (REMOVE, 1, super::BY_KEY),
    (WALK, 4, super::BY_KEY),
    (REMOVE_REQUEST, 1, super::BY_KEY),
];

/// Removes jobs whose replies need not be kept any longer, and gives their sequences.
pub(crate) fn remove_past(conn: &Connection, now: i64, most: usize) -> rusqlite::Result<Vec<i64>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let past: Vec<i64> = {
        let mut statement = conn.prepare_cached(PAST)?;
        let rows = statement.query_map((now, most), |row| row.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for sequence in &past {
        remove(conn, *sequence)?;
    }
    Ok(past)
}

/// Whether anything could be removed by [`remove_past`].
pub(crate) fn has_past(conn: &Connection, now: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(PAST)?.exists((now, 1))
}

/// Removes what is over and was read.
pub(crate) fn remove(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE)?.execute([sequence])
}

/// Removes a request, whatever its state: nobody waits for it.
pub(crate) fn remove_request(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE_REQUEST)?.execute([sequence])
}

/// Requests that nobody can wait for any more, `long` after their deadlines, among the rows behind `after`; and the last row
/// looked at, if there may be more behind it. A request whose deadline is yet to come ends the walk.
pub(crate) fn orphans(
    conn: &Connection,
    after: i64,
    awake: i64,
    long: i64,
    rows: usize,
) -> rusqlite::Result<(Vec<i64>, Option<i64>)> {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(WALK)?;
    let mut found = statement.query((after, long, awake, rows))?;
    let (mut orphans, mut last, mut looked_at) = (Vec::new(), None, 0);
    while let Some(row) = found.next()? {
        let (sequence, is_request, is_past): (i64, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if is_request && !is_past {
            return Ok((orphans, last));
        }
        looked_at += 1;
        last = Some(sequence);
        if is_request {
            orphans.push(sequence);
        }
    }
    Ok((orphans, last.filter(|_| looked_at == rows)))
}
