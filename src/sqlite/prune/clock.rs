//! The clock by which age is judged: the wall clock, unless that has jumped ahead.
//!
//! A wall clock that is wrong for a minute must not empty a log. So a step ahead by more than an hour beyond the time that has
//! passed, the machine's sleep included, is not taken at once: this clock goes on from where it was, 144 times as fast as
//! time passes (a day in 10 minutes), until it has caught up. It is never ahead of the wall clock, so a step back is taken at
//! once, and removes nothing early.

use crate::clock::Clock;
use crate::defaults::CLOCK_JUMP;
use crate::retry::millis;

/// How much faster it goes while it catches up.
const FASTER: i64 = 144;
/// What may have passed while nobody looked and nothing tells how long it was, since the machine was started anew.
const UNKNOWN: i64 = 24 * 3600 * 1000;

/// What was seen when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetentionClock {
    /// What it said, in Unix milliseconds.
    now: i64,
    wall: i64,
    /// Since the machine was started, and which start that was.
    boot: i64,
    boot_id: String,
    /// It was warned of a jump that it has not caught up with.
    warned: bool,
}

impl RetentionClock {
    /// As the file has it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let mut number = || words.next()?.parse().ok();
        let (now, wall, boot) = (number()?, number()?, number()?);
        Some(Self { now, wall, boot, boot_id: words.next()?.to_owned(), warned: false })
    }

    pub(crate) fn written(&self) -> String {
        format!("{} {} {} {}", self.now, self.wall, self.boot, self.boot_id)
    }

    /// Of a file in which nobody has looked at it: no later than its newest event, as far as is known.
    pub(crate) fn of_newest(created_at: Option<i64>, clock: &dyn Clock) -> Self {
        let wall = clock.unix_millis();
        let now = created_at.map_or(wall, |created_at| created_at.min(wall));
        Self { now, wall: now, boot: 0, boot_id: String::new(), warned: false }
    }

    /// Looks at the clocks, and says what time it is.
    pub(crate) fn look(&mut self, clock: &dyn Clock, boot_id: &str) -> i64 {
        let (wall, boot) = (clock.unix_millis(), clock.boot_millis());
        let passed = if self.boot_id == boot_id { Some(boot.saturating_sub(self.boot).max(0)) } else { None };
        let behind = wall.saturating_sub(self.now);
        // Since the machine was started anew, at least as much has passed as it has run, and a day is believed at once.
        let expected = passed.map_or(UNKNOWN.max(boot), |passed| passed.saturating_add(millis(CLOCK_JUMP)));
        // It was behind before: it has been catching up, whatever the wall clock did since.
        let was_behind = self.wall > self.now;
        let jumped = behind > expected;
        if jumped && !was_behind && !self.warned && passed.is_some() {
            tracing::warn!(
                ahead_millis = behind.saturating_sub(passed.unwrap_or(0)),
                "the wall clock is ahead of the time that has passed; events are not removed for their age at once"
            );
            self.warned = true;
        }
        self.now = if jumped || (was_behind && behind > 0) {
            let faster = if was_behind { FASTER } else { 1 };
            let passed = passed.map_or(expected, |passed| passed.saturating_mul(faster));
            self.now.saturating_add(passed).min(wall)
        } else {
            wall
        };
        if self.now >= wall {
            self.warned = false;
        }
        (self.wall, self.boot) = (wall, boot);
        if self.boot_id != boot_id {
            boot_id.clone_into(&mut self.boot_id);
        }
        self.now
    }

    /// When it was last looked at, by the wall clock.
    pub(crate) fn looked_at(&self) -> i64 {
        self.wall
    }

    /// How far it is behind the wall clock, in milliseconds.
    pub(crate) fn behind(&self) -> u64 {
        self.wall.saturating_sub(self.now).max(0).cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const HOUR: i64 = 3600 * 1000;
    const DAY: i64 = 24 * HOUR;

    #[derive(Debug, Default)]
    struct Set(Mutex<(i64, i64)>);

    impl Clock for Set {
        fn unix_millis(&self) -> i64 {
            self.0.lock().unwrap().0
        }
        fn boot_millis(&self) -> i64 {
            self.0.lock().unwrap().1
        }
    }

    fn started(wall: i64) -> (RetentionClock, Set) {
        let set = Set(Mutex::new((wall, 5)));
        let mut clock = RetentionClock::of_newest(None, &set);
        assert_eq!(clock.look(&set, "a"), wall);
        (clock, set)
    }

    #[test]
    fn it_follows_the_wall_clock_through_a_night_with_the_lid_closed() {
        let (mut clock, set) = started(1000 * DAY);
        for _ in 0..3 {
            *set.0.lock().unwrap() = (clock.wall + 9 * HOUR, clock.boot + 9 * HOUR);
            assert_eq!(clock.look(&set, "a"), clock.wall);
        }
        assert_eq!(clock.behind(), 0);
    }

    #[test]
    fn a_jump_ahead_is_caught_up_with_a_day_in_ten_minutes() {
        let (mut clock, set) = started(1000 * DAY);
        set.0.lock().unwrap().0 += 10 * DAY;
        assert_eq!(clock.look(&set, "a"), 1000 * DAY);
        let mut looks = 0;
        while clock.behind() > 0 {
            looks += 1;
            let before = clock.now;
            let mut set_to = set.0.lock().unwrap();
            (set_to.0, set_to.1) = (set_to.0 + HOUR / 6, set_to.1 + HOUR / 6);
            drop(set_to);
            assert!(clock.look(&set, "a") - before <= DAY);
        }
        assert_eq!(looks, 11, "the time that passes meanwhile is caught up with as well");
    }

    #[test]
    fn a_jump_that_is_put_right_soon_has_changed_nothing() {
        let (mut clock, set) = started(1000 * DAY);
        set.0.lock().unwrap().0 += 9000 * DAY;
        clock.look(&set, "a");
        *set.0.lock().unwrap() = (1000 * DAY + 60_000, 5 + 60_000);
        assert_eq!(clock.look(&set, "a"), 1000 * DAY + 60_000);
    }

    #[test]
    fn a_step_back_is_taken_at_once_and_the_step_forward_again_is_a_jump() {
        let (mut clock, set) = started(1000 * DAY);
        set.0.lock().unwrap().0 -= 500 * DAY;
        assert_eq!(clock.look(&set, "a"), 500 * DAY);
        set.0.lock().unwrap().0 += 500 * DAY;
        assert_eq!(clock.look(&set, "a"), 500 * DAY);
    }

    #[test]
    fn after_a_restart_of_the_machine_up_to_a_day_is_believed() {
        let (mut clock, set) = started(1000 * DAY);
        *set.0.lock().unwrap() = (1001 * DAY, 1);
        assert_eq!(clock.look(&set, "b"), 1001 * DAY);
        *set.0.lock().unwrap() = (1009 * DAY, 1);
        assert_eq!(clock.look(&set, "c"), 1002 * DAY, "of eight days one is");
        set.0.lock().unwrap().1 += HOUR / 6;
        assert_eq!(clock.look(&set, "c"), 1003 * DAY);
        // A machine that runs for a few minutes each week: it catches up by a day each time, and more while it runs.
        *set.0.lock().unwrap() = (1009 * DAY + HOUR, 1);
        assert_eq!(clock.look(&set, "d"), 1004 * DAY);
    }

    #[test]
    fn it_is_read_as_it_was_written_and_rubbish_is_not() {
        let (clock, _) = started(7);
        assert_eq!(RetentionClock::read(&clock.written()), Some(clock));
        for rubbish in ["", "1 2", "a b c d", "1 2 3"] {
            assert_eq!(RetentionClock::read(rubbish), None);
        }
    }
}
