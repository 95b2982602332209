//! The one sleeping thread of a bus: it watches the file for whoever in this process waits for what others commit.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::Opener;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::process::Process;
use crate::sqlite::stats::Counters;
use crate::sqlite::wake::{Bell, Floor, Pace, WakeBits, WalWatch};

/// Something of this process that waits for what others commit. It is called on the watcher's thread alone.
pub(crate) trait Follower: Send + Sync {
    /// Whether it waits for anything.
    fn is_active(&self) -> bool;

    /// What it waits for.
    fn interest(&self) -> WakeBits;

    /// Looks on a snapshot for what a ring is most often for, the quick way; whether anything was for it. `None` if it takes the
    /// thorough one.
    fn glance(&self, snapshot: &Connection) -> Result<Option<bool>>;

    /// The same where there is no other follower: with a snapshot of its own making, up to which the floor has seen.
    fn glance_alone(&self, floor: &mut Floor) -> Result<Option<bool>> {
        floor.on_snapshot(|snapshot| self.glance(snapshot))
    }

    /// Looks thoroughly; whether anything was for it.
    fn look(&self, conn: &Connection) -> Result<bool>;

    /// Does what time asks for, and says when that is next.
    fn tick(&self, conn: &Connection) -> Result<Option<Duration>>;

    /// The file could not be read; `for_good` if it is no longer there to be.
    fn failed(&self, error: &Error, for_good: bool);
}

pub(crate) struct WatcherSetup {
    pub(crate) opener: Opener,
    pub(crate) identity: FileIdentity,
    pub(crate) bell: Arc<Bell>,
    /// Whether to look without having been told.
    pub(crate) floor: bool,
    pub(crate) counters: Arc<Counters>,
    /// Done once a second at most, while the thread is awake: it holds up what is to be handed over, and no publisher.
    pub(crate) upkeep: Box<dyn Fn() + Send + Sync>,
}

pub(crate) struct Watcher {
    setup: WatcherSetup,
    followers: OnceLock<Vec<Weak<dyn Follower>>>,
    /// There is a reason to look that is not in the file.
    look: AtomicBool,
    /// The reason is that the WAL was written.
    watched: AtomicBool,
    sleeper: OnceLock<Thread>,
    process: Process,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Started when there is first somebody to watch for.
    thread: Option<JoinHandle<()>>,
    stopped: bool,
}

/// However busy the file is, time is minded this often: leases are to be renewed.
const TICK_AT_LEAST: Duration = Duration::from_millis(20);
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// Before a file that could not be read is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Watcher {
    pub(crate) fn new(setup: WatcherSetup) -> Arc<Self> {
        Arc::new(Self {
            setup,
            followers: OnceLock::new(),
            look: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            sleeper: OnceLock::new(),
            process: Process::current(),
            state: Mutex::default(),
        })
    }

    /// For whom to watch.
    pub(crate) fn watch_for(&self, followers: Vec<Weak<dyn Follower>>) {
        let _ = self.followers.set(followers);
    }

    /// Starts the thread, unless it runs.
    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        let mut state = self.state();
        if state.stopped {
            return Err(Error::closed());
        }
        if state.thread.is_none() {
            let watcher = Arc::clone(self);
            let thread =
                std::thread::Builder::new().name("rowbus-watcher".to_owned()).spawn(move || watcher.run());
            let failed = |e| Error::with_source(ErrorKind::Io, "starting the watcher's thread", e);
            state.thread = Some(thread.map_err(failed)?);
        }
        Ok(())
    }

    /// Has it look soon.
    pub(crate) fn wake(&self) {
        self.look.store(true, Ordering::SeqCst);
        self.setup.bell.wake();
        // Where it sleeps with nobody to watch for.
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }

    /// Has the thread, which is awake, look once more before it sleeps.
    pub(crate) fn look_again(&self) {
        self.look.store(true, Ordering::SeqCst);
    }

    /// Ends the thread. Blocks until it has ended.
    pub(crate) fn stop(&self) {
        if self.process.check().is_err() {
            return;
        }
        let thread = {
            let mut state = self.state();
            state.stopped = true;
            state.thread.take()
        };
        let Some(thread) = thread else { return };
        self.wake();
        // A waker that drops the last handle of the bus would have the thread wait for itself.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }

    fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followers(&self) -> impl Iterator<Item = Arc<dyn Follower>> {
        self.followers.get().into_iter().flatten().filter_map(Weak::upgrade)
    }

    fn is_active(&self) -> bool {
        self.followers().any(|follower| follower.is_active())
    }

    fn run(self: &Arc<Self>) {
        let _ = self.sleeper.set(std::thread::current());
        loop {
            let watched = std::panic::catch_unwind(AssertUnwindSafe(|| self.run_until_error()));
            let error = match watched {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => Error::new(ErrorKind::Database, "a panic interrupted the reader of the file"),
            };
            // A file that is gone from under a connection fails in many ways.
            let gone = self.setup.identity.check().err();
            let for_good = gone.is_some();
            let error = gone.unwrap_or(error);
            tracing::warn!(%error, "the file could not be read");
            self.followers().for_each(|follower| follower.failed(&error, for_good));
            // Whoever closes the bus waits for this thread, readable or not as the file may be.
            if self.is_stopped() {
                return;
            }
            std::thread::park_timeout(AGAIN_AFTER);
        }
    }

    /// Returns when there is nothing more to do.
    fn run_until_error(self: &Arc<Self>) -> Result<()> {
        while !self.is_active() {
            if self.is_stopped() {
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
        let counters = &self.setup.counters;
        let (mut watch, mut rung, mut by_others) = (None, false, false);
        let (mut upkeep, mut ticked) = (Instant::now(), Instant::now());
        loop {
            if self.is_stopped() {
                return Ok(());
            }
            if !self.is_active() {
                std::thread::park();
                // Who has begun to wait since may begin further back than the floor has seen.
                self.look.store(true, Ordering::SeqCst);
                continue;
            }
            if ticked.elapsed() >= TICK_AT_LEAST {
                self.tick(&floor)?;
                ticked = Instant::now();
            }
            let armed = bell.arm(self.interest());
            // Both are taken as seen before anything is read.
            let told = self.look.swap(false, Ordering::SeqCst);
            let was_rung = std::mem::take(&mut rung);
            let needless = std::mem::take(&mut by_others);
            if was_rung
                && !told
                && let Some(concerned) = self.glance(&mut floor)?
            {
                pace.heard(Instant::now(), concerned);
                counters.needless.add(u64::from(needless && !concerned));
                continue;
            }
            // A ring that could not be answered the quick way may have had the floor count it as seen.
            if floor.has_changed()? || told || was_rung {
                drop(armed);
                let mut concerned = false;
                for follower in self.active() {
                    concerned |= follower.look(floor.connection())?;
                }
                pace.heard(Instant::now(), concerned);
                counters.needless.add(u64::from(needless && !concerned));
                continue;
            }
            counters.needless.add(u64::from(needless));
            let mut sleep = pace.sleep(Instant::now(), bell.reaches_others());
            sleep = self.tick(&floor)?.unwrap_or(sleep).min(sleep);
            ticked = Instant::now();
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
            by_others = self.count_wake(rung);
        }
    }

    /// Counts what has ended a sleep; whether it was what others have written.
    fn count_wake(&self, rung: bool) -> bool {
        let counters = &self.setup.counters;
        let watched = self.watched.swap(false, Ordering::Relaxed);
        // Its own calls ring as well.
        let own = !watched && self.look.load(Ordering::Relaxed);
        match (watched, own, rung) {
            (true, ..) => counters.watch.one(),
            (_, true, _) => counters.own.one(),
            (_, _, true) => counters.bell.one(),
            _ => counters.floor.one(),
        }
        watched || (rung && !own)
    }

    /// Has everybody mind the time; how long they need not again.
    fn tick(&self, floor: &Floor) -> Result<Option<Duration>> {
        let mut next = None::<Duration>;
        for follower in self.active() {
            next = next.into_iter().chain(follower.tick(floor.connection())?).min();
        }
        Ok(next)
    }

    fn active(&self) -> impl Iterator<Item = Arc<dyn Follower>> {
        self.followers().filter(|follower| follower.is_active())
    }

    fn interest(&self) -> WakeBits {
        let mut bits = WakeBits::NOTHING;
        self.active().for_each(|follower| bits.add(follower.interest()));
        bits
    }

    /// The quick way for all; `None` if one of them needs the thorough one.
    fn glance(&self, floor: &mut Floor) -> Result<Option<bool>> {
        let active: Vec<_> = self.active().collect();
        if let [alone] = active.as_slice() {
            return alone.glance_alone(floor);
        }
        floor.on_snapshot(|snapshot| {
            let mut concerned = false;
            for follower in &active {
                match follower.glance(snapshot)? {
                    Some(found) => concerned |= found,
                    None => return Ok(None),
                }
            }
            Ok(Some(concerned))
        })
    }

    /// A watch on the WAL, where the system has one to give.
    fn watch(self: &Arc<Self>) -> Option<WalWatch> {
        let watcher = Arc::downgrade(self);
        let changed = move || {
            if let Some(watcher) = Weak::upgrade(&watcher) {
                watcher.watched.store(true, Ordering::Relaxed);
                watcher.wake();
            }
        };
        WalWatch::new(self.setup.opener.path(), changed).ok()
    }
}
