//! How much is removed at once, and how long it rests in between: nobody who publishes is to notice.
//!
//! A batch holds the write lock, so a publish that comes meanwhile waits for its end. In an idle file batches are large and
//! follow each other closely. While others commit, there are few of them for each publish where publishing is quick, since
//! each holds up one; and short ones where it is slow, since what counts there is the share of the time that the lock is
//! held. Either way more is removed than comes in.

use std::time::{Duration, Instant};

/// What one transaction removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) rows: usize,
    pub(super) time: Duration,
}

const LARGE: Batch = Batch { rows: 500, time: Duration::from_millis(2) };
const SMALL: Batch = Batch { rows: 32, time: Duration::from_micros(200) };
/// Events a second from which batches are large again.
const QUICK: f64 = 10_000.0;
/// Rows a second that are removed at least.
const AT_LEAST: f64 = 1_500.0;
/// How much more is removed than comes in.
const MORE: f64 = 1.2;
/// How long after the last commit of others the file is idle.
const COMPANY: Duration = Duration::from_secs(2);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Pacing {
    /// A number that rises with each commit of others and each event.
    traffic: u64,
    looked: Instant,
    company_at: Option<Instant>,
    /// Events and commits a second.
    rate: f64,
}

impl Pacing {
    pub(super) fn new(traffic: u64, now: Instant) -> Self {
        Self { traffic, looked: now, company_at: None, rate: 0.0 }
    }

    pub(super) fn batch(&self, now: Instant) -> Batch {
        if self.has_company(now) && self.rate < QUICK { SMALL } else { LARGE }
    }

    /// How long to rest after a batch of so many rows.
    pub(super) fn rest(&mut self, traffic: u64, rows: usize, now: Instant) -> Duration {
        let took = now.duration_since(self.looked);
        let came = traffic.saturating_sub(self.traffic);
        if came > 0 {
            self.company_at = Some(now);
        }
        let seconds = took.as_secs_f64().max(1e-6);
        // One look says little where little comes.
        self.rate += (came as f64 / seconds - self.rate) * (seconds / 0.1).min(1.0);
        (self.traffic, self.looked) = (traffic, now);
        if !self.has_company(now) {
            return SHORTEST;
        }
        let pause = rows as f64 / (self.rate * MORE).max(AT_LEAST);
        Duration::from_secs_f64(pause).clamp(SHORTEST, LONGEST)
    }

    fn has_company(&self, now: Instant) -> bool {
        self.company_at.is_some_and(|at| now.duration_since(at) < COMPANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_an_idle_file_batches_are_large_and_follow_closely() {
        let start = Instant::now();
        let mut pacing = Pacing::new(7, start);
        assert_eq!(pacing.batch(start), LARGE);
        assert_eq!(pacing.rest(7, 500, start + LARGE.time), SHORTEST);
    }

    #[test]
    fn beside_a_slow_publisher_they_are_short_and_remove_more_than_comes() {
        let mut now = Instant::now();
        let mut pacing = Pacing::new(0, now);
        let (mut came, mut removed, start) = (0.0, 0, now);
        for _ in 0..1000 {
            let batch = pacing.batch(now);
            removed += batch.rows;
            now += batch.time;
            came = now.duration_since(start).as_secs_f64() * 2_000.0;
            now += pacing.rest(came as u64, batch.rows, now);
        }
        assert_eq!(pacing.batch(now), SMALL);
        assert!(removed as f64 > came * 1.05, "{removed} {came}");
        assert_eq!(pacing.batch(now + COMPANY * 2), LARGE);
    }

    #[test]
    fn beside_a_quick_publisher_few_publishes_meet_a_batch() {
        let mut now = Instant::now();
        let (mut pacing, start, mut batches, mut came) = (Pacing::new(0, now), now, 0, 0.0);
        for _ in 0..1000 {
            batches += 1;
            let batch = pacing.batch(now);
            now += batch.time;
            came = now.duration_since(start).as_secs_f64() * 40_000.0;
            now += pacing.rest(came as u64, batch.rows, now);
        }
        assert!(f64::from(batches) < came / 100.0, "{batches} {came}");
    }
}
