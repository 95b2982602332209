//! One reader per process follows the log and hands events to the local streams: the cost of a commit does not
//! grow with the streams that do not want it.
//!
//! Position: every event up to `position` has been offered to every listener that is to have it. A commit of this
//! process that begins exactly behind the position is handed over without reading it back; any other commit is only a
//! reason for the thread to look into the file.

mod listeners;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::task::Waker;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::sqlite::connection::Opener;
use crate::sqlite::fault;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::log::{PAGE_SIZE, in_transaction, read_page};
use crate::sqlite::process::Process;
use crate::sqlite::tables::events::{Damaged, adjoining};
use crate::sqlite::wake::{Bell, Floor, Pace, WalWatch};
use listeners::{Listener, State};

/// How often the thread sees to what was deleted or could not be done; while it is awake anyway.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// What the thread needs besides the state.
pub(crate) struct TailSetup {
    pub(crate) opener: Opener,
    pub(crate) identity: FileIdentity,
    pub(crate) bell: Arc<Bell>,
    /// Whether to look into the file without having been told to.
    pub(crate) floor: bool,
    pub(crate) quarantine: Box<dyn Fn(Vec<Damaged>) + Send + Sync>,
    /// Called once a second at most, while there are streams.
    pub(crate) upkeep: Box<dyn Fn() + Send + Sync>,
}

pub(crate) struct Tail {
    state: Mutex<State>,
    /// Streams that listen now; with none, nothing is handed over and the thread sleeps.
    listeners: AtomicUsize,
    /// There may be something in the file behind the position. Cleared before looking.
    look: AtomicBool,
    /// The thread, once it runs.
    sleeper: OnceLock<Thread>,
    process: Process,
    setup: TailSetup,
}

/// Whether a stream could join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    As(u64),
    /// The tail is ahead of it: it has to read more of the log first.
    Behind,
}

impl Tail {
    pub(crate) fn new(setup: TailSetup) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            listeners: AtomicUsize::new(0),
            look: AtomicBool::new(false),
            sleeper: OnceLock::new(),
            process: Process::current(),
            setup,
        })
    }

    /// Adds a stream that has read the log up to its end, which was `after`. One that `may_skip` begins wherever the tail is
    /// by now.
    pub(crate) fn join(
        self: &Arc<Self>,
        filter: &Filter,
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
        if state.thread.is_none() {
            let tail = Arc::clone(self);
            let thread =
                std::thread::Builder::new().name("rowbus-tail".to_owned()).spawn(move || tail.follow());
            state.thread =
                Some(thread.map_err(|e| Error::with_source(ErrorKind::Io, "starting the tail's thread", e))?);
        }
        state.next_id += 1;
        let id = state.next_id;
        let listener = Listener { mailbox: Arc::clone(mailbox), filter: filter.clone(), after };
        state.insert(id, listener);
        self.listeners.store(state.trie.len(), Ordering::SeqCst);
        // What was committed since `after` was read has been handed to nobody.
        self.wake();
        Ok(Joined::As(id))
    }

    /// Takes a stream out, if it is still there, and says up to where it was offered everything.
    pub(crate) fn leave(&self, filter: &Filter, id: u64) -> Option<u64> {
        // In a fork, the thread that may have held the lock does not exist.
        self.process.check().ok()?;
        let mut state = self.state();
        let left = state.remove(filter, id);
        self.listeners.store(state.trie.len(), Ordering::SeqCst);
        left.map(|listener| listener.after.max(state.position))
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
                self.wake();
                return Vec::new();
            }
        };
        let adjoining = events.first().is_some_and(|first| first.sequence() == state.position + 1);
        let complete = events.len() == appended;
        let unbroken = events.windows(2).all(|pair| pair[1].sequence() == pair[0].sequence() + 1);
        if !(adjoining && complete && unbroken) {
            self.wake();
            return Vec::new();
        }
        state.deliver(events);
        self.release(state)
    }

    /// Has the streams look for something new, if there are any.
    pub(crate) fn nudge(&self) {
        if self.has_listeners() {
            self.wake();
        }
    }

    /// Ends every stream with this error, or in good order, and the thread with them. Blocks until it has ended.
    pub(crate) fn stop(&self, error: Option<Error>) {
        if self.process.check().is_err() {
            return;
        }
        let mut state = self.state();
        state.end(error);
        let thread = state.thread.take();
        wake_all(self.release(state));
        let Some(thread) = thread else { return };
        self.wake();
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }

    /// Has the thread look into the file. One that has not started yet looks first of all.
    fn wake(&self) {
        self.look.store(true, Ordering::SeqCst);
        self.setup.bell.wake();
        // Where it sleeps with nobody listening.
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
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

    /// The thread: sleeps, looks, hands over, until it is stopped or the file is gone. Any other fault ends the streams that
    /// were listening, and the next one finds the thread ready to try again.
    fn follow(self: &Arc<Self>) {
        let _ = self.sleeper.set(std::thread::current());
        loop {
            let followed = std::panic::catch_unwind(AssertUnwindSafe(|| self.follow_until_error()));
            let error = match followed {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => Error::new(ErrorKind::Database, "a panic interrupted the reader of the log"),
            };
            // A file that is gone from under a connection fails in many ways.
            let gone = self.setup.identity.check().err();
            let for_good = gone.is_some();
            let error = gone.unwrap_or(error);
            tracing::warn!(%error, "streams end");
            let mut state = self.state();
            if for_good {
                state.end(Some(error));
            } else {
                state.part_from_all(|listener| listener.mailbox.fail(error.clone()));
            }
            wake_all(self.release(state));
        }
    }

    fn follow_until_error(self: &Arc<Self>) -> Result<()> {
        while !self.has_listeners() {
            if self.state().ended.is_some() {
                return Ok(());
            }
            std::thread::park();
        }
        let opened = Floor::open(&self.setup.opener);
        // Before anything else is made of it: what was opened by the path may not be the bus's file any more.
        self.setup.identity.check()?;
        let mut floor = opened?;
        let bell = &self.setup.bell;
        let mut pace = Pace::new(Instant::now(), self.setup.floor);
        let (mut watch, mut rung, mut upkeep) = (None, false, Instant::now());
        loop {
            if self.state().ended.is_some() {
                return Ok(());
            }
            if !self.has_listeners() {
                std::thread::park();
                // Who has joined since may begin further back than the floor has seen.
                self.look.store(true, Ordering::SeqCst);
                continue;
            }
            let armed = bell.arm(self.state().interest());
            // Both are taken as seen before anything is read.
            let told = self.look.swap(false, Ordering::SeqCst);
            let was_rung = std::mem::take(&mut rung);
            if was_rung
                && !told
                && let Some(concerned) = self.take_adjoining(&mut floor)?
            {
                pace.heard(Instant::now(), concerned);
                continue;
            }
            // A ring that could not be answered the quick way may have had the floor count it as seen.
            if floor.has_changed()? || told || was_rung {
                drop(armed);
                let concerned = self.catch_up(&floor)?;
                pace.heard(Instant::now(), concerned);
                continue;
            }
            let sleep = pace.sleep(Instant::now(), bell.reaches_others());
            if upkeep.elapsed() >= UPKEEP_EVERY {
                upkeep = Instant::now();
                (self.setup.upkeep)();
            }
            if pace.is_idle() {
                self.setup.identity.check()?;
                if self.setup.floor {
                    watch.get_or_insert_with(|| self.watch()).as_ref().map(WalWatch::arm);
                    // What was written before it was armed.
                    if floor.has_changed()? {
                        self.look.store(true, Ordering::SeqCst);
                        continue;
                    }
                }
            }
            rung = armed.sleep(sleep);
        }
    }

    /// A watch on the WAL, where the system has one to give.
    fn watch(self: &Arc<Self>) -> Option<WalWatch> {
        let tail = Arc::downgrade(self);
        let changed = move || {
            if let Some(tail) = Weak::upgrade(&tail) {
                tail.wake();
            }
        };
        WalWatch::new(self.setup.opener.path(), changed).ok()
    }

    /// Hands over what a ring is most often for, new events that follow the position without a gap: the quick way, which
    /// a waiting stream is worth; whether any was for a stream. `None` if it takes the thorough one.
    fn take_adjoining(&self, floor: &mut Floor) -> Result<Option<bool>> {
        let position = self.state().position;
        let found = floor
            .seeing(|conn, seen| adjoining(conn, position, PAGE_SIZE, seen))
            .map_err(|e| fault::error("following the log", e))?;
        let Some(found) = found else { return Ok(None) };
        let mut state = self.state();
        if state.position < position {
            return Ok(None);
        }
        let seen = found.messages.partition_point(|message| message.sequence() <= state.position);
        let concerned = state.deliver(&found.messages[seen..]);
        wake_all(self.release(state));
        if !found.end {
            self.look.store(true, Ordering::SeqCst);
        }
        Ok(Some(concerned))
    }

    /// Hands over page by page what lies behind the position; whether anything was for a stream.
    fn catch_up(&self, floor: &Floor) -> Result<bool> {
        let mut concerned = false;
        let everything = Filter::everything();
        loop {
            let position = self.state().position;
            let reading =
                in_transaction(floor.connection(), |conn| read_page(conn, position, &everything, position))
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
                (self.setup.quarantine)(reading.page.damaged);
            }
            if reading.page.end || !self.has_listeners() {
                return Ok(concerned);
            }
        }
    }
}

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
