//! Which events of a policy are due: from the oldest on, as long as they are too old or too many.

use rusqlite::Connection;

use crate::defaults::CLOCK_JUMP;
use crate::retry::millis;
use crate::sqlite::prune::keep::Wants;
use crate::sqlite::prune::policy::Policies;
use crate::sqlite::prune::remove::Row;
use crate::sqlite::tables::prunable::{self, Weighed};

/// Rows that one look goes through.
pub(super) const PAGE: usize = 2048;

/// How far the pruner is with a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// Nothing that the policy governs is left up to here.
    pub(super) removed: u64,
    /// Everything that it governs up to here is due; what is left of it is kept for consumers.
    pub(super) due: u64,
    pub(super) kept: Kept,
    /// Whom it is kept for.
    pub(super) kept_for: Wants,
    /// It was said that the cap is reached.
    pub(super) warned: bool,
    /// The first event behind those that a clock far ahead has dated that tells its time, with that; and how far it was
    /// looked for.
    pub(super) telling: Option<(u64, i64)>,
    pub(super) looked: u64,
}

/// What is due and is kept for consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Kept {
    pub(super) fn add(&mut self, bytes: u64) {
        (self.messages, self.bytes) = (self.messages + 1, self.bytes.saturating_add(bytes));
    }

    pub(super) fn take(&mut self, bytes: u64) {
        (self.messages, self.bytes) = (self.messages.saturating_sub(1), self.bytes.saturating_sub(bytes));
    }
}

/// What one look has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Those that are due, and wanted by nobody.
    pub(super) rows: Vec<Row>,
    /// Those that are due, and wanted.
    pub(super) kept: Kept,
    /// Everything that the policy governs up to here is among them.
    pub(super) through: u64,
    /// There may be more.
    pub(super) more: bool,
    /// Whether this one is due depends on the next that tells its time.
    pub(super) untold: Option<u64>,
}

/// The next events of the policy that are due.
pub(super) fn find(
    conn: &Connection,
    policies: &Policies,
    at: usize,
    (walk, wants): (&Walk, Option<&Wants>),
    now: i64,
) -> rusqlite::Result<Found> {
    let mut found = Found { through: walk.due, ..Found::default() };
    let Some(policy) = policies.get(at) else { return Ok(found) };
    let limits = &policy.limits;
    let too_many = limits.max_messages.map_or(0, |most| policy.messages.saturating_sub(most));
    let too_much = limits.max_bytes.map_or(0, |most| policy.bytes.saturating_sub(most));
    let Kept { mut messages, mut bytes } = walk.kept;
    let before = limits.max_age.map(|age| now.saturating_sub(millis(age)));
    if before.is_none() && messages >= too_many && bytes >= too_much {
        return Ok(found);
    }
    let subject = policy.filter.as_subject();
    let page = prunable::ages_after(conn, walk.due, subject.as_ref().map(AsRef::as_ref), PAGE)?;
    found.more = page.len() == PAGE;
    for Weighed { id, subject, bytes: weight, created_at } in page {
        // What was not counted yet is looked at when it is.
        if id > policy.counted_through {
            found.more = false;
            break;
        }
        if policies.governing(&subject) != Some(at) {
            found.through = id;
            continue;
        }
        if messages >= too_many && bytes >= too_much {
            let Some(before) = before else {
                found.more = false;
                break;
            };
            // Published by a clock that was ahead: as old as the next that tells.
            let time = match walk.telling {
                _ if !is_untold(created_at, now) => created_at,
                Some((telling, time)) if telling > id => time,
                _ => {
                    found.untold = Some(id);
                    break;
                }
            };
            if time >= before {
                found.more = false;
                break;
            }
        }
        if wants.is_some_and(|wants| wants.wants(&subject, id)) {
            found.kept.add(weight);
        } else {
            found.rows.push((id, weight));
        }
        found.through = id;
        (messages, bytes) = (messages + 1, bytes.saturating_add(weight));
    }
    Ok(found)
}

/// Whether this time was told by a clock that was ahead.
pub(super) fn is_untold(time: i64, now: i64) -> bool {
    time > now.saturating_add(millis(CLOCK_JUMP))
}

/// Of what is kept for consumers between these sequences, what nobody wants any more.
pub(super) fn find_released(
    conn: &Connection,
    policies: &Policies,
    at: usize,
    wants: &Wants,
    (after, until): (u64, u64),
) -> rusqlite::Result<Found> {
    kept_after(conn, policies, at, (after, until), |id, subject, weight, found| {
        if !wants.wants(subject, id) {
            found.rows.push((id, weight));
        }
        true
    })
}

/// Of what is kept for consumers, the oldest, until they have as many bytes.
pub(super) fn find_oldest(
    conn: &Connection,
    policies: &Policies,
    at: usize,
    (after, until): (u64, u64),
    bytes: u64,
) -> rusqlite::Result<Found> {
    let mut left = bytes;
    kept_after(conn, policies, at, (after, until), |id, _, weight, found| {
        if left == 0 {
            return false;
        }
        found.rows.push((id, weight));
        left = left.saturating_sub(weight.max(1));
        true
    })
}

/// What is left of what is due, as long as `each` wants to go on.
fn kept_after(
    conn: &Connection,
    policies: &Policies,
    at: usize,
    (after, until): (u64, u64),
    mut each: impl FnMut(u64, &str, u64, &mut Found) -> bool,
) -> rusqlite::Result<Found> {
    let mut found = Found { through: after, ..Found::default() };
    let Some(policy) = policies.get(at) else { return Ok(found) };
    let subject = policy.filter.as_subject();
    let page = prunable::ages_after(conn, after, subject.as_ref().map(AsRef::as_ref), PAGE)?;
    found.more = page.len() == PAGE;
    for Weighed { id, subject, bytes: weight, .. } in page {
        let is_over = id > until
            || (policies.governing(&subject) == Some(at) && !each(id, &subject, weight, &mut found));
        if is_over {
            found.more = false;
            break;
        }
        found.through = id;
    }
    Ok(found)
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
        let found = find(conn, policies, at, (&Walk::default(), None), now).unwrap();
        (found.rows.iter().map(|(id, _)| *id).collect(), found.through)
    }

    #[test]
    fn what_is_too_old_is_due_up_to_the_first_that_is_not_and_other_policies_events_are_passed_over() {
        let conn = log();
        conn.execute_batch(
            "UPDATE bus_retention SET max_age = 1000, counted_through = 6;
             INSERT INTO bus_retention (filter, counted_through) VALUES ('a.*', 6)",
        )
        .unwrap();
        let policies =
            published(&conn, &[("a.b", 1), ("b", 2), ("a.b", 3), ("c", 900), ("b", 5_000), ("b", 2)]);
        assert_eq!(policies.get(0).unwrap().filter.as_str(), "a.*");
        assert_eq!(due(&conn, &policies, 1, 1_500), (vec![2], 3));
        assert_eq!(due(&conn, &policies, 1, 2_000), (vec![2, 4], 4));
        assert_eq!(due(&conn, &policies, 0, i64::MAX), (vec![], 0));
        conn.execute_batch("UPDATE bus_retention SET counted_through = 3").unwrap();
        let policies = published(&conn, &[]);
        assert_eq!(
            due(&conn, &policies, 1, 2_000),
            (vec![2], 3),
            "what was not counted is not looked at yet"
        );
    }

    #[test]
    fn what_a_clock_far_ahead_has_dated_is_as_old_as_the_next_that_was_dated_well() {
        let conn = log();
        conn.execute_batch("UPDATE bus_retention SET max_age = 1000, counted_through = 9").unwrap();
        let policies =
            published(&conn, &[("a", 1), ("a", 900 * HOUR), ("a", 900 * HOUR), ("a", 5), ("a", 9_000)]);
        let found = |telling| {
            let walk = Walk { telling, ..Walk::default() };
            let found = find(&conn, &policies, 0, (&walk, None), 5_000).unwrap();
            (found.rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), found.untold)
        };
        assert_eq!(found(None), (vec![1], Some(2)));
        let told = prunable::first_dated(&conn, 2, PAGE, |time| !is_untold(time, 5_000)).unwrap();
        assert_eq!(told, (Some((4, 5)), 4));
        assert_eq!(found(told.0), (vec![1, 2, 3, 4], None));
        assert_eq!(found(Some((4, 4_500))), (vec![1], None), "the next is not old enough");
        assert_eq!(prunable::first_dated(&conn, 1, 1, |time| time < 5_000).unwrap(), (None, 2));
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
    fn what_is_due_and_wanted_is_kept_and_the_rest_goes() {
        let conn = log();
        conn.execute_batch(
            "UPDATE bus_retention SET max_age = NULL, max_messages = 1, counted_through = 6, messages = 6;
             INSERT INTO bus_consumers (name, filters, start, ack_policy, on_failure, ack_wait, backoff, backoff_max,
                max_deliver, max_ack_pending, position, created_at, active_at)
             VALUES ('b', 'b', 'oldest', 'cumulative', 'stop', 1, 1, 1, 1, 1, 2, 0, 0)",
        )
        .unwrap();
        let policies = published(&conn, &[("a", 1), ("b", 1), ("a", 1), ("b", 1), ("a", 1), ("b", 1)]);
        let wants = Wants::look(&conn).unwrap();
        let found = find(&conn, &policies, 0, (&Walk::default(), Some(&wants)), 0).unwrap();
        assert_eq!(found.rows, [(1, 2), (2, 2), (3, 2), (5, 2)]);
        assert_eq!((found.kept, found.through), (Kept { messages: 1, bytes: 2 }, 5));
        // It acknowledges.
        conn.execute_batch("UPDATE bus_consumers SET position = 4").unwrap();
        let now = Wants::look(&conn).unwrap();
        let between = now.released_since(&wants).unwrap();
        assert_eq!(find_released(&conn, &policies, 0, &now, between).unwrap().rows, [(3, 2), (4, 2)]);
        let oldest = |bytes| find_oldest(&conn, &policies, 0, (1, 5), bytes).unwrap().rows.len();
        assert_eq!([0, 1, 2, 3, 100].map(oldest), [0, 1, 1, 2, 4]);
    }
}
