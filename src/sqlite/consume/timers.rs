//! When there is next something to do for consumers that nobody rings for: what comes again, leases that end, peers that die.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::sqlite::tables::deliveries::{self, Holder};

/// How long what was read counts, though something has changed.
const READ_EVERY: Duration = Duration::from_millis(50);
/// The wall clock is looked at so often while something waits for it: machines sleep, and clocks are set.
const WALL_EVERY: Duration = Duration::from_secs(60);
/// After something was seen to, before it is again.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Timers {
    /// Consumers that have something waiting, and when the first of it is due, in Unix milliseconds.
    due: Vec<(i64, i64)>,
    holders: Vec<Holder>,
    /// Something may be other than it was read.
    stale: bool,
    read_at: Option<Instant>,
    /// Leases are not to be seen to again before.
    paused_until: Option<Instant>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { due: Vec::new(), holders: Vec::new(), stale: true, read_at: None, paused_until: None }
    }
}

impl Timers {
    /// Something has changed.
    pub(super) fn changed(&mut self) {
        self.stale = true;
    }

    /// Something has changed that concerns them for certain.
    pub(super) fn read_soon(&mut self) {
        (self.stale, self.read_at) = (true, None);
    }

    /// Reads anew if there is a reason; whether it did.
    pub(super) fn read(&mut self, conn: &Connection, now: Instant) -> rusqlite::Result<bool> {
        if !self.stale || self.read_at.is_some_and(|at| now.duration_since(at) < READ_EVERY) {
            return Ok(false);
        }
        self.holders = deliveries::holders(conn)?;
        self.due = deliveries::next_due(conn)?;
        (self.stale, self.read_at) = (false, Some(now));
        Ok(true)
    }

    /// The peers that hold deliveries.
    pub(super) fn holders(&self) -> impl Iterator<Item = i64> {
        self.holders.iter().map(|holder| holder.peer)
    }

    /// Consumers with something that is due; each is told of once, until it is read anew.
    pub(super) fn take_due(&mut self, wall: i64) -> Vec<i64> {
        let due: Vec<i64> = self.due.iter().filter(|(_, at)| *at <= wall).map(|(id, _)| *id).collect();
        self.due.retain(|(_, at)| *at > wall);
        due
    }

    /// Whether a lease has ended; it is taken as seen to.
    pub(super) fn is_over(&mut self, awake: i64, now: Instant) -> bool {
        let over = self.holders.iter().any(|holder| holder.first_until <= awake);
        if !over || self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        self.paused_until = Some(now + PAUSE);
        self.stale = true;
        true
    }

    /// How long nothing needs to be seen to, as far as is known.
    pub(super) fn sleep(&self, wall: i64, awake: i64, now: Instant) -> Option<Duration> {
        let until =
            |at: i64, clock: i64| Duration::from_millis(at.saturating_sub(clock).max(0).cast_unsigned());
        let due = self.due.iter().map(|(_, at)| until(*at, wall).min(WALL_EVERY)).min();
        let pause = self.paused_until.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let lease = self.holders.iter().map(|holder| until(holder.first_until, awake).max(pause)).min();
        let read = self.stale.then(|| {
            self.read_at.map_or(Duration::ZERO, |at| READ_EVERY.saturating_sub(now.duration_since(at)))
        });
        due.into_iter().chain(lease).chain(read).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;

    #[test]
    fn what_is_due_is_told_of_once_until_something_changes() {
        let conn = log();
        deliveries::wait(&conn, (3, 1), 1, 5_000).unwrap();
        deliveries::lease(&conn, (3, 2), 7, 400).unwrap();
        let start = Instant::now();
        let mut timers = Timers::default();
        assert_eq!(timers.sleep(0, 0, start), Some(Duration::ZERO));
        assert!(timers.read(&conn, start).unwrap() && !timers.read(&conn, start).unwrap());
        assert_eq!(timers.sleep(4_900, 0, start), Some(Duration::from_millis(100)));
        assert_eq!(timers.sleep(0, 350, start), Some(Duration::from_millis(50)));
        assert!(timers.take_due(4_999).is_empty());
        assert_eq!(timers.take_due(5_000), [3]);
        assert!(timers.take_due(5_000).is_empty());
        assert!(!timers.is_over(399, start) && timers.is_over(400, start));
        // It is not asked for twice while it is being done.
        assert!(!timers.is_over(400, start) && timers.is_over(400, start + PAUSE));
        assert_eq!(timers.holders().collect::<Vec<_>>(), [7]);
        timers.read_soon();
        timers.read(&conn, start).unwrap();
        assert_eq!(timers.take_due(5_000), [3]);
    }
}
