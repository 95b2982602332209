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

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
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
    /// How long the thread's last batch took.
    flush_micros: AtomicU64,
    /// Commits made alone, to gather at every [`GATHER_EVERY`]th.
    alone: AtomicUsize,
}

/// Company above which the thread leads: a batch of as many takes a runtime's thread for about a tenth of a millisecond.
const MUCH_COMPANY: usize = 64;
/// Gathering costs a turn of the scheduler, and so a publisher alone pays for it seldom.
const GATHER_EVERY: usize = 16;

/// A flush so quick that waking up another thread and being woken by it would take about as long.
const QUICK_FLUSH: Duration = Duration::from_micros(500);

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
            flush_micros: AtomicU64::new(u64::MAX >> 1),
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
        answer.await.unwrap_or_else(|_| Err(shared.queue.why_dropped()))
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
            for waiting in self.shared.queue.take(usize::MAX, |_| true) {
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
            // What was to be led by its callers, and has been left to nobody.
            shared.lead_until_empty();
            shared.lock().close();
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
        // The connection puts itself right when the next transaction begins, whatever interrupted the last.
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
        if company > MUCH_COMPANY || (durability != Durability::Relaxed && !self.may_flush_here()) {
            return Way::ByThread;
        }
        if company > 1 || !self.queue.is_empty() {
            return Way::Gather;
        }
        let turn = self.alone.fetch_add(1, Ordering::Relaxed);
        if turn % GATHER_EVERY == GATHER_EVERY - 1 { Way::Gather } else { Way::AtOnce }
    }

    /// Whether a flush would hold up nobody but the caller, and not for long: the future is the one that `block_on` runs
    /// beside a runtime with workers, on a thread that is none of them.
    fn may_flush_here(&self) -> bool {
        let quick = Duration::from_micros(self.flush_micros.load(Ordering::Relaxed)) <= QUICK_FLUSH;
        quick
            && tokio::task::try_id().is_none()
            && tokio::runtime::Handle::try_current()
                .is_ok_and(|runtime| runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::CurrentThread)
    }

    /// Remembers how long a flush takes on this disk.
    fn flushed(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.flush_micros.store(took, Ordering::Relaxed);
    }

    /// Commits one operation on the caller's own thread, or gives it back.
    fn try_lead<O: Operation>(&self, operation: O) -> Result<Result<O::Output>, O> {
        let Some(mut conn) = self.try_lock().filter(|conn| conn.is_open()) else { return Err(operation) };
        let start = (operation.durability() == Durability::Full).then(Instant::now);
        let mut outcome = None;
        let committed = conn.transaction(operation.durability(), 1, |_, tx| {
            outcome = Some(operation::apply(&operation, tx)?);
            Ok(())
        });
        if let Some(start) = start {
            self.flushed(start);
        }
        wake_after(conn);
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
        let Some(conn) = self.try_lock().filter(|conn| conn.is_open()) else { return false };
        let batch = self.queue.take(MUCH_COMPANY, |queued| queued.durability() == Durability::Relaxed);
        matches!(self.lead(conn, batch), Turn::Done) && self.queue.is_empty()
    }

    /// The writer's thread.
    fn lead_for_ever(&self) {
        while self.queue.wait() {
            // A panic of foreign code, such as a host's clock, costs its own transaction and not the thread.
            let led = std::panic::catch_unwind(AssertUnwindSafe(|| self.lead_until_empty()));
            if led.is_err() {
                tracing::error!("a panic interrupted a transaction; it was rolled back");
            }
        }
    }

    /// Commits what is queued, waiting for SQLite's lock as long as the deadlines allow.
    fn lead_until_empty(&self) {
        let mut patience = Patience::new();
        while !self.queue.is_empty() {
            let conn = self.lock();
            let batch = self.queue.take(BATCH, |_| true);
            self.company.store(batch.len(), Ordering::Relaxed);
            let flushes = batch.iter().any(|queued| queued.durability() == Durability::Full);
            let start = Instant::now();
            match self.lead(conn, batch) {
                Turn::Done => {
                    if flushes {
                        self.flushed(start);
                    }
                    patience = Patience::new();
                }
                Turn::Busy => patience.wait(),
                Turn::StandBack(nap) => std::thread::sleep(nap),
            }
        }
    }

    /// One try to commit a batch. Where SQLite's lock is not to be had, the batch goes back in front of the queue, and
    /// who comes meanwhile goes along next time. Callers are told when the lock on the connection is released: their
    /// wakers are foreign code, and may drop the bus.
    fn lead(&self, mut conn: MutexGuard<'_, WriteConnection>, batch: Batch) -> Turn {
        let (mut batch, late) = split_late(batch);
        let mut settled = late;
        let mut turn = Turn::Done;
        if batch.is_empty() {
            conn.courtesy().done_waiting();
        } else {
            match attempt(&mut conn, &mut batch) {
                Err(NotCommitted::Neighbour) => {
                    let mut rest = batch.into_iter();
                    batch = Batch::new();
                    for queued in rest.by_ref() {
                        let mut alone = vec![queued];
                        let result = attempt(&mut conn, &mut alone);
                        turn = settle(result, alone, &mut settled, &mut batch);
                        if !matches!(turn, Turn::Done) {
                            break;
                        }
                    }
                    batch.extend(rest);
                }
                result => {
                    let tried = std::mem::take(&mut batch);
                    turn = settle(result, tried, &mut settled, &mut batch);
                }
            }
        }
        if matches!(turn, Turn::Busy) {
            conn.courtesy().wait();
        }
        self.queue.put_back(batch);
        wake_after(conn);
        for (queued, result) in settled {
            queued.finish(result);
        }
        turn
    }
}

/// How a try to commit ended for who leads.
enum Turn {
    Done,
    /// Another connection has the lock.
    Busy,
    /// Others are to have it first; ask again after this time.
    StandBack(Duration),
}

/// Operations whose callers are to be told this.
type Settled = Vec<(Box<dyn Queued>, Result<()>)>;

/// Releases the connection, and then wakes the readers of what was committed.
fn wake_after(mut conn: MutexGuard<'_, WriteConnection>) {
    let wakers = conn.take_wakers();
    drop(conn);
    wakers.into_iter().for_each(Waker::wake);
}

/// One try to commit a batch, at its strongest member's level.
fn attempt(conn: &mut WriteConnection, batch: &mut Batch) -> Result<(), NotCommitted> {
    let durability = batch.iter().map(|queued| queued.durability()).max().unwrap_or(Durability::Relaxed);
    conn.transaction(durability, batch.len(), |at, tx| batch[at].apply(tx))
}

/// Sorts a batch that was tried into who is to be told and who is to be tried again.
fn settle(result: Result<(), NotCommitted>, tried: Batch, settled: &mut Settled, again: &mut Batch) -> Turn {
    let told = match result {
        Ok(()) => Ok(()),
        Err(NotCommitted::Failed(error)) => Err(error),
        Err(NotCommitted::StandBack(nap)) => {
            again.extend(tried);
            return Turn::StandBack(nap);
        }
        // One alone has no neighbours.
        Err(NotCommitted::Busy | NotCommitted::Neighbour) => {
            again.extend(tried);
            return Turn::Busy;
        }
    };
    settled.extend(tried.into_iter().map(|queued| (queued, told.clone())));
    Turn::Done
}

/// Those whose deadline allows a try, and those to be told that it has passed.
fn split_late(batch: Batch) -> (Batch, Settled) {
    let now = Instant::now();
    let (late, in_time): (Batch, Batch) = batch.into_iter().partition(|queued| queued.deadline() <= now);
    let message = "the file stayed locked by another connection until the deadline; nothing was written";
    let told = |queued| (queued, Err(Error::new(ErrorKind::Busy, message)));
    (in_time, late.into_iter().map(told).collect())
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
