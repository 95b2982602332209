//! Pauses before something is tried again.

use std::time::Duration;

use crate::defaults::{BRIDGE_PAUSE, BRIDGE_PAUSE_MAX};

/// Longer each time, until something has gone well.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    tries: u32,
}

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        let pause = BRIDGE_PAUSE.saturating_mul(1 << self.tries.min(16)).min(BRIDGE_PAUSE_MAX);
        self.tries = self.tries.saturating_add(1);
        pause
    }

    pub(super) fn over(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_bound_and_begins_anew_when_something_went_well() {
        let mut pauses = Pauses::default();
        assert_eq!((pauses.next(), pauses.next()), (BRIDGE_PAUSE, 2 * BRIDGE_PAUSE));
        let last = std::iter::repeat_with(|| pauses.next()).take(100).last();
        assert_eq!(last, Some(BRIDGE_PAUSE_MAX));
        pauses.over();
        assert_eq!(pauses.next(), BRIDGE_PAUSE);
    }
}
