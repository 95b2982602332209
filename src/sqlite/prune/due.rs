//! Which events of a policy are due: from the oldest on, as long as they are too old or too many.

use rusqlite::Connection;

use crate::defaults::CLOCK_JUMP;
use crate::retry::millis;
use crate::sqlite::prune::policy::Policies;
use crate::sqlite::prune::remove::Row;
use crate::sqlite::tables::prunable::{self, Weighed};

/// Rows that one look goes through.
pub(super) const PAGE: usize = 2048;

/// How far the pruner is with a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// Nothing that the policy governs is left up to here.
    pub(super) removed: u64,
    /// Everything that it governs up to here is due; what lies behind `removed` is kept for consumers.
    pub(super) due: u64,
    /// What is kept so.
    pub(super) kept_messages: u64,
    pub(super) kept_bytes: u64,
    /// It was said that the cap is reached.
    pub(super) warned: bool,
}

/// What one look has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Those that are due.
    pub(super) rows: Vec<Row>,
    /// Everything that the policy governs up to here is among them.
    pub(super) through: u64,
    /// There may be more.
    pub(super) more: bool,
}

/// The next events of the policy that are due.
pub(super) fn find(
    conn: &Connection,
    policies: &Policies,
    at: usize,
    walk: &Walk,
    now: i64,
) -> rusqlite::Result<Found> {
    let mut found = Found { through: walk.due, ..Found::default() };
    let Some(policy) = policies.get(at) else { return Ok(found) };
    let limits = &policy.limits;
    let too_many = limits.max_messages.map_or(0, |most| policy.messages.saturating_sub(most));
    let too_much = limits.max_bytes.map_or(0, |most| policy.bytes.saturating_sub(most));
    let (mut messages, mut bytes) = (walk.kept_messages, walk.kept_bytes);
    let before = limits.max_age.map(|age| now.saturating_sub(millis(age)));
    if before.is_none() && messages >= too_many && bytes >= too_much {
        return Ok(found);
    }
    let subject = policy.filter.as_subject();
    let page = prunable::ages_after(conn, walk.due, subject.as_ref().map(AsRef::as_ref), PAGE)?;
    found.more = page.len() == PAGE;
    // Published by a clock that was ahead: as old as the next that tells.
    let (mut unknown, future) = (Vec::new(), now.saturating_add(millis(CLOCK_JUMP)));
    for Weighed { id, subject, bytes: weight, created_at } in page {
        if policies.governing(&subject) != Some(at) {
            if unknown.is_empty() {
                found.through = id;
            }
            continue;
        }
        let is_counted = id <= policy.counted_through;
        let by_count = is_counted && (messages < too_many || bytes < too_much);
        if by_count || before.is_some_and(|before| created_at < before) {
            found.rows.append(&mut unknown);
            found.rows.push((id, weight));
            found.through = id;
        } else if before.is_some() && created_at > future {
            unknown.push((id, weight));
        } else {
            found.more = false;
            break;
        }
        messages += u64::from(is_counted);
        bytes += if is_counted { weight } else { 0 };
    }
    // A whole page that tells nothing: it waits for one that does.
    found.more &= unknown.is_empty();
    Ok(found)
}

/// Of what is kept for consumers, the first that may go now: up to the floor, and beyond it as many as exceed the cap, whose
/// number comes along.
pub(super) fn find_kept(
    conn: &Connection,
    policies: &Policies,
    at: usize,
    walk: &Walk,
    (floor, cap): (u64, u64),
) -> rusqlite::Result<(Found, usize)> {
    let mut found = Found { through: walk.removed, ..Found::default() };
    let Some(policy) = policies.get(at) else { return Ok((found, 0)) };
    let subject = policy.filter.as_subject();
    let page = prunable::ages_after(conn, walk.removed, subject.as_ref().map(AsRef::as_ref), PAGE)?;
    found.more = page.len() == PAGE;
    let (mut bytes, mut forced) = (walk.kept_bytes, 0);
    for Weighed { id, subject, bytes: weight, .. } in page {
        if id > walk.due {
            found.more = false;
            break;
        }
        if policies.governing(&subject) == Some(at) {
            if id > floor && bytes <= cap {
                found.more = false;
                break;
            }
            found.rows.push((id, weight));
            if bytes > cap {
                forced = found.rows.len();
            }
            bytes = bytes.saturating_sub(weight);
        }
        found.through = id;
    }
    Ok((found, forced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;
    use crate::sqlite::tables::retention;

    const HOUR: i64 = 3_600_000;

    fn published(conn: &Connection, events: &[(&str, i64)]) -> Policies {
        for (subject, created_at) in events {
            conn.execute(
                "INSERT INTO bus_events (subject, data, created_at) VALUES (?1, x'0102', ?2)",
                (subject, created_at),
            )
            .unwrap();
        }
        Policies::new(retention::all(conn).unwrap())
    }

    fn due(conn: &Connection, policies: &Policies, at: usize, now: i64) -> (Vec<u64>, u64) {
        let found = find(conn, policies, at, &Walk::default(), now).unwrap();
        (found.rows.iter().map(|(id, _)| *id).collect(), found.through)
    }

    #[test]
    fn what_is_too_old_is_due_up_to_the_first_that_is_not_and_other_policies_events_are_passed_over() {
        let conn = log();
        conn.execute_batch(
            "UPDATE bus_retention SET max_age = 1000; INSERT INTO bus_retention (filter) VALUES ('a.*')",
        )
        .unwrap();
        let policies =
            published(&conn, &[("a.b", 1), ("b", 2), ("a.b", 3), ("c", 900), ("b", 5_000), ("b", 2)]);
        assert_eq!(policies.get(0).unwrap().filter.as_str(), "a.*");
        assert_eq!(due(&conn, &policies, 1, 1_500), (vec![2], 3));
        assert_eq!(due(&conn, &policies, 1, 2_000), (vec![2, 4], 4));
        assert_eq!(due(&conn, &policies, 0, i64::MAX), (vec![], 0));
    }

    #[test]
    fn what_a_clock_far_ahead_has_dated_goes_with_the_next_that_was_dated_well() {
        let conn = log();
        conn.execute_batch("UPDATE bus_retention SET max_age = 1000").unwrap();
        let policies =
            published(&conn, &[("a", 1), ("a", 900 * HOUR), ("a", 5), ("a", 901 * HOUR), ("a", 9_000)]);
        assert_eq!(due(&conn, &policies, 0, 5_000), (vec![1, 2, 3], 3));
    }

    #[test]
    fn what_is_too_many_or_too_much_is_due_as_far_as_it_was_counted() {
        let conn = log();
        let limits = |messages: &str, bytes: &str, counted: i64| {
            conn.execute_batch(&format!(
                "UPDATE bus_retention SET max_age = NULL, max_messages = {messages}, max_bytes = {bytes},
                    counted_through = {counted}, messages = {counted}, bytes = 2 * {counted}"
            ))
            .unwrap();
            Policies::new(retention::all(&conn).unwrap())
        };
        published(&conn, &[("a", 1); 6]);
        assert_eq!(due(&conn, &limits("4", "NULL", 6), 0, 0).0, [1, 2]);
        assert_eq!(due(&conn, &limits("4", "NULL", 5), 0, 0).0, [1]);
        assert_eq!(due(&conn, &limits("NULL", "7", 6), 0, 0).0, [1, 2, 3]);
        assert_eq!(due(&conn, &limits("6", "12", 6), 0, 0).0, [0; 0]);
    }

    #[test]
    fn of_what_is_kept_the_acknowledged_may_go_and_the_oldest_beyond_the_cap() {
        let conn = log();
        let policies = published(&conn, &[("a", 1); 6]);
        let walk = Walk { due: 5, kept_messages: 5, kept_bytes: 10, ..Walk::default() };
        let may_go = |floor, cap| {
            let (found, forced) = find_kept(&conn, &policies, 0, &walk, (floor, cap)).unwrap();
            (found.rows.len(), forced)
        };
        assert_eq!(may_go(2, 10), (2, 0));
        assert_eq!(may_go(0, 10), (0, 0));
        assert_eq!(may_go(0, 5), (3, 3));
        assert_eq!(may_go(4, 9), (4, 1));
        assert_eq!(may_go(u64::MAX, 1), (5, 5));
    }
}
