//! What is kept for consumers: an event that one may want goes only when it is acknowledged.

use rusqlite::Connection;

use crate::filter::Filter;
use crate::sqlite::tables::consumers::{self, ConsumerPlace};
use crate::sqlite::tables::meta;

/// The consumers of the file, and how far each is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// It changes with every consumer that is made, changed, moved or removed. As long as it is the same, what is wanted
    /// only becomes less.
    revision: i64,
    places: Vec<ConsumerPlace>,
}

impl Wants {
    pub(super) fn look(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self { revision: meta::number(conn, meta::CONSUMERS)?, places: consumers::places(conn)? })
    }

    /// Whether nothing is wanted now that was not wanted then.
    pub(super) fn still_holds(&self, conn: &Connection) -> rusqlite::Result<bool> {
        Ok(meta::number(conn, meta::CONSUMERS)? == self.revision)
    }

    /// Whether a consumer that may want this event has not acknowledged it.
    pub(super) fn wants(&self, subject: &str, sequence: u64) -> bool {
        let may_want = |filters: &Option<Vec<Filter>>| {
            filters.as_ref().is_none_or(|filters| filters.iter().any(|filter| filter.matches(subject)))
        };
        self.places.iter().any(|place| sequence > place.ack_floor && may_want(&place.filters))
    }

    /// Between which sequences something may be wanted no more that was wanted `before`: behind the first, up to the second.
    pub(super) fn released_since(&self, before: &Self) -> Option<(u64, u64)> {
        if self == before {
            return None;
        }
        if self.revision != before.revision || self.places.len() != before.places.len() {
            return Some((0, u64::MAX));
        }
        let places = self.places.iter().zip(&before.places);
        let moved = places.filter(|(now, then)| now.ack_floor > then.ack_floor);
        moved.map(|(now, then)| (then.ack_floor, now.ack_floor)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;

    fn consumer(conn: &Connection, name: &str, filters: &str, policy: &str, position: i64) {
        conn.execute(
            "INSERT INTO bus_consumers (name, filters, start, ack_policy, on_failure, ack_wait, backoff, backoff_max,
                max_deliver, max_ack_pending, position, created_at, active_at)
             VALUES (?1, ?2, 'oldest', ?3, 'dead_letter', 1, 1, 1, 1, 1, ?4, 0, 0)",
            (name, filters, policy, position),
        )
        .unwrap();
    }

    #[test]
    fn an_event_is_wanted_until_every_consumer_of_its_subject_has_acknowledged_it() {
        let conn = log();
        assert!(!Wants::look(&conn).unwrap().wants("a.b", 1));
        consumer(&conn, "a", "a.*\nx", "explicit", 9);
        consumer(&conn, "b", "b.*", "cumulative", 4);
        conn.execute_batch(
            "INSERT INTO bus_deliveries (consumer, sequence, attempt) VALUES (1, 7, 1), (1, 8, 1)",
        )
        .unwrap();
        let wants = Wants::look(&conn).unwrap();
        // In flight is something that is not done with.
        assert_eq!([6, 7, 10].map(|sequence| wants.wants("a.b", sequence)), [false, true, true]);
        assert_eq!([4, 5].map(|sequence| wants.wants("b.c", sequence)), [false, true]);
        assert!(wants.wants("x", 7) && !wants.wants("y", 1) && !wants.wants("a.b.c", 99));
        conn.execute_batch("UPDATE bus_consumers SET filters = 'a..b' WHERE id = 2").unwrap();
        assert!(Wants::look(&conn).unwrap().wants("y", 5), "nobody can say what it wants");
    }

    #[test]
    fn what_is_acknowledged_is_looked_at_again_and_everything_where_a_consumer_was_changed() {
        let conn = log();
        consumer(&conn, "a", "a", "cumulative", 3);
        consumer(&conn, "b", "b", "cumulative", 9);
        consumer(&conn, "c", "c", "cumulative", 5);
        let before = Wants::look(&conn).unwrap();
        assert_eq!(before.released_since(&before), None);
        conn.execute_batch("UPDATE bus_consumers SET position = position + 4 WHERE name <> 'c'").unwrap();
        let now = Wants::look(&conn).unwrap();
        assert_eq!(now.released_since(&before), Some((3, 13)));
        assert!(before.still_holds(&conn).unwrap());
        meta::count(&conn, meta::CONSUMERS).unwrap();
        assert!(!before.still_holds(&conn).unwrap());
        assert_eq!(Wants::look(&conn).unwrap().released_since(&now), Some((0, u64::MAX)));
    }
}
