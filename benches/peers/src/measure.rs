//! The loops of the works, the same for every system.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// That many tasks at once, until the time is over. Each is told by the flag when to stop, and gives its delays.
pub async fn at_once<F>(tasks: usize, time: Duration, task: impl Fn(Arc<AtomicBool>) -> F) -> Report
where
    F: Future<Output = Vec<f64>> + Send + 'static,
{
    let (meter, stop) = (Meter::start(), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..tasks).map(|_| tokio::spawn(task(Arc::clone(&stop)))).collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut delays = Vec::new();
    for task in tasks {
        delays.extend(task.await.unwrap());
    }
    meter.stop(Some(delays.len()), delays)
}

/// That many callers, each of which asks again when it has its reply.
pub async fn requests<F>(
    callers: usize,
    time: Duration,
    ask: impl Fn() -> F + Clone + Send + 'static,
) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    if callers == 1 {
        return repeat_async(time, async || ask().await).await;
    }
    let caller = |stop: Arc<AtomicBool>| {
        let ask = ask.clone();
        async move {
            let mut delays = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                ask().await;
                delays.push(micros(start));
            }
            delays
        }
    };
    at_once(callers, time, caller).await
}

/// Claims jobs and completes them until the time is over or none is left. `claim` gives how many it has done. There are
/// delays where it is one: nobody waits for a job of a batch.
pub fn claims(time: Duration, batch: usize, mut claim: impl FnMut() -> usize) -> Report {
    let (meter, mut done, mut delays) = (Meter::start(), 0, Vec::new());
    while meter.elapsed() < time {
        let start = Instant::now();
        let claimed = claim();
        if claimed == 0 {
            break;
        }
        done += claimed;
        if batch == 1 {
            delays.push(micros(start));
        }
    }
    meter.stop(Some(done), delays)
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
