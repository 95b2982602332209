//! Group commit: one write connection a bus, and operations that arrive together share a transaction.
//!
//! Leadership is the lock on the connection: who has it takes the queue as it is and commits one batch for everybody. A
//! caller leads if its operation waits for no disk and SQLite's lock is free at once; else the writer's thread does, so that an async
//! runtime never waits for either. How a caller goes about it depends on the company it had:
//!
//! - none: it commits at once. Now and then it gathers instead, to notice company that one thread cannot show
//!   otherwise, such as many futures joined in one task;
//! - some: it queues, lets everybody else run who can, and then commits what has gathered;
//! - much: it queues, and the thread writes while the runtime goes on.

mod connection;
mod courtesy;
mod operation;
mod queue;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

pub(crate) use connection::{CommitListener, WriteConnection};
pub(crate) use operation::{Failure, Operation, Tx};

use crate::defaults::BATCH;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::Durability;
use crate::sqlite::checkpoint::Pause;
use crate::sqlite::connection::Patience;
use crate::sqlite::process::Process;
use connection::NotCommitted;
use operation::Waiting;
use queue::{Batch, Queue};

/// The one writer of a bus.
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    process: Process,
    queue: Queue,
    conn: Mutex<WriteConnection>,
    busy_deadline: Duration,
    /// How many operations the last batch had.
    company: AtomicUsize,
    /// Commits made alone, to gather at every [`GATHER_EVERY`]th.
    alone: AtomicUsize,
}

/// Company above which the thread leads: a batch of as many takes a runtime's thread for about a tenth of a millisecond.
const MUCH_COMPANY: usize = 512;
/// Gathering costs a turn of the scheduler, and so a publisher alone pays for it seldom.
const GATHER_EVERY: usize = 16;

/// How an operation is written.
enum Way {
    AtOnce,
    Gather,
    ByThread,
}

impl Writer {
    pub(crate) fn new(conn: WriteConnection, busy_deadline: Duration) -> Self {
        let shared = Shared {
            process: Process::current(),
            queue: Queue::default(),
            conn: Mutex::new(conn),
            busy_deadline,
            company: AtomicUsize::new(1),
            alone: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Writes, and returns when the promise of the operation's durability holds. If the future is dropped, the operation
    /// is either done whole or not begun.
    pub(crate) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output> {
        let shared = &self.shared;
        shared.process.check()?;
        let mut way = shared.way(operation.durability());
        let operation = match way {
            Way::AtOnce => match shared.try_lead(operation) {
                Ok(outcome) => return outcome,
                Err(operation) => {
                    way = Way::ByThread;
                    operation
                }
            },
            _ => operation,
        };
        let (waiting, mut answer) = Waiting::new(operation, Instant::now() + shared.busy_deadline);
        shared.queue.push(Box::new(waiting))?;
        if matches!(way, Way::Gather) {
            // Whoever of the company is polled next leads for all; if it is dropped before, the thread does.
            let unattended = CallLeader(self);
            tokio::task::yield_now().await;
            if let Ok(outcome) = answer.try_recv() {
                std::mem::forget(unattended);
                return outcome;
            }
            if shared.try_lead_queue() {
                std::mem::forget(unattended);
            }
        } else {
            self.call_leader();
        }
        answer.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Writes some time soon, with nobody waiting for it.
    pub(crate) fn run_detached<O: Operation>(&self, operation: O) {
        let waiting = Waiting::detached(operation, Instant::now() + self.shared.busy_deadline);
        if self.shared.queue.push(Box::new(waiting)).is_ok() {
            self.call_leader();
        }
    }

    fn call_leader(&self) {
        let called = self.shared.queue.call_leader(|| {
            let shared = Arc::clone(&self.shared);
            std::thread::Builder::new().name("rowbus-writer".to_owned()).spawn(move || shared.lead_for_ever())
        });
        if let Err(error) = called {
            // Without a thread nobody will lead: who waits is told.
            for waiting in self.shared.queue.take(usize::MAX) {
                waiting.finish(Err(error.clone()));
            }
        }
    }

    /// Finishes what is queued, and closes the connection. Blocks for as long as that takes.
    pub(crate) fn stop(&self) {
        let shared = &self.shared;
        // In a fork there is no thread to wait for, and closing the connection would touch the parent's locks.
        if shared.process.check().is_ok() {
            shared.queue.stop();
            let mut conn = shared.lock();
            let rest = shared.queue.take(usize::MAX);
            shared.commit(&mut conn, rest);
            conn.close();
        }
    }
}

/// Calls the leader when dropped.
struct CallLeader<'a>(&'a Writer);

impl Drop for CallLeader<'_> {
    fn drop(&mut self) {
        self.0.call_leader();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WriteConnection> {
        // The connection puts itself right after every error, a panic in a listener included.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, WriteConnection>> {
        match self.conn.try_lock() {
            Ok(conn) => Some(conn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn way(&self, durability: Durability) -> Way {
        let company = self.company.load(Ordering::Relaxed);
        if durability != Durability::Relaxed || company > MUCH_COMPANY {
            return Way::ByThread;
        }
        if company > 1 || !self.queue.is_empty() {
            return Way::Gather;
        }
        let turn = self.alone.fetch_add(1, Ordering::Relaxed);
        if turn % GATHER_EVERY == GATHER_EVERY - 1 { Way::Gather } else { Way::AtOnce }
    }

    /// Commits one operation on the caller's own thread, or gives it back.
    fn try_lead<O: Operation>(&self, operation: O) -> Result<Result<O::Output>, O> {
        let Some(mut conn) = self.try_lock() else { return Err(operation) };
        let mut outcome = None;
        let committed = conn.transaction(operation.durability(), 1, |_, tx| {
            outcome = Some(operation::apply(&operation, tx)?);
            Ok(())
        });
        match (committed, outcome) {
            (Ok(()) | Err(NotCommitted::Failed(_)), Some(Err(refusal))) => Ok(Err(refusal)),
            (Ok(()), Some(Ok(output))) => Ok(Ok(output)),
            (Err(NotCommitted::Failed(error)), _) => Ok(Err(error)),
            (Err(NotCommitted::Busy | NotCommitted::StandBack(_) | NotCommitted::Neighbour) | Ok(()), _) => {
                Err(operation)
            }
        }
    }

    /// Commits what has gathered on the caller's own thread; `false` if the writer's thread has to see to the queue.
    fn try_lead_queue(&self) -> bool {
        let Some(mut conn) = self.try_lock() else { return false };
        let mut batch = self.queue.take(MUCH_COMPANY);
        if batch.iter().any(|queued| queued.durability() != Durability::Relaxed) {
            self.queue.put_back(batch);
            return false;
        }
        if batch.is_empty() {
            return self.queue.is_empty();
        }
        self.company.store(batch.len(), Ordering::Relaxed);
        match attempt(&mut conn, &mut batch) {
            Ok(()) => finish(batch, &Ok(())),
            Err(NotCommitted::Failed(error)) => finish(batch, &Err(error)),
            Err(NotCommitted::Busy | NotCommitted::StandBack(_) | NotCommitted::Neighbour) => {
                self.queue.put_back(batch);
                return false;
            }
        }
        self.queue.is_empty()
    }

    /// The writer's thread.
    fn lead_for_ever(&self) {
        while self.queue.wait() {
            let mut conn = self.lock();
            let batch = self.queue.take(BATCH);
            self.company.store(batch.len(), Ordering::Relaxed);
            self.commit(&mut conn, batch);
        }
    }

    /// Commits a batch, waiting for SQLite's lock as long as its members' deadlines allow.
    fn commit(&self, conn: &mut WriteConnection, mut batch: Batch) {
        let mut patience = Patience::new();
        while !batch.is_empty() {
            match attempt(conn, &mut batch) {
                Ok(()) => finish(std::mem::take(&mut batch), &Ok(())),
                Err(NotCommitted::Failed(error)) => finish(std::mem::take(&mut batch), &Err(error)),
                Err(NotCommitted::Neighbour) => {
                    for queued in std::mem::take(&mut batch) {
                        self.commit(conn, vec![queued]);
                    }
                }
                Err(NotCommitted::StandBack(nap)) => std::thread::sleep(nap),
                Err(NotCommitted::Busy) => {
                    batch = expire(batch);
                    conn.courtesy().wait();
                    patience.wait();
                    // Who came meanwhile goes along.
                    batch.extend(self.queue.take(BATCH.saturating_sub(batch.len())));
                }
            }
        }
        conn.courtesy().done_waiting();
    }
}

/// One try to commit a batch, at its strongest member's level.
fn attempt(conn: &mut WriteConnection, batch: &mut Batch) -> Result<(), NotCommitted> {
    let durability = batch.iter().map(|queued| queued.durability()).max().unwrap_or(Durability::Relaxed);
    conn.transaction(durability, batch.len(), |at, tx| batch[at].apply(tx))
}

fn finish(batch: Batch, committed: &Result<()>) {
    for queued in batch {
        queued.finish(committed.clone());
    }
}

/// Tells those whose deadline has passed, and keeps the others.
fn expire(batch: Batch) -> Batch {
    let now = Instant::now();
    let (late, kept): (Vec<_>, Vec<_>) = batch.into_iter().partition(|queued| queued.deadline() <= now);
    let message = "the file stayed locked by another connection until the deadline; nothing was written";
    finish(late, &Err(Error::new(ErrorKind::Busy, message)));
    kept
}

impl Pause for Writer {
    fn while_paused(&self, work: &mut dyn FnMut()) {
        self.shared.lock().while_locked(work);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}
