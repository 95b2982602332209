//! Group commit: one write connection a bus, and operations that arrive together share a transaction.
//!
//! Who may lead, that is, write for everybody: a caller whose operation needs no flush, when nobody else is waiting and the lock is free
//! at once; else the writer's thread, so that an async runtime never waits for a lock or a disk. Leadership is the
//! lock on the connection: who has it takes the queue as it is and commits one batch.

mod connection;
mod operation;
mod queue;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
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
use operation::{Queued, Waiting};
use queue::Queue;

/// The one writer of a bus.
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    process: Process,
    queue: Queue,
    conn: Mutex<WriteConnection>,
    busy_deadline: Duration,
    /// How many operations the last batch had: more than one means company, and then the thread leads.
    company: AtomicUsize,
}

impl Writer {
    pub(crate) fn new(conn: WriteConnection, busy_deadline: Duration) -> Self {
        let shared = Shared { process: Process::current(), queue: Queue::new(), conn: Mutex::new(conn), busy_deadline, company: AtomicUsize::new(1) };
        Self { shared: Arc::new(shared) }
    }

    /// Writes, and returns when the promise of the operation's durability holds. If the future is dropped, the operation
    /// is either done whole or not begun.
    pub(crate) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output> {
        self.shared.process.check()?;
        let operation = match self.shared.try_lead(operation) {
            Ok(outcome) => return outcome,
            Err(operation) => operation,
        };
        let (waiting, answer) = Waiting::new(operation, Instant::now() + self.shared.busy_deadline);
        self.enqueue(Box::new(waiting))?;
        answer.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Writes some time soon, with nobody waiting for it.
    pub(crate) fn run_detached<O: Operation>(&self, operation: O) {
        let waiting = Waiting::detached(operation, Instant::now() + self.shared.busy_deadline);
        if let Err(error) = self.enqueue(Box::new(waiting)) {
            tracing::debug!(%error, "a write that nobody waits for was not begun");
        }
    }

    fn enqueue(&self, operation: Box<dyn Queued>) -> Result<()> {
        let shared = &self.shared;
        shared.queue.push(operation, || {
            let shared = Arc::clone(shared);
            std::thread::Builder::new().name("rowbus-writer".to_owned()).spawn(move || shared.lead_for_ever())
        })
    }

    /// Finishes what is queued, and closes the connection. Blocks for as long as that takes.
    pub(crate) fn stop(&self) {
        // In a fork there is no thread to wait for, and closing the connection would touch the parent's locks.
        if self.shared.process.check().is_ok() {
            self.shared.queue.stop();
            self.shared.lock().close();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, WriteConnection> {
        // The connection puts itself right after every error, a panic in a listener included.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits on the caller's own thread, or gives the operation back.
    fn try_lead<O: Operation>(&self, operation: O) -> Result<Result<O::Output>, O> {
        let alone = self.company.load(Ordering::Relaxed) <= 1 && self.queue.is_empty();
        if operation.durability() != Durability::Relaxed || !alone {
            return Err(operation);
        }
        let mut conn = match self.conn.try_lock() {
            Ok(conn) => conn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(operation),
        };
        let mut outcome = None;
        let committed = conn.transaction(operation.durability(), 1, |_, tx| {
            outcome = Some(operation::apply(&operation, tx)?);
            Ok(())
        });
        match (committed, outcome) {
            (Ok(()), Some(outcome)) => Ok(outcome),
            (Err(NotCommitted::Busy | NotCommitted::Neighbour) | Ok(()), _) => Err(operation),
            (Err(NotCommitted::Failed(_)), Some(Err(refusal))) => Ok(Err(refusal)),
            (Err(NotCommitted::Failed(error)), _) => Ok(Err(error)),
        }
    }

    /// The writer's thread.
    fn lead_for_ever(&self) {
        while let Some(batch) = self.queue.take_or_wait(BATCH) {
            self.company.store(batch.len(), Ordering::Relaxed);
            let mut conn = self.lock();
            self.commit(&mut conn, batch);
        }
    }

    /// Commits a batch, waiting for the lock as long as its members' deadlines allow.
    fn commit(&self, conn: &mut WriteConnection, mut batch: Vec<Box<dyn Queued>>) {
        let mut patience = Patience::new();
        loop {
            let durability = batch.iter().map(|queued| queued.durability()).max().unwrap_or(Durability::Relaxed);
            let committed = conn.transaction(durability, batch.len(), |at, tx| batch[at].apply(tx));
            match committed {
                Ok(()) => return batch.into_iter().for_each(|queued| queued.finish(Ok(()))),
                Err(NotCommitted::Failed(error)) => {
                    return batch.into_iter().for_each(|queued| queued.finish(Err(error.clone())));
                }
                Err(NotCommitted::Neighbour) => {
                    return batch.into_iter().for_each(|queued| self.commit(conn, vec![queued]));
                }
                Err(NotCommitted::Busy) => {
                    batch = expire(batch);
                    if batch.is_empty() {
                        return;
                    }
                    patience.wait();
                    // Who came meanwhile goes along.
                    batch.extend(self.queue.take(BATCH.saturating_sub(batch.len())));
                }
            }
        }
    }
}

/// Tells those whose deadline has passed, and keeps the others.
fn expire(batch: Vec<Box<dyn Queued>>) -> Vec<Box<dyn Queued>> {
    let now = Instant::now();
    let (late, kept): (Vec<_>, Vec<_>) = batch.into_iter().partition(|queued| queued.deadline() <= now);
    for queued in late {
        let message = "the file stayed locked by another connection until the deadline; nothing was written";
        queued.finish(Err(Error::new(ErrorKind::Busy, message)));
    }
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
