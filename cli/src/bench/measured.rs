//! What a benchmark has found.

use std::time::Duration;

use crate::bench::histogram::Histogram;
use crate::bench::percentiles::Percentiles;

/// What one side has done. What is not measured of a work is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// How long all of it took, where that tells a throughput.
    pub(crate) elapsed: Option<Duration>,
    pub(crate) latency: Option<Times>,
}

/// How long each message took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) percentiles: Percentiles,
    pub(crate) histogram: Histogram,
}

impl Measured {
    pub(crate) fn of(elapsed: Option<Duration>, mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        let histogram = Histogram::of(&nanos);
        let latency = Percentiles::of(nanos).map(|percentiles| Times { percentiles, histogram });
        Self { elapsed, latency }
    }

    /// How fast this is by that measure: 1 as fast, 2 twice as fast. By the throughput where there is one, else by half of the
    /// times.
    pub(crate) fn ratio(&self, other: &Self) -> Option<f64> {
        let seconds = |measured: &Self| measured.elapsed.map(|elapsed| elapsed.as_secs_f64());
        let half = |measured: &Self| measured.latency.as_ref().map(|times| times.percentiles.p50 as f64);
        let (own, others) = seconds(self).zip(seconds(other)).or_else(|| half(self).zip(half(other)))?;
        // A clock that did not move between two readings must not make an infinite number of it.
        Some(others.max(1e-9) / own.max(1e-9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quicker_one_has_the_higher_ratio() {
        let seconds = |seconds| Measured::of(Some(Duration::from_secs(seconds)), vec![5]);
        assert_eq!(seconds(1).ratio(&seconds(2)), Some(2.0));
        let half = |nanos| Measured::of(None, vec![nanos]);
        assert_eq!(half(400).ratio(&half(100)), Some(0.25));
        assert_eq!(half(0).ratio(&half(0)), Some(1.0));
        assert_eq!(Measured::default().ratio(&half(1)), None);
    }
}
