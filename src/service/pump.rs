//! One service: what it holds, and how it begins and ends. What it does is in `steps`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::handler::Handler;
use crate::serve::ServeParts;
use crate::service::call_state::CallState;
use crate::service::desk::{Desk, Finished, Ticket, Verdict, renew_after};

pub(crate) struct Pump {
    pub(super) desk: Arc<dyn Desk>,
    pub(super) serve: Arc<ServeParts>,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) runtime: Handle,
    pub(super) state: Mutex<State>,
    /// Something has changed for who waits until nothing runs.
    pub(super) progress: Notify,
    /// It has ended. Apart from the other, which each step gives: some wait for the end as long as it runs.
    pub(super) over: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// There may be something to take.
    pub(super) look: bool,
    pub(super) finished: Vec<Finished>,
    /// What could not be written down while other things could.
    pub(super) again: Vec<Finished>,
    /// Who wants to know whether what it finished counted.
    pub(super) told: HashMap<Ticket, oneshot::Sender<bool>>,
    pub(super) running: HashMap<Ticket, Running>,
    pub(super) phase: Phase,
    /// Tickets that are being written down, and taken.
    pub(super) settling: bool,
    /// Those that are wanted no more and have not begun: they may be among what is being taken.
    pub(super) unwanted: Vec<Ticket>,
    pub(super) error: Option<Error>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Open,
    /// Takes nothing new.
    Draining,
    Ended,
}

pub(super) struct Running {
    pub(super) call: Arc<CallState>,
    /// It has its place until its handler returns, and no say any more.
    pub(super) answered: bool,
    /// It has run for as long as it may, and is given to another.
    pub(super) lapsed: bool,
    /// In awake milliseconds.
    pub(super) lease: i64,
    pub(super) renew_at: i64,
    pub(super) run_until: i64,
}

/// A lease to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    pub(crate) ticket: Ticket,
    /// In awake milliseconds.
    pub(crate) until: i64,
}

/// Ends the service when its runtime drops what it belongs to, so that nobody waits for an end that cannot come.
struct EndsWith(Arc<Pump>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

/// How long a service that has ended tries to write down what it has done.
const LAST_WORDS: Duration = Duration::from_secs(10);

impl Pump {
    /// Starts on the runtime of the caller.
    pub(crate) fn start(desk: Arc<dyn Desk>, serve: ServeParts, handler: Arc<dyn Handler>) -> Arc<Self> {
        let state = State { look: true, ..State::default() };
        let pump = Arc::new(Self {
            desk,
            serve: Arc::new(serve),
            handler,
            runtime: Handle::current(),
            state: Mutex::new(state),
            progress: Notify::new(),
            over: Notify::new(),
        });
        let lives = EndsWith(Arc::clone(&pump));
        pump.runtime.spawn(async move { lives.0.ended().await });
        pump.kick();
        pump
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.serve.filter
    }

    pub(super) fn desk(&self) -> &dyn Desk {
        &*self.desk
    }

    /// There may be something to take.
    pub(crate) fn look(self: &Arc<Self>) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.look, true) {
            drop(state);
            self.kick();
        }
    }

    /// Whether it would take something if there were any.
    pub(crate) fn is_hungry(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Open && !state.look && state.running.len() < self.serve.concurrency
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().phase == Phase::Ended
    }

    /// Whether it holds any request, or may be about to.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.state();
        state.settling || !state.running.is_empty()
    }

    /// Leases to renew now, and when to ask again: in awake milliseconds. Those that have run for as long as they may are told.
    pub(crate) fn renewals(&self, now: i64) -> (Vec<Renewal>, Option<i64>) {
        let mut state = self.state();
        let (mut due, mut next) = (Vec::new(), None::<i64>);
        for (ticket, running) in &mut state.running {
            if running.answered || running.lapsed {
                continue;
            }
            if now >= running.run_until {
                // Whoever takes it over need not be in this process.
                running.lapsed = true;
                running.call.cancel();
                continue;
            }
            if running.renew_at <= now {
                let until = now.saturating_add(running.lease).min(running.run_until);
                due.push(Renewal { ticket: *ticket, until });
                running.renew_at = now.saturating_add(renew_after(running.lease));
            }
            let then = running.renew_at.min(running.run_until);
            next = Some(next.map_or(then, |next| next.min(then)));
        }
        (due, next)
    }

    /// A handler had its lease made longer.
    pub(super) fn extended(&self, ticket: Ticket, until: i64) {
        if let Some(running) = self.state().running.get_mut(&ticket) {
            running.run_until = running.run_until.max(until);
            running.lapsed = false;
        }
    }

    /// Tells the handler of this ticket, if it is one of this service, that its answer is wanted no more.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        let mut state = self.state();
        match state.running.get(&ticket) {
            Some(running) => running.call.cancel(),
            None if state.settling && !state.unwanted.contains(&ticket) => state.unwanted.push(ticket),
            None => {}
        }
    }

    /// Notes that a handler has returned.
    pub(super) fn returned(&self, finished: Finished) {
        let mut state = self.state();
        match state.running.remove(&finished.ticket) {
            None => return,
            Some(running) if running.answered || running.lapsed => {}
            Some(_) => state.finished.push(finished),
        }
        drop(state);
        self.progress.notify_waiters();
    }

    /// Notes an answer that comes before its handler returns, and tells whether it counted; `false` if there was one before.
    pub(super) fn answer(self: &Arc<Self>, finished: Finished, told: oneshot::Sender<bool>) -> bool {
        let mut state = self.state();
        match state.running.get_mut(&finished.ticket) {
            Some(running) if !running.answered && !running.lapsed => running.answered = true,
            _ => return false,
        }
        state.told.insert(finished.ticket, told);
        state.finished.push(finished);
        drop(state);
        self.kick();
        true
    }

    /// Takes nothing new, waits for what runs as long as the grace period, and gives back the rest.
    pub(crate) async fn stop(self: &Arc<Self>) -> Option<Error> {
        self.drain();
        let ends = async {
            loop {
                let progress = self.progress.notified();
                let mut progress = std::pin::pin!(progress);
                progress.as_mut().enable();
                if self.is_settled() {
                    return;
                }
                progress.await;
            }
        };
        // On the timer of the service's own runtime: who closes the bus may be outside of any.
        let ends = {
            let _entered = self.runtime.enter();
            tokio::time::timeout(self.serve.grace, ends)
        };
        if ends.await.is_err() {
            self.release_all();
        }
        // Where nothing can be written, what is held is given to others when its leases end.
        let ended = {
            let _entered = self.runtime.enter();
            tokio::time::timeout(LAST_WORDS, self.ended())
        };
        match ended.await {
            Ok(error) => error,
            Err(_) => {
                let message = "what the service held could not be written down before it ended";
                self.end(Some(Error::new(ErrorKind::Busy, message)));
                self.ended().await
            }
        }
    }

    /// Ends at once: handlers are dropped where they stand, and what they held is given back.
    pub(crate) fn abort(self: &Arc<Self>) {
        self.drain();
        self.release_all();
    }

    /// Ends at once, and gives nothing back: there is nobody to give it to any more.
    pub(crate) fn end(&self, error: Option<Error>) {
        let running = {
            let mut state = self.state();
            state.phase = Phase::Ended;
            state.error = state.error.take().or(error);
            state.told.clear();
            state.finished.clear();
            state.again.clear();
            std::mem::take(&mut state.running)
        };
        for running in running.into_values() {
            running.call.abandon();
        }
        self.progress.notify_waiters();
        self.over.notify_waiters();
    }

    /// Returns when the service has ended.
    pub(crate) async fn ended(&self) -> Option<Error> {
        loop {
            let over = self.over.notified();
            let mut over = std::pin::pin!(over);
            over.as_mut().enable();
            {
                let state = self.state();
                if state.phase == Phase::Ended {
                    return state.error.clone();
                }
            }
            over.await;
        }
    }

    fn drain(self: &Arc<Self>) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Draining;
        }
        drop(state);
        self.kick();
        self.progress.notify_waiters();
    }

    fn release_all(self: &Arc<Self>) {
        let running = {
            let mut state = self.state();
            let running = std::mem::take(&mut state.running);
            state.finished.extend(running.values().filter(|running| !running.answered).map(|running| {
                Finished {
                    ticket: running.call.ticket,
                    traits: running.call.traits,
                    verdict: Verdict::Released,
                }
            }));
            running
        };
        for running in running.into_values() {
            running.call.abandon();
        }
        self.kick();
        self.progress.notify_waiters();
    }

    fn is_settled(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Ended
            || (state.running.is_empty()
                && state.finished.is_empty()
                && state.again.is_empty()
                && !state.settling)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
