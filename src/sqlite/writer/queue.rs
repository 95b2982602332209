//! Operations that wait for a leader, and the thread that leads when nobody else does.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::writer::operation::Queued;

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The length, to be looked at without the lock.
    len: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Queued>>,
    /// Started by the first operation that needs it.
    leader: Option<JoinHandle<()>>,
    stopped: bool,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Adds an operation and sees to it that the leader takes it.
    pub(crate) fn push(
        &self,
        operation: Box<dyn Queued>,
        start_leader: impl FnOnce() -> io::Result<JoinHandle<()>>,
    ) -> Result<()> {
        let mut state = self.state();
        if state.stopped {
            return Err(Error::closed());
        }
        if state.leader.is_none() {
            let started = start_leader();
            state.leader =
                Some(started.map_err(|e| Error::with_source(ErrorKind::Io, "starting the writer's thread", e))?);
        }
        state.waiting.push_back(operation);
        self.len.store(state.waiting.len(), Ordering::Relaxed);
        let leader = state.leader.as_ref().map(|leader| leader.thread().clone());
        drop(state);
        if let Some(leader) = leader {
            leader.unpark();
        }
        Ok(())
    }

    /// What waits, up to `most`, without those whose callers have gone.
    pub(crate) fn take(&self, most: usize) -> Vec<Box<dyn Queued>> {
        self.take_from(&mut self.state(), most)
    }

    /// The same; waits until there is something. `None` when the queue was stopped and is empty.
    pub(crate) fn take_or_wait(&self, most: usize) -> Option<Vec<Box<dyn Queued>>> {
        loop {
            let mut state = self.state();
            let taken = self.take_from(&mut state, most);
            if !taken.is_empty() {
                return Some(taken);
            }
            if state.stopped && state.waiting.is_empty() {
                return None;
            }
            drop(state);
            // A push that came in between has left its token, and this returns at once.
            std::thread::park();
        }
    }

    fn take_from(&self, state: &mut State, most: usize) -> Vec<Box<dyn Queued>> {
        let count = state.waiting.len().min(most);
        let mut taken: Vec<_> = state.waiting.drain(..count).collect();
        self.len.store(state.waiting.len(), Ordering::Relaxed);
        taken.retain(|queued| !queued.is_abandoned());
        taken
    }

    /// Takes nothing more, and returns when the leader has finished what there was.
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
