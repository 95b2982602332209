//! Who a file is, and which files it was copied from.
//!
//! A copy has an incarnation of its own, but the events in it are those of its original. So that nobody takes them for others,
//! a copy keeps what its original was called and how far the log went then: an event's id beyond the file is the incarnation
//! in which it was written, and its sequence.

use rusqlite::Connection;

use crate::sqlite::tables::{events, meta};

/// The incarnations of a file. Cheap enough to clone: there are as many as the file was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// Oldest first: an incarnation, and the newest sequence when it was copied.
    before: Vec<(String, u64)>,
    now: String,
}

impl Lineage {
    pub(crate) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let now = meta::get(conn, meta::INCARNATION)?.unwrap_or_default();
        let before = meta::get(conn, meta::INCARNATIONS_BEFORE)?.unwrap_or_default();
        let line = |line: &str| {
            let (incarnation, through) = line.split_once(' ')?;
            Some((incarnation.to_owned(), through.parse().ok()?))
        };
        Ok(Self { before: before.lines().filter_map(line).collect(), now })
    }

    /// Gives a copy an incarnation of its own.
    pub(crate) fn renew(conn: &Connection) -> rusqlite::Result<()> {
        let mut lineage = Self::read(conn)?;
        let newest = events::newest(conn)?;
        // One that wrote nothing needs no line.
        if lineage.before.last().map_or(0, |(_, through)| *through) < newest && !lineage.now.is_empty() {
            lineage.before.push((lineage.now, newest));
        }
        let lines: Vec<_> =
            lineage.before.iter().map(|(name, through)| format!("{name} {through}\n")).collect();
        meta::set(conn, meta::INCARNATIONS_BEFORE, &lines.concat())?;
        meta::set(conn, meta::INCARNATION, &uuid::Uuid::new_v4().to_string())
    }

    /// The incarnation in which the event of this sequence was written.
    #[cfg(any(test, feature = "nats"))]
    pub(crate) fn of(&self, sequence: u64) -> &str {
        let before = self.before.iter().find(|(_, through)| sequence <= *through);
        before.map_or(&self.now, |(incarnation, _)| incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;

    #[test]
    fn an_event_keeps_the_incarnation_in_which_it_was_written() {
        let conn = log();
        let publish = || conn.execute("INSERT INTO bus_events (subject) VALUES ('a')", []).unwrap();
        meta::set(&conn, meta::INCARNATION, "first").unwrap();
        publish();
        publish();
        Lineage::renew(&conn).unwrap();
        let second = Lineage::read(&conn).unwrap();
        assert_eq!((second.of(1), second.of(2)), ("first", "first"));
        assert_ne!(second.of(3), "first");
        // A copy of the copy, in which nothing was written.
        Lineage::renew(&conn).unwrap();
        let third = Lineage::read(&conn).unwrap();
        assert_eq!((third.of(2), third.before.len()), ("first", 1));
        publish();
        Lineage::renew(&conn).unwrap();
        let fourth = Lineage::read(&conn).unwrap();
        assert_eq!((fourth.of(2), fourth.of(3)), ("first", third.of(3)));
        assert_ne!(fourth.of(4), third.of(4));
    }
}
