//! When there is next something to do that nobody rings for: jobs that fall due or expire, leases that run out, peers that die.
//!
//! Nothing ticks: the file says when the next of each kind is, and the watcher sleeps until then. It is read again after
//! something has changed, though not each time.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::sqlite::tables::requests::recover;

/// How long what was read counts, though something has changed.
const READ_EVERY: Duration = Duration::from_millis(50);
/// The wall clock is looked at so often while something waits for it: machines sleep, and clocks are set.
const WALL_EVERY: Duration = Duration::from_secs(60);
/// After something was seen to, before it is again.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Timers {
    /// In Unix milliseconds.
    wall: Option<i64>,
    /// In awake milliseconds.
    lease: Option<i64>,
    /// Slots of peers that hold leases.
    holders: Vec<i64>,
    /// Something may be other than it was read.
    stale: bool,
    read_at: Option<Instant>,
    /// Not to be seen to again before.
    paused_until: Option<Instant>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { wall: None, lease: None, holders: Vec::new(), stale: true, read_at: None, paused_until: None }
    }
}

impl Timers {
    /// Something has changed.
    pub(crate) fn changed(&mut self) {
        self.stale = true;
    }

    /// Something has changed that concerns them for certain.
    pub(crate) fn read_soon(&mut self) {
        (self.stale, self.read_at) = (true, None);
    }

    /// Reads anew if there is a reason; gives those who hold leases then.
    pub(crate) fn read(&mut self, conn: &Connection, now: Instant) -> rusqlite::Result<Option<Vec<i64>>> {
        if !self.stale || self.read_at.is_some_and(|at| now.duration_since(at) < READ_EVERY) {
            return Ok(None);
        }
        self.holders = recover::holders(conn)?;
        self.lease = recover::first_lease(conn, None)?;
        for holder in &self.holders {
            self.lease = self.lease.into_iter().chain(recover::first_lease(conn, Some(*holder))?).min();
        }
        let expiring = recover::next_expiring(conn)?;
        self.wall = recover::next_scheduled(conn)?.into_iter().chain(expiring).min();
        (self.stale, self.read_at) = (false, Some(now));
        Ok(Some(self.holders.clone()))
    }

    pub(crate) fn holders(&self) -> &[i64] {
        &self.holders
    }

    /// Whether there is something to see to; it is taken as seen to.
    pub(crate) fn is_due(&mut self, wall: i64, awake: i64, now: Instant) -> bool {
        let due = self.wall.is_some_and(|at| at <= wall) || self.lease.is_some_and(|at| at <= awake);
        if !due || self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        self.paused_until = Some(now + PAUSE);
        self.stale = true;
        true
    }

    /// How long nothing needs to be seen to, as far as is known.
    pub(crate) fn sleep(&self, wall: i64, awake: i64, now: Instant) -> Option<Duration> {
        let until = |at: i64, clock: i64| {
            let left = at.saturating_sub(clock).max(0).cast_unsigned();
            Duration::from_millis(left)
        };
        let wall = self.wall.map(|at| until(at, wall).min(WALL_EVERY));
        let lease = self.lease.map(|at| until(at, awake));
        let read = (self.stale).then(|| {
            self.read_at.map_or(Duration::ZERO, |at| READ_EVERY.saturating_sub(now.duration_since(at)))
        });
        let due = wall.into_iter().chain(lease).min();
        // What is due already waits for the pause to be over.
        let pause = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        due.map(|due| due.max(pause)).into_iter().chain(read).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;

    #[test]
    fn the_next_time_is_the_earliest_of_all_kinds_and_follows_a_clock_that_is_set() {
        let conn = log();
        conn.execute_batch(
            "INSERT INTO bus_requests (subject, ready, run_at) VALUES ('a', NULL, 5000);
             INSERT INTO bus_requests (subject, ready, expires_at) VALUES ('a', 1, 9000);
             INSERT INTO bus_requests (subject, ready, lease_peer, lease_until) VALUES ('a', NULL, 7, 400);",
        )
        .unwrap();
        let start = Instant::now();
        let mut timers = Timers::default();
        assert_eq!(timers.sleep(0, 0, start), Some(Duration::ZERO));
        assert_eq!(timers.read(&conn, start).unwrap(), Some(vec![7]));
        assert_eq!(timers.sleep(1_000, 100, start), Some(Duration::from_millis(300)));
        assert_eq!(timers.sleep(4_990, 100, start), Some(Duration::from_millis(10)));
        assert!(!timers.is_due(4_999, 399, start));
        assert!(timers.is_due(4_999, 400, start));
        // It is not asked for twice while it is being done.
        assert!(!timers.is_due(5_000, 400, start));
        assert!(timers.is_due(5_000 + 3_600_000, 0, start + PAUSE));
    }

    #[test]
    fn the_wall_clock_is_looked_at_every_minute_while_something_waits_for_it() {
        let conn = log();
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.read(&conn, start).unwrap();
        assert_eq!(timers.sleep(0, 0, start), None);
        let day = 24 * 3_600_000;
        conn.execute("INSERT INTO bus_requests (subject, ready, run_at) VALUES ('a', NULL, ?1)", [day])
            .unwrap();
        timers.changed();
        assert_eq!(timers.read(&conn, start).unwrap(), None);
        assert_eq!(timers.sleep(0, 0, start), Some(READ_EVERY));
        timers.read_soon();
        timers.read(&conn, start).unwrap();
        assert_eq!(timers.sleep(0, 0, start), Some(WALL_EVERY));
    }
}
