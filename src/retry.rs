//! When a job that failed is tried again.

use std::time::Duration;

#[cfg(feature = "async")]
use crate::defaults::BACKOFF_JITTER_PERCENT;
use crate::defaults::{BACKOFF, BACKOFF_MAX};

/// The time between two attempts of a job.
///
/// ```
/// use std::time::Duration;
/// use rowbus::{Backoff, Job};
///
/// let patient = Job::new("mail.send", "").backoff(Backoff::exponential(Duration::from_secs(5), Duration::from_secs(600)));
/// let steady = Job::new("feed.poll", "").backoff(Backoff::fixed(Duration::from_secs(60)));
/// assert!(patient.into_parts().is_ok() && steady.into_parts().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Doubled after each attempt, from `first` up to `longest`, and varied by 20 % either way.
    pub fn exponential(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first) }
    }

    /// The same after each attempt, but for the variation of 20 %.
    pub fn fixed(pause: Duration) -> Self {
        Self { first: pause, longest: pause }
    }

    /// As a file can keep it.
    #[cfg(feature = "async")]
    pub(crate) fn in_millis(self) -> Self {
        let whole = |millis: i64| Duration::from_millis(millis.max(0).cast_unsigned());
        Self { first: whole(self.first_millis()), longest: whole(self.longest_millis()) }
    }

    /// The pause after the first attempt, in milliseconds.
    pub fn first_millis(&self) -> i64 {
        millis(self.first)
    }

    /// The longest pause, in milliseconds.
    pub fn longest_millis(&self) -> i64 {
        millis(self.longest)
    }
}

impl Default for Backoff {
    /// 1 s, doubled up to 1 h.
    fn default() -> Self {
        Self { first: BACKOFF, longest: BACKOFF_MAX }
    }
}

/// A duration as the file has it.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds from the failure of this attempt (from 1) to the next; `chance` is any number, and varies it.
#[cfg(feature = "async")]
pub(crate) fn pause(first: i64, longest: i64, attempt: i64, chance: u64) -> i64 {
    let doublings = u32::try_from(attempt.saturating_sub(1).clamp(0, 62)).unwrap_or(62);
    let longest = longest.max(0);
    let pause = first.max(0).checked_mul(1_i64 << doublings).unwrap_or(i64::MAX).min(longest);
    let most = 100 + BACKOFF_JITTER_PERCENT;
    let percent = (100 - BACKOFF_JITTER_PERCENT) + chance % (2 * BACKOFF_JITTER_PERCENT + 1);
    debug_assert!(percent <= most);
    let percent = percent.cast_signed();
    (pause / 100).saturating_mul(percent).saturating_add((pause % 100) * percent / 100)
}

#[cfg(all(test, feature = "async"))]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let steady = |attempt| pause(1_000, 3_600_000, attempt, 20);
        assert_eq!([1, 2, 3, 4].map(steady), [1_000, 2_000, 4_000, 8_000]);
        assert_eq!([12, 13, 100, i64::MAX].map(steady), [2_048_000, 3_600_000, 3_600_000, 3_600_000]);
    }

    #[test]
    fn pauses_vary_by_a_fifth_either_way() {
        let pauses: Vec<_> = (0..1_000).map(|chance| pause(1_000, 1_000, 1, chance)).collect();
        assert_eq!((pauses.iter().min(), pauses.iter().max()), (Some(&800), Some(&1_200)));
    }

    #[test]
    fn rubbish_in_a_row_is_no_overflow() {
        for (first, longest) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (5, i64::MIN), (0, 0)] {
            for attempt in [i64::MIN, 0, 1, 64, i64::MAX] {
                assert!(pause(first, longest, attempt, 40) >= 0);
            }
        }
    }
}
