//! The same work on a bus.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rowbus::{
    Call, Durability, DurableExt, Job, MessengerExt, Publish, Serve, SqliteBus, StartAt, Subject, Subscribe,
};
use rowbus::{Messenger, Subscription, handler_fn};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::{PAYLOAD, SUBJECT, median};

struct Bench {
    runtime: Runtime,
    bus: SqliteBus,
    subject: Subject,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(durability: Durability) -> Self {
        let folder = tempfile::tempdir_in("target").unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let builder = SqliteBus::builder(folder.path().join("bus.db")).durability(durability);
        let bus = runtime.block_on(builder.open()).unwrap();
        Self { runtime, bus, subject: Subject::new(SUBJECT).unwrap(), _folder: folder }
    }
}

pub fn alone(durability: Durability, time: Duration) -> f64 {
    let bench = Bench::new(durability);
    bench.runtime.block_on(async {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < time {
            bench.bus.publish(&bench.subject, &PAYLOAD[..]).await.unwrap();
            done += 1;
        }
        done as f64 / start.elapsed().as_secs_f64()
    })
}

/// The same in a task, on a worker of the runtime.
pub fn alone_in_a_task(durability: Durability, time: Duration) -> f64 {
    waiting(1, durability, time)
}

/// That many tasks, each publishing one after another.
pub fn waiting(tasks: usize, durability: Durability, time: Duration) -> f64 {
    let bench = Bench::new(durability);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    bench.runtime.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let (bus, subject) = (bench.bus.clone(), bench.subject.clone());
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        bus.publish(&subject, &PAYLOAD[..]).await.unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        tokio::time::sleep(time).await;
        let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        join_all(tasks).await;
        rate
    })
}

/// That many futures at once in one task, again and again.
pub fn joined(futures: usize, durability: Durability, time: Duration) -> f64 {
    let bench = Bench::new(durability);
    bench.runtime.block_on(async {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < time {
            let round = (0..futures).map(|_| bench.bus.publish(&bench.subject, &PAYLOAD[..]));
            join_all(round).await.into_iter().for_each(|ack| assert!(ack.is_ok()));
            done += futures;
        }
        done as f64 / start.elapsed().as_secs_f64()
    })
}

pub fn batches(size: usize, durability: Durability, time: Duration) -> f64 {
    let bench = Bench::new(durability);
    bench.runtime.block_on(async {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < time {
            let batch = (0..size).map(|_| Publish::new(&bench.subject, &PAYLOAD[..]));
            bench.bus.publish_all(batch).await.unwrap();
            done += size;
        }
        done as f64 / start.elapsed().as_secs_f64()
    })
}

pub fn replay(count: usize) -> f64 {
    let bench = Bench::new(Durability::Relaxed);
    bench.runtime.block_on(async {
        for _ in 0..count / 500 {
            let batch = (0..500).map(|_| Publish::new(&bench.subject, &PAYLOAD[..]));
            bench.bus.publish_all(batch).await.unwrap();
        }
        let start = Instant::now();
        let mut stream = from_oldest(&bench.bus).await;
        let mut bytes = 0;
        for _ in 0..count / 500 * 500 {
            let message = stream.next().await.unwrap().unwrap();
            bytes += message.subject().len() + message.payload().len();
        }
        assert_eq!(bytes, count / 500 * 500 * (SUBJECT.len() + PAYLOAD.len()));
        count as f64 / start.elapsed().as_secs_f64()
    })
}

async fn from_oldest(bus: &SqliteBus) -> Subscription {
    bus.subscribe(Subscribe::to("bench.>").from(StartAt::Oldest)).await.unwrap()
}

/// Jobs, of which so many wait at the beginning of each measurement.
pub struct Backlog {
    bench: Bench,
    waiting: usize,
    missing: Cell<usize>,
}

impl Backlog {
    pub fn new(waiting: usize, durability: Durability) -> Self {
        Self { bench: Bench::new(durability), waiting, missing: Cell::new(waiting) }
    }

    /// Claimed and completed a second, at most that many at a time, until the time is over or none is left.
    pub fn claims(&self, batch: usize, time: Duration) -> f64 {
        self.bench.runtime.block_on(async {
            self.fill().await;
            let (done, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let handler = {
                let (done, gone, waiting) = (Arc::clone(&done), Arc::clone(&gone), self.waiting);
                handler_fn(move |call: Call| {
                    assert_eq!(call.payload().len(), PAYLOAD.len());
                    if done.fetch_add(1, Ordering::Relaxed) + 1 == waiting {
                        gone.notify_one();
                    }
                    async { Ok(()) }
                })
            };
            let start = Instant::now();
            let serve = Serve::on(SUBJECT).concurrency(batch);
            let service = self.bench.bus.serve_with(serve, Arc::new(handler)).await.unwrap();
            let _ = tokio::time::timeout(time, gone.notified()).await;
            // Afterwards all that was begun is written down.
            service.stop().await.unwrap();
            let done = done.load(Ordering::Relaxed);
            self.missing.set(done);
            done as f64 / start.elapsed().as_secs_f64()
        })
    }

    async fn fill(&self) {
        while self.missing.get() > 0 {
            let some = self.missing.get().min(500);
            let jobs = (0..some).map(|_| Job::new(&self.bench.subject, &PAYLOAD[..]).relaxed());
            self.bench.bus.enqueue_all(jobs).await.unwrap();
            self.missing.set(self.missing.get() - some);
        }
    }
}

/// What a reader that never reads costs the publishers and the other readers.
pub fn slow_reader(time: Duration) {
    let (mut publish, mut deliver) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let stuck = round % 2 == 1;
        let (publishers, readers) = latencies(stuck, time);
        println!(
            "a reader that never reads: {:<3}   publish p99 {publishers:>7.1} µs   delivery to another p99 {readers:>7.1} µs",
            if stuck { "yes" } else { "no" }
        );
        publish.push((stuck, publishers));
        deliver.push((stuck, readers));
    }
    for (what, values) in [("publish", publish), ("delivery", deliver)] {
        let of = |wanted| {
            median(
                &mut values
                    .iter()
                    .filter(|(stuck, _)| *stuck == wanted)
                    .map(|(_, p99)| *p99)
                    .collect::<Vec<_>>(),
            )
        };
        println!("{what} p99 with the stuck reader / without: {:.2}", of(true) / of(false));
    }
}

/// p99 in µs of publishing, and of the time from before a publish to its delivery, while one publisher publishes one after another.
fn latencies(stuck: bool, time: Duration) -> (f64, f64) {
    let bench = Bench::new(Durability::Relaxed);
    bench.runtime.block_on(async {
        let bus = &bench.bus;
        let _never_read = if stuck { Some(bus.stream("bench.>").await.unwrap()) } else { None };
        let mut reader = bus.stream("bench.>").await.unwrap();
        let origin = Instant::now();
        let reading = tokio::spawn(async move {
            let mut delays = Vec::new();
            while let Some(message) = reader.next().await {
                let message = message.unwrap();
                let sent = u64::from_le_bytes(message.payload()[..8].try_into().unwrap());
                if sent == u64::MAX {
                    break;
                }
                delays.push((origin.elapsed().as_nanos() as u64 - sent) as f64 / 1e3);
            }
            delays
        });
        let mut delays = Vec::new();
        while origin.elapsed() < time {
            let sent = origin.elapsed().as_nanos() as u64;
            let mut payload = PAYLOAD.to_vec();
            payload[..8].copy_from_slice(&sent.to_le_bytes());
            bus.publish(&bench.subject, payload).await.unwrap();
            delays.push((origin.elapsed().as_nanos() as u64 - sent) as f64 / 1e3);
        }
        bus.publish(&bench.subject, u64::MAX.to_le_bytes().to_vec()).await.unwrap();
        let mut read = reading.await.unwrap();
        (p99(&mut delays), p99(&mut read))
    })
}

fn p99(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * 99 / 100]
}

/// From before a publish to its delivery by another bus on the same file, which hears of it only by looking: p50 and p99
/// in µs, a publish every few milliseconds.
pub fn elsewhere(count: usize) -> (f64, f64) {
    let bench = Bench::new(Durability::Relaxed);
    bench.runtime.block_on(async {
        let other = SqliteBus::open(bench.bus.path()).await.unwrap();
        let mut reader = other.stream("bench.>").await.unwrap();
        let mut delays = Vec::new();
        for _ in 0..count {
            let start = Instant::now();
            bench.bus.publish(&bench.subject, &PAYLOAD[..]).await.unwrap();
            reader.next().await.unwrap().unwrap();
            delays.push(start.elapsed().as_nanos() as f64 / 1e3);
            tokio::time::sleep(Duration::from_micros(3_100)).await;
        }
        let p99 = p99(&mut delays);
        (delays[delays.len() / 2], p99)
    })
}
