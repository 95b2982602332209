//! Leading: who has the lock on the connection commits for everybody who waits.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::defaults::BATCH;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::Durability;
use crate::sqlite::connection::Patience;
use crate::sqlite::process::Process;
use crate::sqlite::writer::company::{Company, MUCH_COMPANY};
use crate::sqlite::writer::connection::{NotCommitted, WriteConnection};
use crate::sqlite::writer::operation::{self, Operation, Queued};
use crate::sqlite::writer::queue::{Batch, Queue};

/// What leads are made of; shared by the callers and the writer's thread.
pub(super) struct Leader {
    pub(super) process: Process,
    pub(super) queue: Queue,
    pub(super) company: Company,
    conn: Mutex<WriteConnection>,
    /// Passed by everybody on the way to the connection, and held by who wants it ahead of its turn: a lock alone goes
    /// to whoever asks at the right instant, and publishers in a loop ask all the time.
    gate: Mutex<()>,
}

impl Leader {
    pub(super) fn new(conn: WriteConnection) -> Self {
        let (process, queue, company) = (Process::current(), Queue::default(), Company::new());
        Self { process, queue, company, conn: Mutex::new(conn), gate: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, WriteConnection> {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.lock_conn()
    }

    /// The connection as soon as who has it now lets go of it.
    pub(super) fn lock_first(&self) -> MutexGuard<'_, WriteConnection> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock_conn()
    }

    fn lock_conn(&self) -> MutexGuard<'_, WriteConnection> {
        // The connection puts itself right when the next transaction begins, whatever interrupted the last.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, WriteConnection>> {
        if matches!(self.gate.try_lock(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        match self.conn.try_lock() {
            Ok(conn) => Some(conn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Commits one operation on the caller's own thread, or gives it back.
    pub(super) fn try_lead<O: Operation>(&self, operation: O) -> Result<Result<O::Output>, O> {
        // With the lock held an empty queue means that nobody was here before; without it, a batch that was put back
        // could be overtaken.
        let lead = self.try_lock().filter(|conn| conn.is_open() && self.queue.is_empty());
        let Some(mut conn) = lead else { return Err(operation) };
        let start = (operation.durability() == Durability::Full).then(Instant::now);
        let mut outcome = None;
        let committed = conn.transaction(operation.durability(), 1, |_, tx| {
            outcome = Some(operation::apply(&operation, tx)?);
            Ok(())
        });
        if let Some(start) = start {
            self.company.flushed(start);
        }
        wake_after(conn);
        match (committed, outcome) {
            (Ok(()) | Err(NotCommitted::Failed(_)), Some(Err(refusal))) => Ok(Err(refusal)),
            (Ok(()), Some(Ok(output))) => {
                operation.committed(&output);
                Ok(Ok(output))
            }
            (Err(NotCommitted::Failed(error)), _) => Ok(Err(error)),
            (Err(NotCommitted::Busy | NotCommitted::StandBack(_) | NotCommitted::Neighbour) | Ok(()), _) => {
                Err(operation)
            }
        }
    }

    /// Commits what has gathered on the caller's own thread, as far as it promises no more than the caller may keep
    /// here.
    pub(super) fn try_lead_queue(&self, strongest: Durability) -> Led {
        let Some(conn) = self.try_lock().filter(|conn| conn.is_open()) else { return Led::default() };
        let batch = self.queue.take(MUCH_COMPANY, |queued| {
            queued.durability() <= strongest && !queued.is_alone() && !queued.is_long()
        });
        let flushes = self::strongest(&batch) == Durability::Full;
        let (start, for_others) = (Instant::now(), batch.len() > 1);
        let done = matches!(self.lead(conn, batch), Turn::Done);
        if done && flushes {
            self.company.flushed(start);
        }
        Led { done: done && self.queue.is_empty(), for_others }
    }

    /// The writer's thread.
    pub(super) fn lead_for_ever(&self) {
        while self.queue.wait() {
            // A panic of foreign code, such as a host's clock, costs its own transaction and not the thread.
            let led = std::panic::catch_unwind(AssertUnwindSafe(|| self.lead_until_empty()));
            if led.is_err() {
                tracing::error!("a panic interrupted a transaction; it was rolled back");
            }
        }
    }

    /// Commits what is queued, waiting for SQLite's lock as long as the deadlines allow.
    pub(super) fn lead_until_empty(&self) {
        let mut patience = Patience::new();
        while !self.queue.is_empty() {
            let conn = self.lock();
            let batch = self.queue.take(BATCH, |_| true);
            self.company.had(batch.len());
            let flushes = strongest(&batch) == Durability::Full;
            let start = Instant::now();
            match self.lead(conn, batch) {
                Turn::Done => {
                    if flushes {
                        self.company.flushed(start);
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

/// How a caller has led.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Led {
    /// Else the writer's thread has to see to the queue.
    pub(super) done: bool,
    /// Others were told, too.
    pub(super) for_others: bool,
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
    conn.transaction(strongest(batch), batch.len(), |at, tx| batch[at].apply(tx))
}

/// A transaction keeps the promises of all its members.
fn strongest(batch: &[Box<dyn Queued>]) -> Durability {
    batch.iter().map(|queued| queued.durability()).max().unwrap_or(Durability::Relaxed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Publish;
    use crate::sqlite::publishing::PublishOne;
    use crate::sqlite::writer::operation::Waiting;

    fn publish(durability: Durability) -> Box<dyn Queued> {
        let event = Publish::new("a", "").into_parts().unwrap();
        Box::new(Waiting::detached(PublishOne { event, durability }, Instant::now()))
    }

    #[test]
    fn a_batch_is_flushed_if_one_of_its_members_is() {
        use Durability::{Full, Relaxed};
        let of =
            |levels: &[Durability]| strongest(&levels.iter().map(|level| publish(*level)).collect::<Batch>());
        assert_eq!(of(&[Relaxed, Relaxed]), Relaxed);
        assert_eq!(of(&[Relaxed, Full, Relaxed]), Full);
    }
}
