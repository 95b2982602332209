//! How an operation is best written, from the company that the last ones had.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::publish::Durability;

/// Company above which the thread leads: a batch of as many takes a runtime's thread for about a tenth of a millisecond.
pub(super) const MUCH_COMPANY: usize = 64;
/// Gathering costs a turn of the scheduler, and so a publisher alone pays for it seldom.
const GATHER_EVERY: usize = 16;
/// A flush so quick that waking up another thread and being woken by it would take about as long.
const QUICK_FLUSH: Duration = Duration::from_micros(500);

/// How an operation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By its caller, alone.
    AtOnce,
    /// By whoever of those that came together is polled next.
    Gather,
    ByThread,
}

#[derive(Debug)]
pub(super) struct Company {
    /// How many operations the last batch had.
    last_batch: AtomicUsize,
    /// Commits made alone, to gather at every [`GATHER_EVERY`]th.
    alone: AtomicUsize,
    /// How long the last batch that was flushed took.
    flush_micros: AtomicU64,
}

impl Company {
    pub(super) fn new() -> Self {
        Self {
            last_batch: AtomicUsize::new(1),
            alone: AtomicUsize::new(0),
            flush_micros: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn way(&self, durability: Durability, queue_is_empty: bool) -> Way {
        let company = self.last_batch.load(Ordering::Relaxed);
        if company > MUCH_COMPANY || (durability != Durability::Relaxed && !self.may_flush_here()) {
            return Way::ByThread;
        }
        if company > 1 || !queue_is_empty {
            return Way::Gather;
        }
        let turn = self.alone.fetch_add(1, Ordering::Relaxed);
        if turn % GATHER_EVERY == GATHER_EVERY - 1 { Way::Gather } else { Way::AtOnce }
    }

    /// Whether a flush would hold up nobody but the caller, and not for long: the future is the one that `block_on` runs
    /// beside a runtime with workers, on a thread that is none of them.
    fn may_flush_here(&self) -> bool {
        let quick = Duration::from_micros(self.flush_micros.load(Ordering::Relaxed)) <= QUICK_FLUSH;
        let beside_workers =
            || Handle::try_current().is_ok_and(|at| at.runtime_flavor() != RuntimeFlavor::CurrentThread);
        quick && tokio::task::try_id().is_none() && beside_workers()
    }

    /// A batch had this many operations.
    pub(super) fn had(&self, batch: usize) {
        self.last_batch.store(batch, Ordering::Relaxed);
    }

    /// A batch that began then was flushed.
    pub(super) fn flushed(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.flush_micros.store(took, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_commits_at_once_and_gathers_now_and_then() {
        let company = Company::new();
        let ways: Vec<_> = (0..GATHER_EVERY).map(|_| company.way(Durability::Relaxed, true)).collect();
        let (last, others) = ways.split_last().unwrap();
        assert!(others.iter().all(|way| *way == Way::AtOnce) && *last == Way::Gather);
    }

    #[test]
    fn who_has_company_gathers_and_in_much_company_the_thread_writes() {
        let company = Company::new();
        assert_eq!(company.way(Durability::Relaxed, false), Way::Gather);
        company.had(2);
        assert_eq!(company.way(Durability::Relaxed, true), Way::Gather);
        company.had(MUCH_COMPANY + 1);
        assert_eq!(company.way(Durability::Relaxed, true), Way::ByThread);
    }

    #[test]
    fn a_flush_is_never_made_on_a_thread_of_a_runtime() {
        let flushes = |company: &Company| company.way(Durability::Full, true) == Way::AtOnce;
        let company = Company::new();
        company.flushed(Instant::now());
        let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(!current.block_on(async { flushes(&company) }));
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert!(workers.block_on(async { flushes(&company) }));
        let company = std::sync::Arc::new(company);
        let task = workers.spawn({
            let company = std::sync::Arc::clone(&company);
            async move { flushes(&company) }
        });
        assert!(!workers.block_on(task).unwrap());
        // And on a disk that is not known to be quick, nowhere.
        assert!(!workers.block_on(async { flushes(&Company::new()) }));
    }
}
