//! How many events a member takes at a time: few where handling them takes long, so that others have their share, and many
//! where they are handled quickly.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Pacing {
    want: usize,
    last: Option<Instant>,
}

const MOST: usize = 256;
/// What was handled within this time might have been more.
const QUICK: Duration = Duration::from_millis(20);
/// What took longer than this was too much to hold.
const SLOW: Duration = Duration::from_millis(200);

impl Pacing {
    pub(super) fn new() -> Self {
        Self { want: 1, last: None }
    }

    pub(super) fn want(&self) -> usize {
        self.want
    }

    /// So many were taken now: those of before are handled.
    pub(super) fn took(&mut self, taken: usize, now: Instant) {
        let since = self.last.map(|last| now.duration_since(last));
        if taken == 0 {
            // A wait is no sign of either.
            self.last = None;
            return;
        }
        if since.is_some_and(|since| since <= QUICK) {
            self.want = (self.want * 2).min(MOST);
        } else if since.is_some_and(|since| since >= SLOW) {
            self.want = (self.want / 2).max(1);
        }
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_quick_takes_many_and_who_is_slow_takes_one() {
        let (mut pacing, start) = (Pacing::new(), Instant::now());
        for at in 0..20 {
            pacing.took(1, start + at * QUICK);
        }
        assert_eq!(pacing.want(), MOST);
        for at in 1..20 {
            pacing.took(1, start + at * SLOW + Duration::from_secs(10));
        }
        assert_eq!(pacing.want(), 1);
    }

    #[test]
    fn a_wait_for_something_to_take_is_not_slowness() {
        let (mut pacing, start) = (Pacing::new(), Instant::now());
        pacing.took(1, start);
        pacing.took(1, start);
        pacing.took(0, start);
        pacing.took(1, start + 10 * SLOW);
        assert_eq!(pacing.want(), 2);
    }
}
