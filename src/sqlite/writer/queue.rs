//! Operations that wait for a leader, and the thread that leads when nobody else does.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::writer::operation::Queued;

/// Operations in the order in which they came.
pub(crate) type Batch = Vec<Box<dyn Queued>>;

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The length, to be looked at without the lock.
    len: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Queued>>,
    /// Started when it is first called.
    leader: Option<JoinHandle<()>>,
    stopped: bool,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Adds an operation. Who adds it sees to it that somebody leads.
    pub(crate) fn push(&self, operation: Box<dyn Queued>) -> Result<()> {
        let mut state = self.state();
        if state.stopped {
            return Err(Error::closed());
        }
        state.waiting.push_back(operation);
        self.len.store(state.waiting.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Puts back what was taken and could not be done, in front.
    pub(crate) fn put_back(&self, batch: Batch) {
        let mut state = self.state();
        for operation in batch.into_iter().rev() {
            state.waiting.push_front(operation);
        }
        self.len.store(state.waiting.len(), Ordering::Relaxed);
    }

    /// Has the thread look into the queue.
    pub(crate) fn call_leader(&self, start: impl FnOnce() -> io::Result<JoinHandle<()>>) -> Result<()> {
        let mut state = self.state();
        if state.leader.is_none() && !state.stopped {
            let started = start();
            state.leader = Some(
                started.map_err(|e| Error::with_source(ErrorKind::Io, "starting the writer's thread", e))?,
            );
        }
        let leader = state.leader.as_ref().map(|leader| leader.thread().clone());
        drop(state);
        if let Some(leader) = leader {
            leader.unpark();
        }
        Ok(())
    }

    /// What waits, up to `most` and as far as it is `wanted`, without those whose callers have gone.
    ///
    /// To be called with the lock on the connection held: else an operation that came later could overtake these.
    pub(crate) fn take(&self, most: usize, wanted: impl Fn(&dyn Queued) -> bool) -> Batch {
        let mut state = self.state();
        let alone = state.waiting.iter().take(most).position(|queued| queued.is_alone());
        // One that is to be alone is taken when it is the first, and ends a batch before it.
        let most = alone.map_or(most, |at| at.max(1).min(most));
        let count = state.waiting.iter().take(most).take_while(|queued| wanted(queued.as_ref())).count();
        let mut taken: Batch = state.waiting.drain(..count).collect();
        self.len.store(state.waiting.len(), Ordering::Relaxed);
        drop(state);
        taken.retain(|queued| !queued.is_abandoned());
        taken
    }

    /// Why an operation was dropped without an answer.
    pub(crate) fn why_dropped(&self) -> Error {
        if self.state().stopped {
            return Error::closed();
        }
        let message = "a panic interrupted the transaction; whether it was written will show in the log";
        Error::new(ErrorKind::Indeterminate, message)
    }

    /// Waits until there is something to take; `false` when there is nothing and never will be.
    pub(crate) fn wait(&self) -> bool {
        loop {
            let state = self.state();
            if !state.waiting.is_empty() {
                return true;
            }
            if state.stopped {
                return false;
            }
            drop(state);
            // A call that came in between has left its token, and this returns at once.
            std::thread::park();
        }
    }

    pub(crate) fn is_led_here(&self) -> bool {
        let state = self.state();
        state.leader.as_ref().is_some_and(|leader| leader.thread().id() == std::thread::current().id())
    }

    /// Takes nothing more, and returns when the thread has finished what there was, if it was ever started.
    pub(crate) fn stop(&self) {
        let leader = {
            let mut state = self.state();
            state.stopped = true;
            state.leader.take()
        };
        let Some(leader) = leader else { return };
        leader.thread().unpark();
        // A waker that drops the last handle of the bus would have the leader wait for itself.
        if leader.thread().id() != std::thread::current().id() {
            let _ = leader.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
