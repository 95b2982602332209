//! How often to look: often while something happens, seldom when nothing does.

use std::time::{Duration, Instant};

/// The time to sleep between looks at the floor.
#[derive(Debug)]
pub(crate) struct Pace {
    active_until: Option<Instant>,
    sleep: Duration,
}

/// Between looks while active: with the time of a look and of waking up, another process's commit is seen within 5 ms.
const ACTIVE: Duration = Duration::from_millis(2);
/// Between looks when idle: four a second.
const IDLE: Duration = Duration::from_millis(250);
/// How long after the last commit a file counts as active.
const ACTIVE_FOR: Duration = Duration::from_secs(2);

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { active_until: Some(now + ACTIVE_FOR), sleep: ACTIVE }
    }

    /// Something was committed.
    pub(crate) fn busy(&mut self, now: Instant) {
        self.active_until = Some(now + ACTIVE_FOR);
        self.sleep = ACTIVE;
    }

    /// How long to sleep after a look that found nothing.
    pub(crate) fn sleep(&mut self, now: Instant) -> Duration {
        if self.active_until.is_some_and(|until| now < until) {
            return ACTIVE;
        }
        self.active_until = None;
        self.sleep = (self.sleep * 2).min(IDLE);
        self.sleep
    }

    /// Whether looks have become as seldom as they get.
    pub(crate) fn is_idle(&self) -> bool {
        self.sleep == IDLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_frequent_while_active_and_four_a_second_when_idle() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.sleep(start), ACTIVE);
        assert_eq!(pace.sleep(start + ACTIVE_FOR / 2), ACTIVE);
        let late = start + ACTIVE_FOR;
        let sleeps: Vec<_> = (0..9).map(|_| pace.sleep(late)).collect();
        assert!(sleeps.is_sorted() && sleeps.last() == Some(&IDLE) && pace.is_idle());
        pace.busy(late);
        assert!(!pace.is_idle());
        assert_eq!(pace.sleep(late), ACTIVE);
    }
}
