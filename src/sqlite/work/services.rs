//! The services of a bus, and what wakes them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::filter::Filter;
use crate::service::{Pump, Renewal, Ticket};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::work::claim::{self, Round};

#[derive(Default)]
pub(crate) struct Services {
    all: Mutex<Vec<Entry>>,
    count: AtomicUsize,
    /// By filter with wildcards, where its services are on their way round the subjects.
    rounds: Mutex<HashMap<Filter, Round>>,
    /// How often any of them was woken.
    wakes: AtomicU64,
}

struct Entry {
    id: u64,
    pump: Arc<Pump>,
    wanted: WakeBits,
    /// Takes nothing new.
    leaving: bool,
}

impl Services {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn add(&self, id: u64, pump: &Arc<Pump>) {
        let mut all = self.all();
        all.push(Entry {
            id,
            pump: Arc::clone(pump),
            wanted: WakeBits::served(pump.filter()),
            leaving: false,
        });
        self.count.store(all.len(), Ordering::SeqCst);
    }

    /// It takes nothing new. It is remembered until it holds nothing more.
    pub(crate) fn leave(&self, id: u64) {
        let mut all = self.all();
        all.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.leaving = true);
    }

    /// Forgets those that have ended.
    pub(crate) fn forget(&self, id: u64) {
        let mut all = self.all();
        all.retain(|entry| entry.id != id);
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.retain(|filter, _| all.iter().any(|entry| entry.pump.filter() == filter));
        self.count.store(all.len(), Ordering::SeqCst);
    }

    pub(crate) fn pumps(&self) -> Vec<Arc<Pump>> {
        self.all().iter().map(|entry| Arc::clone(&entry.pump)).collect()
    }

    /// What they serve, in the order in which they began.
    pub(crate) fn filters(&self) -> Vec<Filter> {
        let mut filters: Vec<Filter> = Vec::new();
        for entry in self.all().iter().filter(|entry| !entry.leaving && !entry.pump.has_ended()) {
            if !filters.contains(entry.pump.filter()) {
                filters.push(entry.pump.filter().clone());
            }
        }
        filters
    }

    pub(crate) fn interest(&self) -> WakeBits {
        let mut bits = WakeBits::NOTHING;
        self.all().iter().for_each(|entry| bits.add(entry.wanted));
        bits
    }

    /// This process has committed something that concerns these.
    pub(crate) fn committed(&self, changed: WakeBits) {
        for entry in self.all().iter().filter(|entry| entry.wanted.overlap(changed)) {
            self.wakes.fetch_add(1, Ordering::SeqCst);
            entry.pump.look();
        }
    }

    /// Has those look that could take something, where there is something; whether there was.
    pub(crate) fn look(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let mut any = false;
        for pump in self.pumps() {
            if pump.is_hungry() && claim::has_ready(conn, pump.filter())? {
                any = true;
                self.wakes.fetch_add(1, Ordering::SeqCst);
                pump.look();
            }
        }
        Ok(any)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.all().iter().any(|entry| entry.pump.is_busy())
    }

    /// Leases to renew now, and when the next is due: in awake milliseconds.
    pub(crate) fn renewals(&self, now: i64) -> (Vec<Renewal>, Option<i64>) {
        let (mut due, mut next) = (Vec::new(), None::<i64>);
        for pump in self.pumps() {
            let (more, then) = pump.renewals(now);
            due.extend(more);
            next = next.into_iter().chain(then).min();
        }
        (due, next)
    }

    pub(crate) fn stop(&self, ticket: Ticket) {
        self.pumps().iter().for_each(|pump| pump.cancel(ticket));
    }

    /// Lets a wildcard service go on where one with its filter was; with how often services were woken.
    pub(super) fn in_round<T>(&self, filter: &Filter, run: impl FnOnce(&mut Round, u64) -> T) -> T {
        let wakes = self.wakes.load(Ordering::SeqCst);
        if filter.as_subject().is_some() {
            return run(&mut Round::default(), wakes);
        }
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        run(rounds.entry(filter.clone()).or_default(), wakes)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
