//! `bus_deliveries`: what explicit consumers have in flight.

use rusqlite::{Connection, OptionalExtension, Row};

// By the primary key, each.
const LEASE: &str = "INSERT INTO bus_deliveries (consumer, sequence, attempt, lease_peer, lease_until)
    VALUES (?1, ?2, 1, ?3, ?4) ON CONFLICT DO NOTHING";
const LEASE_AGAIN: &str = "UPDATE bus_deliveries
    SET attempt = attempt + 1, lease_peer = ?3, lease_until = ?4, due_at = NULL WHERE consumer = ?1 AND sequence = ?2";
const WAIT: &str = "INSERT INTO bus_deliveries (consumer, sequence, attempt, due_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
const ACK: &str =
    "DELETE FROM bus_deliveries WHERE consumer = ?1 AND sequence = ?2 AND attempt = ?3 AND lease_peer = ?4
        AND lease_until IS NOT NULL";
const REMOVE: &str = "DELETE FROM bus_deliveries WHERE consumer = ?1 AND sequence = ?2";
const REMOVE_ALL: &str = "DELETE FROM bus_deliveries WHERE consumer = ?1";
const REMOVE_THROUGH: &str = "DELETE FROM bus_deliveries WHERE consumer = ?1 AND sequence <= ?2";
const MARK: &str =
    "INSERT INTO bus_deliveries (consumer, sequence, attempt) VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING";
const MARKS: &str = "SELECT sequence FROM bus_deliveries WHERE consumer = ?1";
const RENEW: &str = "UPDATE bus_deliveries SET lease_until = max(lease_until, ?4)
    WHERE consumer = ?1 AND sequence = ?2 AND attempt = ?3 AND lease_until IS NOT NULL";
const RELEASE: &str =
    "UPDATE bus_deliveries SET attempt = attempt - 1, lease_peer = 0, lease_until = NULL, due_at = 0
    WHERE consumer = ?1 AND sequence = ?2 AND attempt = ?3 AND lease_until IS NOT NULL";
const RETRY: &str = "UPDATE bus_deliveries
    SET lease_peer = 0, lease_until = NULL, due_at = ?4, errors = ifnull(errors, '') || ?5
    WHERE consumer = ?1 AND sequence = ?2 AND attempt = ?3";
const RETRY_IN_PLACE: &str =
    "UPDATE bus_deliveries SET attempt = attempt + 1, due_at = ?3, errors = ifnull(errors, '') || ?4
    WHERE consumer = ?1 AND sequence = ?2";
const ERRORS: &str = "SELECT errors FROM bus_deliveries
    WHERE consumer = ?1 AND sequence = ?2 AND attempt = ?3 AND lease_until IS NOT NULL";
const ERRORS_OF: &str = "SELECT errors FROM bus_deliveries WHERE consumer = ?1 AND sequence = ?2";
const ATTEMPTS: &str = "SELECT attempt FROM bus_deliveries WHERE consumer = ?1 AND sequence = ?2";
const FIRST: &str = "SELECT min(sequence) FROM bus_deliveries WHERE consumer = ?1";
// By bus_deliveries_due.
const DUE: &str = "SELECT sequence, attempt FROM bus_deliveries
    WHERE consumer = ?1 AND due_at IS NOT NULL AND due_at <= ?2 ORDER BY due_at LIMIT ?3";
const WAITING: &str = "SELECT count(*) FROM bus_deliveries WHERE consumer = ?1 AND due_at > ?2";
const UNTRIED: &str =
    "SELECT count(*) FROM bus_deliveries WHERE consumer = ?1 AND due_at <= ?2 AND attempt = 0";
// A step in bus_deliveries_due for each consumer that has something waiting.
const NEXT_DUE: &str = "SELECT consumer, due_at FROM bus_deliveries
    WHERE due_at IS NOT NULL AND consumer > ?1 ORDER BY consumer, due_at LIMIT 1";
// By bus_deliveries_leased; as many steps as there are leases, which max_ack_pending bounds.
const HELD: &str = "SELECT count(*) FROM
    (SELECT 1 FROM bus_deliveries WHERE consumer = ?1 AND lease_until IS NOT NULL LIMIT ?2)";
const REDELIVERED: &str = "SELECT count(*) FROM bus_deliveries WHERE consumer = ?1
    AND attempt > CASE WHEN lease_until IS NULL THEN 0 ELSE 1 END";
// A step in bus_deliveries_leased for each consumer and peer.
const NEXT_HOLDER: &str = "SELECT consumer, lease_peer, lease_until FROM bus_deliveries
    WHERE lease_until IS NOT NULL AND (consumer, lease_peer) > (?1, ?2) ORDER BY consumer, lease_peer, lease_until LIMIT 1";
const LEASES: &str = "SELECT sequence, attempt FROM bus_deliveries
    WHERE consumer = ?1 AND lease_peer = ?2 AND lease_until IS NOT NULL AND lease_until <= ?3
    ORDER BY lease_until LIMIT ?4";
// A scan, after a restart of the machine: they have run out, and are seen to as any others that have.
const FORGET_LEASES: &str =
    "UPDATE bus_deliveries SET lease_peer = 0, lease_until = 0 WHERE lease_until IS NOT NULL";

/// A delivery: consumer, sequence and attempt, which is the fencing token.
pub(crate) type Token = (i64, i64, i64);

/// Leases an event that is handed out for the first time; nothing if it is in flight already, since somebody had it come again.
pub(crate) fn lease(conn: &Connection, at: (i64, i64), peer: i64, until: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(LEASE)?.execute((at.0, at.1, peer, until))
}

/// Leases one that waits.
pub(crate) fn lease_again(
    conn: &Connection,
    at: (i64, i64),
    peer: i64,
    until: i64,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(LEASE_AGAIN)?.execute((at.0, at.1, peer, until))
}

/// Has an event wait, with this many attempts behind it.
pub(crate) fn wait(conn: &Connection, at: (i64, i64), attempt: i64, due_at: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(WAIT)?.execute((at.0, at.1, attempt, due_at))
}

/// Removes what was handled, if this peer holds it with this token.
pub(crate) fn ack(conn: &Connection, token: Token, peer: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(ACK)?.execute((token.0, token.1, token.2, peer))
}

pub(crate) fn remove(conn: &Connection, at: (i64, i64)) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE)?.execute(at)
}

pub(crate) fn remove_all(conn: &Connection, consumer: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE_ALL)?.execute([consumer])
}

/// Of a cumulative consumer: removes what was given up on and is behind the position by now.
pub(crate) fn remove_through(conn: &Connection, consumer: i64, sequence: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE_THROUGH)?.execute((consumer, sequence))
}

/// Of a cumulative consumer: notes that an event ahead of the position was given up on.
pub(crate) fn mark(conn: &Connection, at: (i64, i64)) -> rusqlite::Result<usize> {
    conn.prepare_cached(MARK)?.execute(at)
}

/// Of a cumulative consumer: the events ahead of the position that were given up on.
pub(crate) fn marks(conn: &Connection, consumer: i64) -> rusqlite::Result<Vec<u64>> {
    let mut statement = conn.prepare_cached(MARKS)?;
    let rows = statement.query_map([consumer], |row| row.get::<_, i64>(0))?;
    rows.map(|sequence| sequence.map(i64::cast_unsigned)).collect()
}

pub(crate) fn renew(conn: &Connection, token: Token, until: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(RENEW)?.execute((token.0, token.1, token.2, until))
}

/// Gives back what was not handed over: the attempt does not count, and it comes again whatever the time.
pub(crate) fn release(conn: &Connection, token: Token) -> rusqlite::Result<usize> {
    conn.prepare_cached(RELEASE)?.execute(token)
}

/// Has what failed wait until then.
pub(crate) fn retry(conn: &Connection, token: Token, due_at: i64, line: &str) -> rusqlite::Result<usize> {
    conn.prepare_cached(RETRY)?.execute((token.0, token.1, token.2, due_at, line))
}

/// The same for what was tried without a lease.
pub(crate) fn retry_in_place(
    conn: &Connection,
    at: (i64, i64),
    due_at: i64,
    line: &str,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(RETRY_IN_PLACE)?.execute((at.0, at.1, due_at, line))
}

fn text(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes_or_null().ok().flatten().unwrap_or_default())
        .into_owned())
}

/// How earlier attempts have failed, if it is held with this token.
pub(crate) fn errors(conn: &Connection, token: Token) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached(ERRORS)?.query_row(token, text).optional()
}

/// How earlier attempts have failed, whoever holds it.
pub(crate) fn errors_of(conn: &Connection, at: (i64, i64)) -> rusqlite::Result<String> {
    conn.prepare_cached(ERRORS_OF)?.query_row(at, text).optional().map(Option::unwrap_or_default)
}

/// How often an event was delivered, if it is in flight; 0 else.
pub(crate) fn attempts(conn: &Connection, at: (i64, i64)) -> rusqlite::Result<i64> {
    Ok(conn.prepare_cached(ATTEMPTS)?.query_row(at, |row| number(row, 0)).optional()?.unwrap_or(0))
}

/// The first event that is not done with.
pub(crate) fn first(conn: &Connection, consumer: i64) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(FIRST)?.query_row([consumer], |row| row.get(0))
}

/// What may be handed out again: sequences, and the attempts behind them.
pub(crate) fn due(
    conn: &Connection,
    consumer: i64,
    now: i64,
    most: usize,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut statement = conn.prepare_cached(DUE)?;
    let rows = statement.query_map((consumer, now, count(most)), |row| Ok((row.get(0)?, number(row, 1)?)))?;
    rows.collect()
}

/// How many wait for a time beyond this one.
pub(crate) fn waiting(conn: &Connection, consumer: i64, now: i64) -> rusqlite::Result<i64> {
    conn.prepare_cached(WAITING)?.query_row((consumer, now), |row| row.get(0))
}

/// How many may be handed out now as if for the first time: they were given back, or requeued.
pub(crate) fn untried(conn: &Connection, consumer: i64, now: i64) -> rusqlite::Result<i64> {
    conn.prepare_cached(UNTRIED)?.query_row((consumer, now), |row| row.get(0))
}

/// How many are held, up to a bound.
pub(crate) fn held(conn: &Connection, consumer: i64, bound: usize) -> rusqlite::Result<usize> {
    let held: i64 = conn.prepare_cached(HELD)?.query_row((consumer, count(bound)), |row| row.get(0))?;
    Ok(usize::try_from(held).unwrap_or(0))
}

/// How many were delivered before.
pub(crate) fn redelivered(conn: &Connection, consumer: i64) -> rusqlite::Result<i64> {
    conn.prepare_cached(REDELIVERED)?.query_row([consumer], |row| row.get(0))
}

/// Each consumer that has something waiting, and when the first of it is due.
pub(crate) fn next_due(conn: &Connection) -> rusqlite::Result<Vec<(i64, i64)>> {
    let (mut all, mut after) = (Vec::new(), i64::MIN);
    let mut statement = conn.prepare_cached(NEXT_DUE)?;
    loop {
        let next = statement.query_row([after], |row| Ok((row.get(0)?, number(row, 1)?))).optional()?;
        let Some((consumer, due_at)) = next else { return Ok(all) };
        all.push((consumer, due_at));
        after = consumer;
    }
}

/// A peer that holds something of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) consumer: i64,
    pub(crate) peer: i64,
    /// When the first of its leases ends, in awake milliseconds.
    pub(crate) first_until: i64,
}

pub(crate) fn holders(conn: &Connection) -> rusqlite::Result<Vec<Holder>> {
    let (mut all, mut after) = (Vec::new(), (i64::MIN, i64::MIN));
    let mut statement = conn.prepare_cached(NEXT_HOLDER)?;
    loop {
        let holder = |row: &Row<'_>| {
            Ok(Holder { consumer: row.get(0)?, peer: number(row, 1)?, first_until: number(row, 2)? })
        };
        let Some(holder) = statement.query_row(after, holder).optional()? else { return Ok(all) };
        after = (holder.consumer, holder.peer);
        all.push(holder);
    }
}

/// What a peer holds of a consumer whose leases end up to then: sequence and attempt.
pub(crate) fn leases(
    conn: &Connection,
    at: (i64, i64),
    until: i64,
    most: usize,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut statement = conn.prepare_cached(LEASES)?;
    let rows =
        statement.query_map((at.0, at.1, until, count(most)), |row| Ok((row.get(0)?, number(row, 1)?)))?;
    rows.collect()
}

/// After a restart of the machine nobody holds anything.
pub(crate) fn new_boot(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(FORGET_LEASES, []).map(|_| ())
}

/// A number, whatever a hand has written.
fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<i64> {
    Ok(row.get_ref(at)?.as_i64().unwrap_or(0))
}

fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn every_step_is_by_an_index_and_sorts_nothing() {
        let conn = log();
        let by_key = "USING PRIMARY KEY";
        for (sql, params, index) in [
            (LEASE_AGAIN, 4, by_key),
            (ACK, 4, by_key),
            (REMOVE, 2, by_key),
            (REMOVE_ALL, 1, by_key),
            (REMOVE_THROUGH, 2, by_key),
            (MARKS, 1, by_key),
            (RENEW, 4, by_key),
            (RELEASE, 3, by_key),
            (RETRY, 5, by_key),
            (RETRY_IN_PLACE, 4, by_key),
            (ERRORS, 3, by_key),
            (ERRORS_OF, 2, by_key),
            (ATTEMPTS, 2, by_key),
            (FIRST, 1, by_key),
            (DUE, 3, "bus_deliveries_due"),
            (WAITING, 2, "bus_deliveries_due"),
            (UNTRIED, 2, "bus_deliveries_due"),
            (NEXT_DUE, 1, "bus_deliveries_due"),
            (HELD, 2, "bus_deliveries_leased"),
            (NEXT_HOLDER, 2, "bus_deliveries_leased"),
            (LEASES, 4, "bus_deliveries_leased"),
        ] {
            let plan = plan(&conn, sql, params);
            assert!(plan.contains(index) && !plan.contains("TEMP"), "{sql}: {plan}");
            assert!(plan.contains("SEARCH"), "{sql}: {plan}");
        }
    }

    #[test]
    fn those_who_hold_and_those_who_wait_are_found_whatever_lies_beside_them() {
        let conn = log();
        for (consumer, sequence, peer, until) in
            [(1, 1, 7, 500), (1, 2, 7, 400), (1, 3, 9, 300), (4, 1, 7, 200)]
        {
            lease(&conn, (consumer, sequence), peer, until).unwrap();
        }
        wait(&conn, (1, 8), 0, 50).unwrap();
        wait(&conn, (1, 9), 2, 40).unwrap();
        wait(&conn, (6, 1), 0, 90).unwrap();
        let holder = |consumer, peer, first_until| Holder { consumer, peer, first_until };
        assert_eq!(holders(&conn).unwrap(), [holder(1, 7, 400), holder(1, 9, 300), holder(4, 7, 200)]);
        assert_eq!(next_due(&conn).unwrap(), [(1, 40), (6, 90)]);
        assert_eq!(due(&conn, 1, 45, 9).unwrap(), [(9, 2)]);
        assert_eq!(leases(&conn, (1, 7), 450, 9).unwrap(), [(2, 1)]);
        assert_eq!((held(&conn, 1, 2).unwrap(), held(&conn, 1, 9).unwrap()), (2, 3));
        assert_eq!((waiting(&conn, 1, 40).unwrap(), redelivered(&conn, 1).unwrap()), (1, 1));
        assert_eq!((untried(&conn, 1, 49).unwrap(), untried(&conn, 1, 50).unwrap()), (0, 1));
        assert_eq!((first(&conn, 1).unwrap(), first(&conn, 2).unwrap()), (Some(1), None));
    }
}
