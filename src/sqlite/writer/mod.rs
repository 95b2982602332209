//! Group commit: one write connection a bus, and operations that arrive together share a transaction.
//!
//! Leadership is the lock on the connection: who has it takes the queue as it is and commits one batch for everybody. A
//! caller leads if its operation waits for no disk and SQLite's lock is free at once; else the writer's thread does, so that
//! an async runtime never waits for either. How a caller goes about it depends on the company it had:
//!
//! - none: it commits at once. Now and then it gathers instead, to notice company that one thread cannot show
//!   otherwise, such as many futures joined in one task;
//! - some: it queues, lets everybody else run who can, and then commits what has gathered;
//! - much: it queues, and the thread writes while the runtime goes on.

mod changes;
mod company;
mod connection;
mod courtesy;
mod inside;
mod leader;
mod operation;
mod queue;
mod room;
mod wal;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::future::yield_to_all;
use crate::sqlite::checkpoint::Pause;
use company::Way;
use leader::Leader;
use operation::Waiting;

pub(crate) use connection::{Commit, CommitListener, WriteConnection};
pub(crate) use inside::Inside;
pub(crate) use operation::{Failure, Operation, Tx};
pub(crate) use room::row_size;

/// The one writer of a bus.
pub(crate) struct Writer {
    leader: Arc<Leader>,
    busy_deadline: Duration,
}

impl Writer {
    pub(crate) fn new(conn: WriteConnection, busy_deadline: Duration) -> Self {
        Self { leader: Arc::new(Leader::new(conn)), busy_deadline }
    }

    /// Writes, and returns when the promise of the operation's durability holds. If the future is dropped, the operation
    /// is either done whole or not begun.
    pub(crate) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output> {
        let leader = &self.leader;
        leader.process.check()?;
        inside::check(self.address())?;
        let durability = operation.durability();
        let mut way = leader.company.way(durability, leader.queue.is_empty());
        if operation.is_alone() || operation.is_long() {
            way = Way::ByThread;
        }
        let operation = match way {
            Way::AtOnce => match leader.try_lead(operation) {
                Ok(outcome) => return outcome,
                Err(operation) => {
                    way = Way::ByThread;
                    operation
                }
            },
            _ => operation,
        };
        let (waiting, mut answer) = Waiting::new(operation, Instant::now() + self.busy_deadline);
        leader.queue.push(Box::new(waiting))?;
        if matches!(way, Way::Gather) {
            // Whoever of the company is polled next leads for all; if it is dropped before, the thread does.
            let unattended = CallLeader(self);
            yield_to_all().await;
            if let Ok(outcome) = answer.try_recv() {
                std::mem::forget(unattended);
                return outcome;
            }
            let led = leader.try_lead_queue(durability);
            if led.done {
                std::mem::forget(unattended);
            }
            // Those that this has written for are woken on this thread, and wait for it until it gives way: whatever the
            // caller does next may not.
            if led.for_others {
                yield_to_all().await;
            }
        } else {
            self.call_leader();
        }
        answer.await.unwrap_or_else(|_| Err(leader.queue.why_dropped()))
    }

    /// Writes some time soon, with nobody waiting for it; not at all if the file stays locked for this long.
    pub(crate) fn run_detached<O: Operation>(&self, operation: O, within: Duration) {
        // In a fork there is nobody to write it, and nothing to be written.
        if self.leader.process.check().is_err() {
            return;
        }
        let waiting = Waiting::detached(operation, Instant::now() + within.min(self.busy_deadline));
        if self.leader.queue.push(Box::new(waiting)).is_ok() {
            self.call_leader();
        }
    }

    /// Writes on behalf of a thread that may block, and returns when it is done.
    pub(crate) fn run_blocking<O: Operation>(&self, operation: O) -> Result<O::Output> {
        self.leader.process.check()?;
        let (waiting, answer) = Waiting::new(operation, Instant::now() + self.busy_deadline);
        self.leader.queue.push(Box::new(waiting))?;
        self.call_leader();
        answer.blocking_recv().unwrap_or_else(|_| Err(self.leader.queue.why_dropped()))
    }

    /// Tells this writer from others for as long as it lives.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this is the thread that leads when nobody else does, so that nothing is written until it goes on.
    pub(crate) fn is_led_here(&self) -> bool {
        self.leader.queue.is_led_here()
    }

    fn call_leader(&self) {
        let called = self.leader.queue.call_leader(|| {
            let leader = Arc::clone(&self.leader);
            std::thread::Builder::new().name("rowbus-writer".to_owned()).spawn(move || leader.lead_for_ever())
        });
        if let Err(error) = called {
            // Without a thread nobody will lead: who waits is told.
            for waiting in self.leader.queue.take(usize::MAX, |_| true) {
                waiting.finish(Err(error.clone()));
            }
        }
    }

    /// Finishes what is queued, and closes the connection. Blocks for as long as that takes.
    pub(crate) fn stop(&self) {
        let leader = &self.leader;
        // In a fork there is no thread to wait for, and closing the connection would touch the parent's locks.
        if leader.process.check().is_ok() {
            leader.queue.stop();
            // What was to be led by its callers, and has been left to nobody.
            leader.lead_until_empty();
            leader.lock().close();
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

impl Pause for Writer {
    fn while_paused(&self, work: &mut dyn FnMut()) {
        self.leader.lock_first().while_locked(work);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}
