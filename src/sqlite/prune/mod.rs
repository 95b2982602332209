//! Retention: one process at a time removes what policies say, in the background.
//!
//! A pass counts what is new, removes what is due, and sees to what else is kept for a time. In between its thread sleeps;
//! where nothing is due it only looks, and writes nothing.

mod clock;
mod count;
mod due;
mod keep;
mod kept;
mod manage;
mod pacing;
mod pass;
mod policy;
mod remove;
mod turn;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::retention::Pruned;
use crate::retry::millis;
use crate::sqlite::boot;
use crate::sqlite::builder::Options;
use crate::sqlite::links::Links;
use crate::sqlite::log::Log;
use crate::sqlite::process::Process;
use crate::sqlite::tables::{events, meta, prunable, retention};
use due::Walk;
use pass::Pass;
use turn::{Turn, Whose};

pub(crate) use clock::RetentionClock;
pub(crate) use manage::{apply_builder, check_age, set_dead_letter_age};
pub(crate) use policy::{Policies, counted};

/// A short-lived process leaves pruning to others.
const FIRST: Duration = Duration::from_secs(2);
/// Between looks of who does not prune for whether nobody does any more, and between passes where something is limited in
/// number.
const STAND_BY: Duration = Duration::from_secs(10);
/// Between passes at most; less where an age is short, and after much was published.
const SELDOM: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(1);
/// How long the last pass of a process takes at most that lived too briefly for any other; and events that are worth one.
const LAST: Duration = Duration::from_millis(100);
const MANY: u64 = 1_000;
/// Or the time since anybody pruned.
const LONG_AGO: Duration = Duration::from_secs(3600);
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
    /// Whoever closes the bus waits no longer than until then.
    leave_by: OnceLock<Instant>,
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
    /// Those that were begun.
    passes: u64,
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
            passes: 0,
            is_anothers: false,
        };
        let shared = Shared {
            log,
            links,
            options,
            commits: AtomicU64::new(0),
            leave_by: OnceLock::new(),
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

    /// Ends what is under way, and blocks until it has ended, unless the writer `is_held_up` meanwhile.
    pub(crate) fn stop(&self, is_held_up: bool) {
        if self.process.check().is_err() {
            return;
        }
        // One that is under way, or has been, ends at its next step.
        let is_new = !is_held_up && self.shared.state.try_lock().is_ok_and(|state| state.passes == 0);
        let _ = self.shared.leave_by.set(Instant::now() + if is_new { LAST } else { Duration::ZERO });
        self.wake();
        if is_held_up {
            return;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
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
        let is_late = self.leave_by.get().is_some_and(|by| Instant::now() >= *by);
        if is_late { Err(Error::closed()) } else { Ok(()) }
    }

    /// Where no process lives for long, whoever leaves sees to what is due, for an instant and once in a while: a log that
    /// only hooks and scripts write would grow for ever.
    fn last_pass(&self) {
        if !matches!(self.log.read("looking at the retention", is_overdue), Ok(true)) {
            return;
        }
        if let Err(error) = self.pass_in_turn()
            && error.kind() != ErrorKind::Closed
        {
            tracing::debug!(%error, "removing what is due on the way out; whoever comes next tries again");
        }
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
        if self.check_stopped().is_ok() {
            self.last_pass();
        }
    }

    /// Sleeps for so long, or until it is wanted; `false` if it is to end.
    fn wait(&self, sleep: Duration) -> bool {
        let (start, mut signal) = (Instant::now(), self.signal());
        loop {
            if self.leave_by.get().is_some() {
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
        state.passes += 1;
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

/// Whether nobody has looked at the log for long.
fn is_overdue(conn: &rusqlite::Connection) -> rusqlite::Result<bool> {
    let policies = Policies::new(retention::all(conn)?);
    let uncounted = events::newest(conn)?.saturating_sub(policies.counted_through());
    let clock = meta::get(conn, meta::RETENTION_CLOCK)?.as_deref().and_then(RetentionClock::read);
    let looked = clock.map_or(0, |clock| clock.looked_at());
    let is_long_ago = prunable::newest_time(conn)?.unwrap_or(0).saturating_sub(looked) > millis(LONG_AGO);
    Ok(policies.len() > 0 && uncounted > 0 && (uncounted >= MANY || is_long_ago))
}

/// Tells apart what [`Clock::boot_millis`](crate::Clock::boot_millis) counts from.
fn boot_of_the_clock() -> String {
    let boot = if cfg!(target_os = "linux") { boot::id() } else { None };
    boot.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
}
