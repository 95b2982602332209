//! What a bus has done since it was opened, counted where it happens: relaxed atomics, which a publisher does not notice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::publish::Durability;
use crate::sqlite::stats::bus::{BusStats, Checkpoints, Wakes};
use crate::sqlite::stats::histogram::Recorder;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: Counter,
    pub(crate) published: Counter,
    pub(crate) delivered: Counter,
    pub(crate) operations: Recorder,
    /// Microseconds.
    flushed: Recorder,
    relaxed: Recorder,
    pub(crate) busy: Counter,
    pub(crate) stood_back: Counter,
    pub(crate) disk_full: Counter,
    pub(crate) bell: Counter,
    pub(crate) floor: Counter,
    pub(crate) watch: Counter,
    pub(crate) own: Counter,
    pub(crate) needless: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) pages: Counter,
    /// Microseconds.
    checkpoint_time: Recorder,
    pub(crate) restarts: Counter,
    pub(crate) truncations: Counter,
}

impl Counters {
    /// A transaction of this many operations was committed, which took so long from its beginning on.
    pub(crate) fn committed(&self, operations: usize, events: usize, durability: Durability, took: Duration) {
        self.commits.one();
        self.published.add(events as u64);
        self.operations.record(operations as u64);
        let times = if durability == Durability::Full { &self.flushed } else { &self.relaxed };
        times.record(micros(took));
        #[cfg(feature = "metrics")]
        super::metrics::committed(operations, durability, took);
    }

    /// A checkpoint moved this many pages.
    pub(crate) fn checkpointed(&self, pages: u64, took: Duration) {
        self.checkpoints.one();
        self.pages.add(pages);
        self.checkpoint_time.record(micros(took));
        #[cfg(feature = "metrics")]
        super::metrics::checkpointed(took);
    }

    pub(crate) fn read(&self) -> BusStats {
        BusStats {
            commits: self.commits.get(),
            published: self.published.get(),
            delivered: self.delivered.get(),
            operations: self.operations.read(),
            flushed_micros: self.flushed.read(),
            relaxed_micros: self.relaxed.read(),
            busy_waits: self.busy.get(),
            stood_back: self.stood_back.get(),
            disk_full: self.disk_full.get(),
            wakes: Wakes {
                bell: self.bell.get(),
                floor: self.floor.get(),
                watch: self.watch.get(),
                own: self.own.get(),
                needless: self.needless.get(),
            },
            checkpoints: Checkpoints {
                count: self.checkpoints.get(),
                pages: self.pages.get(),
                micros: self.checkpoint_time.read(),
                restarts: self.restarts.get(),
                truncations: self.truncations.get(),
            },
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
