//! One reader per bus follows the log and hands events to the local streams: the cost of a commit does not
//! grow with the streams that do not want it.
//!
//! Position: every event up to `position` has been offered to every listener that is to have it. A commit of this
//! process that begins exactly behind the position is handed over without reading it back; any other commit is only a
//! reason for the thread to look into the file.

mod listeners;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::sqlite::fault;
use crate::sqlite::filters::Filters;
use crate::sqlite::log::{Gaps, PAGE_SIZE, in_transaction, read_page};
use crate::sqlite::process::Process;
use crate::sqlite::tables::events::{Adjoining, Damaged, adjoining};
use crate::sqlite::wake::{Floor, WakeBits};
use crate::sqlite::watcher::{Follower, Watcher};
use listeners::{Listener, State};

pub(crate) struct Tail {
    state: Mutex<State>,
    /// Streams that listen now; with none, nothing is handed over.
    listeners: AtomicUsize,
    process: Process,
    watcher: Arc<Watcher>,
    /// Whom to tell of rows that could not be decoded.
    quarantine: Box<dyn Fn(Vec<Damaged>) + Send + Sync>,
}

/// Whether a stream could join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    As(u64),
    /// The tail is ahead of it: it has to read more of the log first.
    Behind,
}

impl Tail {
    pub(crate) fn new(
        watcher: Arc<Watcher>,
        quarantine: impl Fn(Vec<Damaged>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (state, listeners) = (Mutex::default(), AtomicUsize::new(0));
        let (process, quarantine) = (Process::current(), Box::new(quarantine));
        Arc::new(Self { state, listeners, process, watcher, quarantine })
    }

    /// Adds a stream that has read the log up to its end, which was `after`. One that `may_skip` begins wherever the tail is
    /// by now.
    pub(crate) fn join(
        self: &Arc<Self>,
        filters: &Filters,
        mailbox: &Arc<Mailbox>,
        after: u64,
        may_skip: bool,
    ) -> Result<Joined> {
        let mut state = self.state();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if state.trie.len() == 0 {
            // Nobody has kept the position up.
            state.position = after;
        } else if state.position > after && !may_skip {
            return Ok(Joined::Behind);
        }
        self.watcher.start()?;
        state.next_id += 1;
        let id = state.next_id;
        let listener = Listener { mailbox: Arc::clone(mailbox), filters: filters.clone(), after };
        state.insert(id, listener);
        self.listeners.store(state.trie.len(), Ordering::SeqCst);
        // What was committed since `after` was read has been handed to nobody.
        self.watcher.wake();
        Ok(Joined::As(id))
    }

    /// Takes a stream out, if it is still there, and says up to where it was offered everything.
    pub(crate) fn leave(&self, filters: &Filters, id: u64) -> Option<u64> {
        // In a fork, the thread that may have held the lock does not exist.
        self.process.check().ok()?;
        let mut state = self.state();
        let left = state.remove(filters, id);
        self.listeners.store(state.trie.len(), Ordering::SeqCst);
        left.map(|listener| listener.after.max(state.position))
    }

    /// Everything up to here was offered to whom it concerns.
    pub(crate) fn position(&self) -> u64 {
        self.state().position
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(Ordering::SeqCst) > 0
    }

    /// Takes over what this process has committed, if nothing lies between it and the position. Returns readers to wake
    /// when the caller holds no lock.
    pub(crate) fn committed(&self, events: &[Message], appended: usize) -> Vec<Waker> {
        if !self.has_listeners() {
            return Vec::new();
        }
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // A publisher waits for no reader: the thread will look.
            Err(TryLockError::WouldBlock) => {
                self.watcher.wake();
                return Vec::new();
            }
        };
        let adjoining = events.first().is_some_and(|first| first.sequence() == state.position + 1);
        let complete = events.len() == appended;
        let unbroken = events.windows(2).all(|pair| pair[1].sequence() == pair[0].sequence() + 1);
        if !(adjoining && complete && unbroken) {
            self.watcher.wake();
            return Vec::new();
        }
        state.deliver(events);
        self.release(state)
    }

    /// Ends every stream with this error, or in good order.
    pub(crate) fn end(&self, error: Option<Error>) {
        // In a fork, the thread that may have held the lock does not exist.
        if self.process.check().is_ok() {
            let mut state = self.state();
            state.end(error);
            wake_all(self.release(state));
        }
    }

    /// Lets go of the state after something was handed over, and gives the readers to wake.
    #[must_use]
    fn release(&self, mut state: MutexGuard<'_, State>) -> Vec<Waker> {
        self.listeners.store(state.trie.len(), Ordering::SeqCst);
        std::mem::take(&mut state.wakers)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what a ring is most often for, new events that follow the position without a gap: the quick way, which
    /// a waiting stream is worth; whether any was for a stream. `None` if it takes the thorough one.
    fn take_adjoining(
        &self,
        read: impl FnOnce(u64) -> rusqlite::Result<Option<Adjoining>>,
    ) -> Result<Option<bool>> {
        let position = self.state().position;
        let found = read(position).map_err(|e| fault::error("following the log", e))?;
        let Some(found) = found else { return Ok(None) };
        let mut state = self.state();
        if state.position < position {
            return Ok(None);
        }
        let seen = found.messages.partition_point(|message| message.sequence() <= state.position);
        let concerned = state.deliver(&found.messages[seen..]);
        wake_all(self.release(state));
        if !found.end {
            self.watcher.look_again();
        }
        Ok(Some(concerned))
    }

    /// Hands over page by page what lies behind the position; whether anything was for a stream.
    fn catch_up(&self, conn: &Connection) -> Result<bool> {
        let mut concerned = false;
        let everything = Filters::everything();
        loop {
            let position = self.state().position;
            let reading = in_transaction(conn, |conn| {
                read_page(conn, position, &everything, Gaps { known: position, ..Gaps::default() })
            })
            .map_err(|e| fault::error("following the log", e))?;
            if reading.page.newest < position {
                return Err(Error::cursor_ahead(position, reading.page.newest));
            }
            let mut state = self.state();
            if state.position < position {
                // All had left meanwhile, and who joined since begins further back than this page.
                continue;
            }
            if reading.pruned_through > position {
                // Each of them finds out by itself whether its own events are among the missing.
                state.send_all_behind();
            } else {
                let seen =
                    reading.page.messages.partition_point(|message| message.sequence() <= state.position);
                concerned |= state.deliver(&reading.page.messages[seen..]);
            }
            state.position = state.position.max(reading.page.through);
            wake_all(self.release(state));
            if !reading.page.damaged.is_empty() {
                (self.quarantine)(reading.page.damaged);
            }
            if reading.page.end || !self.has_listeners() {
                return Ok(concerned);
            }
        }
    }
}

impl Follower for Tail {
    fn is_active(&self) -> bool {
        self.has_listeners()
    }

    fn interest(&self) -> WakeBits {
        self.state().interest()
    }

    fn glance(&self, snapshot: &Connection) -> Result<Option<bool>> {
        self.take_adjoining(|after| adjoining(snapshot, after, PAGE_SIZE, || Ok(())))
    }

    /// One statement, and no transaction around it.
    fn glance_alone(&self, floor: &mut Floor) -> Result<Option<bool>> {
        self.take_adjoining(|after| floor.seeing(|conn, seen| adjoining(conn, after, PAGE_SIZE, seen)))
    }

    fn look(&self, conn: &Connection) -> Result<bool> {
        self.catch_up(conn)
    }

    fn tick(&self, _: &Connection) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Unless it is for good, the next stream finds the watcher ready to try again.
    fn failed(&self, error: &Error, for_good: bool) {
        let mut state = self.state();
        if for_good {
            state.end(Some(error.clone()));
        } else {
            state.part_from_all(|listener| listener.mailbox.fail(error.clone()));
        }
        wake_all(self.release(state));
    }
}

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
