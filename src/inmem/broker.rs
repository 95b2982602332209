//! Where callers and services meet: one lock over the requests, and what follows from a step is done outside of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::future::join_all;
use crate::handler::Handler;
use crate::inmem::callers::Caller;
use crate::inmem::consumers::Consumers;
use crate::inmem::desk::ServiceDesk;
use crate::inmem::requests::{Due, Now, Requests};
use crate::inmem::timer::Timer;
use crate::request::RequestParts;
use crate::serve::{ServeParts, Service};
use crate::service::{Pump, PumpHandle, Ticket};
use crate::subject::Subject;
use crate::trie::Trie;

pub(super) struct Broker {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    pub(super) max_payload: usize,
    /// Whether there ever was one: publishing takes this lock only then.
    pub(super) has_consumers: AtomicBool,
}

pub(super) struct State {
    pub(super) requests: Requests,
    pub(super) consumers: Consumers,
    /// The services that take requests, by number.
    serving: Trie<u64>,
    /// Those that still end as well.
    services: HashMap<u64, Seat>,
    last_service: u64,
    /// Whose turn it is to be told first.
    turn: usize,
    phase: Phase,
    timer: Timer,
    /// Members of consumers that this step has woken.
    woken: Vec<Waker>,
}

/// What the broker knows of a service.
pub(super) struct Seat {
    pump: Weak<Pump>,
    filter: Filter,
    /// The subject that it took from last.
    pub(super) last: Option<Subject>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Handlers that run may finish, and use the bus for it; nothing new begins.
    Closing,
    Closed,
}

/// What follows from a step. It is done, and its handles are dropped, without the lock: wakers and handlers are
/// foreign code, which may use the bus at once.
struct Effects {
    look: Vec<Arc<Pump>>,
    cancel: Vec<(Arc<Pump>, Ticket)>,
    wakers: Vec<Waker>,
}

impl Broker {
    pub(super) fn new(clock: Arc<dyn Clock>, max_payload: usize) -> Self {
        let state = State {
            requests: Requests::default(),
            consumers: Consumers::default(),
            serving: Trie::default(),
            services: HashMap::new(),
            last_service: 0,
            turn: 0,
            phase: Phase::Open,
            timer: Timer::default(),
            woken: Vec::new(),
        };
        Self { state: Mutex::new(state), clock, max_payload, has_consumers: AtomicBool::new(false) }
    }

    /// One step, at the time that it is.
    pub(super) fn step<T>(self: &Arc<Self>, act: impl FnOnce(&mut State, Now) -> T) -> T {
        let mut state = self.state();
        let now = self.now();
        state.advance(now);
        let output = act(&mut state, now);
        let effects = state.effects();
        let due = state.next_due();
        state.timer.arm(due, self);
        drop(state);
        effects.apply();
        output
    }

    /// A new request, and who waits for its replies.
    pub(super) fn open(self: &Arc<Self>, parts: RequestParts, wants_parts: bool) -> Result<Caller> {
        parts.check_size(self.max_payload)?;
        runtime()?;
        let (id, reader) = self.step(|state, now| {
            state.open()?;
            if parts.if_served && !state.is_served(&parts.subject) {
                let message = format!("nobody serves {:?}", parts.subject);
                return Err(Error::new(ErrorKind::NoResponders, message));
            }
            Ok(state.requests.open(parts, wants_parts, now))
        })?;
        Ok(Caller::new(Arc::clone(self), id, reader))
    }

    pub(super) fn serve(self: &Arc<Self>, parts: ServeParts, handler: &Arc<dyn Handler>) -> Result<Service> {
        runtime()?;
        let (pump, service) = self.step(|state, _| {
            state.open()?;
            state.services.retain(|_, seat| seat.pump.strong_count() > 0);
            state.last_service += 1;
            let service = state.last_service;
            let filter = parts.filter.clone();
            // The loop begins on another thread, perhaps, and waits there for the lock until its seat is here.
            let desk = Arc::new(ServiceDesk::new(Arc::clone(self), service));
            let pump = Pump::start(desk, parts, Arc::clone(handler));
            state.serving.insert(&filter, service, service);
            state.services.insert(service, Seat { pump: Arc::downgrade(&pump), filter, last: None });
            Ok::<_, Error>((pump, service))
        })?;
        let broker = Arc::clone(self);
        Ok(Service::new(PumpHandle::new(pump, move || {
            broker.leave(service);
            Box::pin(std::future::ready(()))
        })))
    }

    /// Lets handlers finish, as long as their services' grace.
    pub(super) async fn drain(self: &Arc<Self>) {
        let pumps = self.step(|state, now| {
            if state.phase == Phase::Open {
                state.phase = Phase::Closing;
            }
            state.serving = Trie::default();
            state.requests.close_waiting(now);
            state.consumers.wake_all();
            state.pumps()
        });
        let stops = pumps.into_iter().map(|pump| async move {
            pump.stop().await;
        });
        join_all(stops).await;
    }

    /// Ends whatever is left, at once.
    pub(super) fn close(self: &Arc<Self>) {
        let pumps = self.step(|state, _| {
            state.phase = Phase::Closed;
            state.serving = Trie::default();
            state.requests.close();
            state.consumers.close();
            state.timer.stop();
            let pumps = state.pumps();
            state.services.clear();
            pumps
        });
        for pump in pumps {
            pump.end(None);
        }
    }

    /// Has members of consumers look at what was published.
    pub(super) fn published<'a>(self: &Arc<Self>, subjects: impl Iterator<Item = &'a Subject>) {
        // Set before a member first reads the log: it sees the event there, or this is seen here.
        if self.has_consumers.load(Ordering::Acquire) {
            self.step(|state, _| subjects.for_each(|subject| state.consumers.published(subject)));
        }
    }

    /// Looks at the clock again.
    pub(super) fn nudge(self: &Arc<Self>) {
        self.step(|state, _| state.timer.wake());
    }

    /// For the timer: does what is due, and tells what is next.
    pub(super) fn tick(self: &Arc<Self>) -> (Due, Now) {
        self.step(|state, now| {
            let due = state.next_due();
            state.timer.told(due);
            (due, now)
        })
    }

    pub(super) fn now(&self) -> Now {
        Now { unix: self.clock.unix_millis(), awake: self.clock.awake_millis() }
    }

    fn leave(self: &Arc<Self>, service: u64) {
        self.step(|state, _| {
            if let Some(seat) = state.services.get(&service) {
                state.serving.remove(&seat.filter, service);
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Only a clock is foreign code under this lock, and it is asked before anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// For what begins something.
    pub(super) fn open(&self) -> Result<()> {
        if self.phase == Phase::Open { Ok(()) } else { Err(Error::closed()) }
    }

    /// For what a handler may need to finish.
    pub(super) fn not_closed(&self) -> Result<()> {
        if self.phase == Phase::Closed { Err(Error::closed()) } else { Ok(()) }
    }

    /// What is needed to take: the requests, and the seat of who takes.
    pub(super) fn taking(&mut self, service: u64) -> Option<(&mut Requests, &mut Seat)> {
        Some((&mut self.requests, self.services.get_mut(&service)?))
    }

    fn advance(&mut self, now: Now) {
        self.requests.advance(now);
        self.consumers.advance(now);
        self.bury();
    }

    fn next_due(&self) -> Due {
        let (requests, consumers) = (self.requests.next_due(), self.consumers.next_due());
        let first = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        Due { unix: first(requests.unix, consumers.unix), awake: first(requests.awake, consumers.awake) }
    }

    /// Puts what consumers have given up on to the other dead letters; tells whom they have woken.
    fn bury(&mut self) {
        let changes = self.consumers.take_changes();
        self.woken.extend(changes.wakers);
        for letter in changes.letters {
            self.requests.bury(letter);
        }
    }

    fn is_served(&self, subject: &Subject) -> bool {
        let mut served = false;
        self.serving.each_match(subject, |_, _| served = true);
        served
    }

    fn pumps(&self) -> Vec<Arc<Pump>> {
        self.services.values().filter_map(|seat| seat.pump.upgrade()).collect()
    }

    fn effects(&mut self) -> Effects {
        self.bury();
        let mut changes = self.requests.take_changes();
        changes.wakers.append(&mut self.woken);
        let mut look = Vec::new();
        for subject in changes.ready {
            let mut served = Vec::new();
            self.serving.each_match(&subject, |service, _| served.push(service));
            if !served.is_empty() {
                // All are told, for the first may be full by the time that it looks; each is the first in its turn.
                let first = self.turn % served.len();
                served.rotate_left(first);
                self.turn = self.turn.wrapping_add(1);
            }
            look.extend(served.iter().filter_map(|service| self.pump(*service)));
        }
        let unwanted = changes.unwanted.into_iter();
        let cancel = unwanted.filter_map(|(service, ticket)| Some((self.pump(service)?, ticket))).collect();
        Effects { look, cancel, wakers: changes.wakers }
    }

    fn pump(&self, service: u64) -> Option<Arc<Pump>> {
        self.services.get(&service)?.pump.upgrade()
    }
}

impl Effects {
    fn apply(self) {
        for pump in self.look {
            pump.look();
        }
        for (pump, ticket) in self.cancel {
            pump.cancel(ticket);
        }
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

/// Handlers are tasks, and deadlines need a timer.
pub(super) fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|error| {
        let message = "requests, services and consumers need a tokio runtime: this was called outside of one";
        Error::with_source(ErrorKind::Unsupported, message, error)
    })
}
