//! How often to look: often while something happens, seldom when nothing does.

use std::time::{Duration, Instant};

/// The time to sleep between looks at the floor.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When there last was something for a stream of this process.
    concerned: Option<Instant>,
    /// When somebody last committed.
    committed: Instant,
    sleep: Duration,
    floor: bool,
}

/// Between looks while active: with the time of a look and of waking up, another process's commit is seen within 5 ms.
const ACTIVE: Duration = Duration::from_millis(2);
/// Between looks while others are active whom nobody here listens to: they ring when that changes, and plain SQL clients
/// are still seen within 20 ms.
const UNCONCERNED: Duration = Duration::from_millis(15);
/// Between looks when idle: four a second.
const IDLE: Duration = Duration::from_millis(250);
/// How long after the last commit a file counts as active.
const ACTIVE_FOR: Duration = Duration::from_secs(2);
/// For a test of the doorbell, which the floor would pass in its place.
const NEVER: Duration = Duration::from_secs(3600);

impl Pace {
    /// `floor`: whether to look at all without having been told.
    pub(crate) fn new(now: Instant, floor: bool) -> Self {
        Self { concerned: None, committed: now, sleep: ACTIVE, floor }
    }

    /// Something was committed, and it was for a stream of this process or not.
    pub(crate) fn heard(&mut self, now: Instant, concerned: bool) {
        self.committed = now;
        if concerned {
            self.concerned = Some(now);
        }
        self.sleep = ACTIVE;
    }

    /// How long to sleep after a look that found nothing. Only where others ring may it be long in spite of commits.
    pub(crate) fn sleep(&mut self, now: Instant, others_ring: bool) -> Duration {
        let within = |since: Instant| now.duration_since(since) < ACTIVE_FOR;
        let (concerned, committed) = (self.concerned.is_some_and(within), within(self.committed));
        self.sleep = if !self.floor {
            NEVER
        } else if concerned || (committed && !others_ring) {
            ACTIVE
        } else if committed {
            UNCONCERNED
        } else {
            (self.sleep * 2).clamp(UNCONCERNED, IDLE)
        };
        self.sleep
    }

    /// Whether nothing has happened for a while.
    pub(crate) fn is_idle(&self) -> bool {
        self.sleep > UNCONCERNED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_frequent_while_active_and_four_a_second_when_idle() {
        let start = Instant::now();
        let mut pace = Pace::new(start, true);
        assert_eq!((pace.sleep(start, true), pace.sleep(start, false)), (UNCONCERNED, ACTIVE));
        pace.heard(start, true);
        assert_eq!(pace.sleep(start + ACTIVE_FOR / 2, true), ACTIVE);
        let late = start + ACTIVE_FOR;
        let sleeps: Vec<_> = (0..9).map(|_| pace.sleep(late, true)).collect();
        assert!(sleeps.is_sorted() && sleeps.last() == Some(&IDLE) && pace.is_idle());
        pace.heard(late, true);
        assert!(!pace.is_idle());
        assert_eq!(pace.sleep(late, true), ACTIVE);
    }

    #[test]
    fn commits_that_concern_nobody_here_are_looked_for_seldom_if_their_writers_ring() {
        let start = Instant::now();
        let mut pace = Pace::new(start, true);
        let late = start + ACTIVE_FOR;
        pace.heard(late, false);
        assert_eq!(pace.sleep(late, true), UNCONCERNED);
        assert_eq!(pace.sleep(late, false), ACTIVE);
    }
}
