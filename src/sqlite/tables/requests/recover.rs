//! Time: what is due, what has expired, and leases whose holders are gone.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::sqlite::tables::requests::value;

// By bus_requests_scheduled.
const NEXT_SCHEDULED: &str =
    "SELECT run_at FROM bus_requests WHERE run_at IS NOT NULL ORDER BY run_at LIMIT 1";
const DUE: &str = "SELECT sequence, subject FROM bus_requests
    WHERE run_at IS NOT NULL AND run_at <= ?1 ORDER BY run_at LIMIT ?2";
// By the primary key.
const PROMOTE: &str = "UPDATE bus_requests SET run_at = NULL,
        ready = CASE WHEN lease_until IS NULL AND finished_at IS NULL THEN 1 END
    WHERE sequence = ?1";
// By bus_requests_expiring.
const NEXT_EXPIRING: &str = "SELECT expires_at FROM bus_requests
    WHERE expires_at IS NOT NULL AND lease_until IS NULL AND finished_at IS NULL ORDER BY expires_at LIMIT 1";
const EXPIRED: &str = "SELECT sequence FROM bus_requests
    WHERE expires_at IS NOT NULL AND lease_until IS NULL AND finished_at IS NULL AND expires_at <= ?1
    ORDER BY expires_at LIMIT ?2";
// By bus_requests_leased, a step a peer.
const FIRST_HOLDER: &str =
    "SELECT lease_peer FROM bus_requests WHERE lease_until IS NOT NULL AND lease_peer IS NOT NULL
    ORDER BY lease_peer LIMIT 1";
const NEXT_HOLDER: &str =
    "SELECT lease_peer FROM bus_requests WHERE lease_until IS NOT NULL AND lease_peer > ?1
    ORDER BY lease_peer LIMIT 1";
const FIRST_LEASE: &str =
    "SELECT lease_until FROM bus_requests WHERE lease_until IS NOT NULL AND lease_peer IS ?1
    ORDER BY lease_until LIMIT 1";
const LEASES: &str = "SELECT sequence, attempt FROM bus_requests
    WHERE lease_until IS NOT NULL AND lease_peer IS ?1 AND lease_until <= ?2 ORDER BY lease_until LIMIT ?3";
// By the primary key.
const REPAIR: &str =
    "UPDATE bus_requests SET attempt = 0 WHERE sequence = ?1 AND typeof(attempt) != 'integer'";
// A scan, after a restart of the machine.
const FORGET_REQUESTS: &str = "DELETE FROM bus_requests WHERE kind = 'request'";
// They have run out, and are seen to as any others that have.
const FORGET_LEASES: &str =
    "UPDATE bus_requests SET lease_peer = NULL, lease_until = 0 WHERE lease_until IS NOT NULL";

#[cfg(test)]
pub(super) const PLANS: &[super::Plan] = &[
    (NEXT_SCHEDULED, 0, "bus_requests_scheduled"),
    (DUE, 2, "bus_requests_scheduled"),
    (PROMOTE, 1, super::BY_KEY),
    (NEXT_EXPIRING, 0, "bus_requests_expiring"),
    (EXPIRED, 2, "bus_requests_expiring"),
    (FIRST_HOLDER, 0, "bus_requests_leased"),
    (NEXT_HOLDER, 1, "bus_requests_leased"),
    (FIRST_LEASE, 1, "bus_requests_leased"),
    (LEASES, 3, "bus_requests_leased"),
    (REPAIR, 1, super::BY_KEY),
];

/// When the next scheduled job is due, in Unix milliseconds.
pub(crate) fn next_scheduled(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let time = |row: &Row<'_>| row.get_ref(0).map(|time| value::number(time).unwrap_or(i64::MAX));
    conn.prepare_cached(NEXT_SCHEDULED)?.query_row([], time).optional()
}

/// Makes what is due ready: the subjects of those.
pub(crate) fn promote_due(conn: &Connection, now: i64, most: usize) -> rusqlite::Result<Vec<String>> {
    let due: Vec<(i64, String)> = {
        let mut statement = conn.prepare_cached(DUE)?;
        let rows =
            statement.query_map((now, count(most)), |row| Ok((row.get(0)?, value::text(row.get_ref(1)?))))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    let mut promote = conn.prepare_cached(PROMOTE)?;
    due.into_iter().map(|(sequence, subject)| promote.execute([sequence]).map(|_| subject)).collect()
}

/// When the next job expires that nobody has taken, in Unix milliseconds.
pub(crate) fn next_expiring(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let time = |row: &Row<'_>| row.get_ref(0).map(|time| value::number(time).unwrap_or(i64::MAX));
    conn.prepare_cached(NEXT_EXPIRING)?.query_row([], time).optional()
}

/// Jobs that have expired before anybody took them.
pub(crate) fn expired(conn: &Connection, now: i64, most: usize) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(EXPIRED)?;
    let rows = statement.query_map((now, count(most)), |row| row.get(0))?;
    rows.collect()
}

/// The slots of the peers that hold leases.
pub(crate) fn holders(conn: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut holders = Vec::new();
    // Text and blobs sort behind all numbers; nobody has such a slot, and their leases are nobody's.
    let first = |row: &Row<'_>| row.get_ref(0).map(|slot| slot.as_i64().ok());
    let mut next = conn.prepare_cached(FIRST_HOLDER)?.query_row([], first).optional()?.flatten();
    while let Some(holder) = next {
        holders.push(holder);
        next = conn.prepare_cached(NEXT_HOLDER)?.query_row([holder], first).optional()?.flatten();
    }
    Ok(holders)
}

/// When the first lease of a peer ends, in awake milliseconds; `None` stands for those that could not say which peer they are.
pub(crate) fn first_lease(conn: &Connection, peer: Option<i64>) -> rusqlite::Result<Option<i64>> {
    let time = |row: &Row<'_>| row.get_ref(0).map(|time| value::number(time).unwrap_or(i64::MAX));
    conn.prepare_cached(FIRST_LEASE)?.query_row([peer], time).optional()
}

/// What a peer holds whose leases end up to then: sequence and attempt.
pub(crate) fn leases(
    conn: &Connection,
    peer: Option<i64>,
    until: i64,
    most: usize,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut statement = conn.prepare_cached(LEASES)?;
    let rows = statement.query_map((peer, until, count(most)), |row| {
        Ok((row.get(0)?, value::number(row.get_ref(1)?).unwrap_or(0)))
    })?;
    rows.collect()
}

/// Makes a number of an attempt that is none, since a hand has written it.
pub(crate) fn repair(conn: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REPAIR)?.execute([sequence])
}

/// After a restart of the machine nobody holds a lease or waits for a reply; awake time begins anew.
pub(crate) fn new_boot(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(FORGET_REQUESTS, [])?;
    conn.execute(FORGET_LEASES, []).map(|_| ())
}

fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
