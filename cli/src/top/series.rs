//! What was measured tick by tick.

use std::collections::VecDeque;

/// Ticks that are remembered: as many as the widest terminal has columns to show them.
const TICKS: usize = 400;

/// The newest values of a number that is measured at each tick.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<f64>);

impl Series {
    pub(super) fn push(&mut self, value: f64) {
        if self.0.len() == TICKS {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest value; 0 if there is none.
    pub(super) fn last(&self) -> f64 {
        self.0.back().copied().unwrap_or_default()
    }

    /// The newest so many, the oldest of them first.
    pub(super) fn tail(&self, ticks: usize) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.0.range(self.0.len().saturating_sub(ticks)..).copied()
    }

    /// The mean of the newest so many; 0 if there is none.
    pub(super) fn mean(&self, ticks: usize) -> f64 {
        let tail = self.tail(ticks);
        let count = tail.len().max(1);
        tail.sum::<f64>() / count as f64
    }

    /// The largest that is remembered.
    pub(super) fn peak(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_oldest_go() {
        let mut series = Series::default();
        assert_eq!((series.last(), series.mean(3), series.peak()), (0.0, 0.0, 0.0));
        for value in 0..=TICKS {
            series.push(value as f64);
        }
        assert_eq!(series.tail(usize::MAX).next(), Some(1.0));
        assert_eq!(series.tail(2).collect::<Vec<_>>(), [TICKS as f64 - 1.0, TICKS as f64]);
        assert_eq!(series.mean(3), TICKS as f64 - 1.0);
    }
}
