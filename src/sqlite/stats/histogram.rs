//! Histograms of powers of two: coarse, and cheap enough to be kept at each commit.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// 0, 1, 2 to 3, 4 to 7, … and all from 2^30 on.
const BUCKETS: usize = 32;

/// How many values were of about which size: a bucket for 0, and one for each power of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum: u64,
    max: u64,
}

impl Histogram {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value, exactly; 0 if there was none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, exactly; 0 if there was no value.
    pub fn mean(&self) -> f64 {
        let count = self.count();
        if count == 0 { 0.0 } else { self.sum as f64 / count as f64 }
    }

    /// A value that this share of the values, from 0 to 1, does not exceed: the upper end of a bucket, and so up to twice as
    /// large as the exact one. 0 if there was no value.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (upper, count) in self.buckets() {
            seen += count;
            if seen >= wanted {
                return upper.min(self.max);
            }
        }
        self.max
    }

    /// The largest value of each bucket, and how many values are in it; the last bucket has no end.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, count)| {
            let upper = if bucket + 1 == BUCKETS { u64::MAX } else { (1 << bucket) - 1 };
            (upper, *count)
        })
    }
}

impl fmt::Display for Histogram {
    /// The median, the 99th percentile and the maximum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {}, p99 {}, max {}", self.quantile(0.5), self.quantile(0.99), self.max)
    }
}

/// A histogram that many threads count in.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { counts, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

impl Recorder {
    pub(crate) fn record(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(count) = self.counts.get(bucket.min(BUCKETS - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        // A look is cheaper than an exchange, and nearly always enough.
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_their_power_of_two_and_quantiles_are_upper_ends() {
        let recorder = Recorder::default();
        assert_eq!((recorder.read().quantile(0.5), recorder.read().mean()), (0, 0.0));
        for value in [0, 1, 2, 3, 4, 7, 8, 1000, u64::MAX >> 8] {
            recorder.record(value);
        }
        let histogram = recorder.read();
        let buckets: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(buckets, [(0, 1), (1, 1), (3, 2), (7, 2), (15, 1), (1023, 1), (u64::MAX, 1)]);
        assert_eq!((histogram.count(), histogram.max()), (9, u64::MAX >> 8));
        assert_eq!((histogram.quantile(0.0), histogram.quantile(0.5), histogram.quantile(0.8)), (0, 7, 1023));
        assert_eq!(histogram.quantile(1.0), u64::MAX >> 8);
    }

    #[test]
    fn a_quantile_is_at_most_twice_the_exact_value_and_never_beyond_the_maximum() {
        let recorder = Recorder::default();
        (1..=1000).for_each(|value| recorder.record(value));
        let histogram = recorder.read();
        for percent in 1..=100_u64 {
            let found = histogram.quantile(percent as f64 / 100.0);
            assert!((percent * 10..percent * 20).contains(&found) || found == 1000, "{percent}: {found}");
        }
        assert_eq!((histogram.sum(), histogram.mean()), (500_500, 500.5));
    }
}
