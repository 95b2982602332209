//! Retention: one process at a time removes what policies say, in the background.
//!
//! A pass counts what is new, removes what is due, and sees to what else is kept for a time. In between its thread sleeps;
//! where nothing is due it only looks, and writes nothing.

mod clock;
mod count;
mod due;
mod keep;
mod manage;
mod pacing;
mod pass;
mod policy;
mod remove;
mod turn;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::retention::Pruned;
use crate::sqlite::boot;
use crate::sqlite::builder::Options;
use crate::sqlite::links::Links;
use crate::sqlite::log::Log;
use crate::sqlite::process::Process;
use clock::RetentionClock;
use due::Walk;
use keep::Seen;
use pass::Pass;
use policy::Policies;
use turn::{Turn, Whose};

pub(crate) use manage::{apply_builder, check_age};

/// A short-lived process leaves pruning to others.
const FIRST: Duration = Duration::from_secs(2);
/// Between looks of who does not prune for whether nobody does any more, and between passes where something is limited in
/// number.
const STAND_BY: Duration = Duration::from_secs(10);
/// Between passes at most; less where an age is short, and after much was published.
const SELDOM: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(1);
/// Between passes at least.
const OFTEN: Duration = Duration::from_millis(200);

/// What prunes for a bus.
pub(crate) struct Pruner {
    shared: Arc<Shared>,
    process: Process,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    log: Arc<Log>,
    links: Arc<Links>,
    options: Options,
    /// Rises with each commit of this bus that somebody may wait for, and that published nothing.
    commits: AtomicU64,
    stop: AtomicBool,
    signal: Mutex<Signal>,
    woken: Condvar,
    state: Mutex<State>,
}

#[derive(Default)]
struct Signal {
    wanted: bool,
}

/// What is known from one pass to the next.
struct State {
    turn: Turn,
    clock: Option<RetentionClock>,
    boot_id: String,
    /// The policies that `walks` is for.
    policies: Policies,
    walks: HashMap<Filter, Walk>,
    seen: Seen,
    /// Another process has the lease: the pass has ended without having written.
    is_anothers: bool,
}

impl Pruner {
    pub(crate) fn new(
        log: Arc<Log>,
        links: Arc<Links>,
        options: Options,
        database: &std::path::Path,
    ) -> Arc<Self> {
        let state = State {
            turn: Turn::new(database.to_owned()),
            clock: None,
            boot_id: boot_of_the_clock(),
            policies: Policies::default(),
            walks: HashMap::new(),
            seen: Seen::default(),
            is_anothers: false,
        };
        let shared = Shared {
            log,
            links,
            options,
            commits: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            signal: Mutex::default(),
            woken: Condvar::new(),
            state: Mutex::new(state),
        };
        Arc::new(Self { shared: Arc::new(shared), process: Process::current(), thread: Mutex::default() })
    }

    /// Starts the thread.
    pub(crate) fn start(&self) {
        let shared = Arc::clone(&self.shared);
        let started =
            std::thread::Builder::new().name("rowbus-pruner".to_owned()).spawn(move || shared.run());
        match started {
            Ok(started) => *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(started),
            Err(error) => {
                tracing::warn!(%error, "starting the pruner's thread; this process removes no events")
            }
        }
    }

    /// A commit that published nothing, and was none of the pruner's.
    pub(crate) fn committed(&self) {
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// There is reason for a pass soon.
    pub(crate) fn wake(&self) {
        self.shared.signal().wanted = true;
        self.shared.woken.notify_all();
    }

    /// Removes all that is due now, whoever's turn it is. Blocks until it has.
    pub(crate) fn prune(&self) -> Result<Pruned> {
        let shared = &self.shared;
        let mut state = shared.state();
        let mut pass = Pass::new(shared, &mut state, false);
        pass.recount()?;
        pass.run()?;
        Ok(pass.pruned)
    }

    /// Blocks until what is under way has ended.
    pub(crate) fn stop(&self) {
        if self.process.check().is_err() {
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
        // One that was asked for ends at its next step.
        self.shared.state().turn.leave();
    }
}

impl Shared {
    fn signal(&self) -> MutexGuard<'_, Signal> {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_stopped(&self) -> Result<()> {
        if self.stop.load(Ordering::SeqCst) { Err(Error::closed()) } else { Ok(()) }
    }

    /// The thread.
    fn run(&self) {
        let mut sleep = FIRST;
        while self.wait(sleep) {
            sleep = match self.pass_in_turn() {
                Ok(sleep) => sleep,
                Err(error) => match error.kind() {
                    ErrorKind::Closed | ErrorKind::FileReplaced | ErrorKind::Forked => return,
                    // A busy file or a full disk; what is due stays due.
                    _ => {
                        tracing::debug!(%error, "removing what is due; it is tried again");
                        STAND_BY
                    }
                },
            };
        }
    }

    /// Sleeps for so long, or until it is wanted; `false` if it is to end.
    fn wait(&self, sleep: Duration) -> bool {
        let (start, mut signal) = (Instant::now(), self.signal());
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return false;
            }
            let least = if signal.wanted { OFTEN.min(sleep) } else { sleep };
            let Some(rest) = least.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()) else {
                signal.wanted = false;
                return true;
            };
            signal = self.woken.wait_timeout(signal, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A pass, if it is this process's turn; how long to sleep then.
    fn pass_in_turn(&self) -> Result<Duration> {
        let mut state = self.state();
        let whose = state.turn.take();
        if whose == Whose::Anothers {
            return Ok(STAND_BY);
        }
        let mut pass = Pass::new(self, &mut state, whose == Whose::Unknown);
        if !pass.run()? {
            return Ok(STAND_BY);
        }
        let limits = || state.policies.iter().map(|policy| &policy.limits);
        let counts = limits().any(|limits| {
            limits.max_messages.is_some() || limits.max_bytes.is_some() || limits.max_per_subject.is_some()
        });
        let shortest = limits().filter_map(|limits| limits.max_age).min();
        let sleep = shortest.map_or(SELDOM, |age| (age / 10).clamp(SOON, SELDOM));
        Ok(if counts { sleep.min(STAND_BY) } else { sleep })
    }

    /// Rests, unless it is to end.
    fn rest(&self, time: Duration) -> Result<()> {
        std::thread::sleep(time);
        self.check_stopped()
    }
}

/// Tells apart what [`Clock::boot_millis`](crate::Clock::boot_millis) counts from.
fn boot_of_the_clock() -> String {
    let boot = if cfg!(target_os = "linux") { boot::id() } else { None };
    boot.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
}
