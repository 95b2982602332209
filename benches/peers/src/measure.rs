//! The loops of the works, the same for every system.

use std::time::{Duration, Instant};

use crate::payload::{Pauses, now, sent_at};
use crate::sample::{Report, quantile};
use crate::usage::Usage;

/// Deliveries before the first one that counts: statements are prepared, caches are filled.
pub const WARM_UP: usize = 20;

pub struct Meter {
    start: Instant,
    usage: Usage,
}

impl Meter {
    pub fn start() -> Self {
        Self { start: Instant::now(), usage: Usage::own() }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// `done` in all, and the delays of each in µs, where they were taken.
    pub fn stop(self, done: Option<usize>, mut delays_us: Vec<f64>) -> Report {
        let seconds = self.start.elapsed().as_secs_f64();
        let usage = Usage::own() - self.usage;
        Report {
            p50_us: quantile(&mut delays_us, 0.5),
            p99_us: quantile(&mut delays_us, 0.99),
            per_s: done.map(|done| done as f64 / seconds),
            seconds,
            usage,
        }
    }
}

/// One after another for that long.
pub fn repeat(time: Duration, mut act: impl FnMut()) -> Report {
    let (meter, mut delays) = (Meter::start(), Vec::new());
    while meter.elapsed() < time {
        let start = Instant::now();
        act();
        delays.push(micros(start));
    }
    meter.stop(Some(delays.len()), delays)
}

/// The same, where acting takes a runtime.
pub async fn repeat_async(time: Duration, mut act: impl AsyncFnMut()) -> Report {
    let (meter, mut delays) = (Meter::start(), Vec::new());
    while meter.elapsed() < time {
        let start = Instant::now();
        act().await;
        delays.push(micros(start));
    }
    meter.stop(Some(delays.len()), delays)
}

pub fn micros(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / 1e3
}

/// The sending side of a delivery: publishes with pauses what says when it was sent. Its delays are not those that count.
pub fn send(count: usize, mut publish: impl FnMut(u64)) -> Report {
    let (meter, mut pauses) = (Meter::start(), Pauses::new());
    for _ in 0..WARM_UP + count {
        pauses.pause();
        publish(now());
    }
    meter.stop(None, Vec::new())
}

/// The receiving side: from before each was published until it was here.
pub fn receive(count: usize, mut next: impl FnMut() -> u64) -> Report {
    let (meter, mut delays) = (Meter::start(), Vec::with_capacity(count));
    for at in 0..WARM_UP + count {
        let sent = next();
        let delay = (now() - sent) as f64 / 1e3;
        if at >= WARM_UP {
            delays.push(delay);
        }
    }
    meter.stop(None, delays)
}

/// The same for what delivers payloads.
pub fn receive_payloads(count: usize, mut next: impl FnMut() -> Vec<u8>) -> Report {
    receive(count, || sent_at(&next()))
}

/// Reads that many messages and counts their bytes, so that all of them are seen.
pub fn replay(count: usize, read: impl FnOnce() -> (usize, usize)) -> Report {
    let meter = Meter::start();
    assert_eq!(read(), (count, count * crate::payload::SIZE));
    meter.stop(Some(count), Vec::new())
}
