//! What is kept for consumers: nothing that one may want goes before it is acknowledged, up to a cap.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::filter::Filter;
use crate::sqlite::tables::consumers::{self, ConsumerPlace};
use crate::sqlite::tables::{events, prunable};

/// Rows that are looked at in one step for the first that a consumer wants.
const PAGE: usize = 8192;

/// How far the log holds nothing that a consumer wants behind its position: by its id, the position, and that far. An idle
/// consumer's position stays where its last event was, and would keep everything behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(HashMap<i64, (u64, u64)>);

impl Seen {
    /// Up to where every consumer that may want events of this policy is done with them.
    pub(super) fn floor(&self, conn: &Connection, policy: &Filter) -> rusqlite::Result<u64> {
        let places = consumers::places(conn)?;
        let concerned = places.iter().filter(|place| wants(place, policy));
        Ok(concerned.map(|place| self.floor_of(place)).min().unwrap_or(u64::MAX))
    }

    fn floor_of(&self, place: &ConsumerPlace) -> u64 {
        match self.0.get(&place.id) {
            // In flight is something that is not done with.
            Some((position, through)) if *position == place.position && place.ack_floor == place.position => {
                (*through).max(place.position)
            }
            _ => place.ack_floor,
        }
    }

    /// Looks on from where it was; whether there may be more to see.
    pub(super) fn look(&mut self, conn: &Connection, policy: &Filter) -> rusqlite::Result<bool> {
        let (newest, mut more) = (events::newest(conn)?, false);
        let places = consumers::places(conn)?;
        self.0.retain(|id, _| places.iter().any(|place| place.id == *id));
        for place in places.iter().filter(|place| wants(place, policy)) {
            let Some(filters) = &place.filters else { continue };
            let after = self.floor_of(place);
            if place.ack_floor < place.position || after >= newest {
                continue;
            }
            let (mut through, mut wanted) = (after, false);
            let rest = prunable::sizes_after(conn, after, PAGE, |id, subject, _| {
                wanted |= filters.iter().any(|filter| filter.matches(subject));
                if !wanted {
                    through = id;
                }
            })?;
            if !rest && !wanted {
                through = newest;
            }
            more |= rest && !wanted;
            self.0.insert(place.id, (place.position, through));
        }
        Ok(more)
    }
}

fn wants(place: &ConsumerPlace, policy: &Filter) -> bool {
    place.filters.as_ref().is_none_or(|filters| filters.iter().any(|filter| filter.overlaps(policy)))
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
    fn the_floor_is_that_of_the_slowest_consumer_that_may_want_the_policys_events() {
        let conn = log();
        let (seen, of) = (Seen::default(), |text| Filter::new(text).unwrap());
        assert_eq!(seen.floor(&conn, &of(">")).unwrap(), u64::MAX);
        consumer(&conn, "a", "a.*\nx", "explicit", 9);
        consumer(&conn, "b", "b.*", "cumulative", 4);
        conn.execute_batch(
            "INSERT INTO bus_deliveries (consumer, sequence, attempt) VALUES (1, 7, 1), (1, 8, 1)",
        )
        .unwrap();
        let floors = ["a.>", "b.>", ">", "x", "y"].map(|filter| seen.floor(&conn, &of(filter)).unwrap());
        assert_eq!(floors, [6, 4, 4, 6, u64::MAX]);
        conn.execute_batch("UPDATE bus_consumers SET filters = 'a..b' WHERE id = 2").unwrap();
        assert_eq!(seen.floor(&conn, &of("y")).unwrap(), 4, "nobody can say what it wants");
    }

    #[test]
    fn a_consumer_whose_subjects_are_quiet_holds_up_nobody() {
        let conn = log();
        let everything = Filter::everything();
        conn.execute_batch("INSERT INTO bus_events (subject) VALUES ('a'), ('b'), ('b'), ('b')").unwrap();
        consumer(&conn, "a", "a", "cumulative", 1);
        let mut seen = Seen::default();
        assert!(!seen.look(&conn, &everything).unwrap());
        assert_eq!(seen.floor(&conn, &everything).unwrap(), 4);
        conn.execute_batch("INSERT INTO bus_events (subject) VALUES ('b'), ('a'), ('b')").unwrap();
        seen.look(&conn, &everything).unwrap();
        assert_eq!(seen.floor(&conn, &everything).unwrap(), 5);
        seen.look(&conn, &everything).unwrap();
        assert_eq!(seen.floor(&conn, &everything).unwrap(), 5);
        // It is moved back.
        conn.execute_batch("UPDATE bus_consumers SET position = 0").unwrap();
        assert_eq!(seen.floor(&conn, &everything).unwrap(), 0);
    }
}
