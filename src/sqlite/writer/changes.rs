//! What a transaction changed, whatever SQL did it: the update hook of the write connection counts along.
//!
//! Readers are only rung after COMMIT has returned; while the hook runs nobody can see the rows. It is silent for tables
//! WITHOUT ROWID, for a delete of everything, and for rows that REPLACE removes: nobody is woken for these.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Action;

use crate::sqlite::tables::{events, requests};
use crate::sqlite::wake::WakeBits;

#[derive(Debug, Default)]
pub(super) struct Changes {
    events: AtomicUsize,
    /// Rows of other tables that somebody may wait for.
    others: AtomicBool,
}

impl Changes {
    /// Counts what is changed through this connection.
    pub(super) fn follow(self: &Arc<Self>, conn: &Connection) -> rusqlite::Result<()> {
        let changes = Arc::clone(self);
        conn.update_hook(Some(move |action: Action, _: &str, table: &str, _: i64| match table {
            events::TABLE if action == Action::SQLITE_INSERT => {
                changes.events.fetch_add(1, Ordering::Relaxed);
            }
            requests::TABLE => changes.others.store(true, Ordering::Relaxed),
            _ => {}
        }))
    }

    /// A transaction begins.
    pub(super) fn clear(&self) {
        self.events.store(0, Ordering::Relaxed);
        self.others.store(false, Ordering::Relaxed);
    }

    /// Whether requests were changed, by whatever SQL.
    pub(super) fn others(&self) -> bool {
        self.others.load(Ordering::Relaxed)
    }

    /// Whom to wake for what was changed since, of which this many events are known to concern `known`; so are changes of
    /// requests, if operations made them that have said so.
    pub(super) fn bits(&self, events: usize, requests: bool, known: WakeBits) -> WakeBits {
        let others = !requests && self.others.load(Ordering::Relaxed);
        let more = others || self.events.load(Ordering::Relaxed) != events;
        if more { WakeBits::EVERYTHING } else { known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plain_sql_changes_on_the_write_connection_wakes_everybody_until_a_transaction_begins_anew() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE bus_events (id INTEGER PRIMARY KEY, subject); CREATE TABLE bus_requests (id INTEGER PRIMARY KEY); CREATE TABLE other (x)",
        )
        .unwrap();
        let changes = Arc::new(Changes::default());
        changes.follow(&conn).unwrap();
        let woken = |known: usize| changes.bits(known, false, WakeBits::NOTHING);
        conn.execute("INSERT INTO other VALUES (1)", []).unwrap();
        assert_eq!(woken(0), WakeBits::NOTHING);
        conn.execute("INSERT INTO bus_events (subject) VALUES ('a')", []).unwrap();
        assert_eq!((woken(0), woken(1)), (WakeBits::EVERYTHING, WakeBits::NOTHING));
        conn.execute("DELETE FROM bus_events WHERE id = 1", []).unwrap();
        assert_eq!(woken(1), WakeBits::NOTHING);
        changes.clear();
        conn.execute("INSERT INTO bus_requests VALUES (1)", []).unwrap();
        assert_eq!(woken(0), WakeBits::EVERYTHING);
        assert_eq!(changes.bits(0, true, WakeBits::NOTHING), WakeBits::NOTHING);
        changes.clear();
        assert_eq!(woken(0), WakeBits::NOTHING);
    }
}
