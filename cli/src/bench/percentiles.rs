//! What half, most and nearly all of the measured times stay within.

/// Percentiles of times, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    /// By the nearest rank: each is a time that was measured. `None` of nothing.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let rank = |percent: usize| {
            let rank = (nanos.len() * percent).div_ceil(100);
            nanos.get(rank.checked_sub(1)?).copied()
        };
        Some(Self { p50: rank(50)?, p90: rank(90)?, p99: rank(99)?, max: rank(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_the_smallest_time_that_so_many_stay_within() {
        let hundred = Percentiles::of((1..=100).rev().collect());
        assert_eq!(hundred, Some(Percentiles { p50: 50, p90: 90, p99: 99, max: 100 }));
        let three = Percentiles::of(vec![30, 10, 20]);
        assert_eq!(three, Some(Percentiles { p50: 20, p90: 30, p99: 30, max: 30 }));
        assert_eq!(Percentiles::of(vec![7]), Some(Percentiles { p50: 7, p90: 7, p99: 7, max: 7 }));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }
}
