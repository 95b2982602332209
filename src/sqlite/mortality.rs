//! Who among those that hold something has died: what they held is given to others at once.
//!
//! Each part of the bus asks about the peers that hold what it would take over, and is called back when one of these may
//! have died.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::sqlite::deaths::Deaths;
use crate::sqlite::links::Links;
use crate::sqlite::tables::peers;

/// A part of the bus that takes over what the dead have held.
pub(crate) trait Heir: Send + Sync {
    /// One of the processes that it has asked about may have ended.
    fn somebody_died(&self);
}

/// Which part of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Estate {
    Requests,
    Consumers,
}

pub(crate) struct Mortality {
    links: Arc<Links>,
    deaths: Option<Deaths>,
    heirs: Arc<OnceLock<Vec<Weak<dyn Heir>>>>,
    watched: Mutex<[Watched; 2]>,
}

/// What one of them has asked about last.
#[derive(Default)]
struct Watched {
    living: Vec<i64>,
    pids: Vec<u32>,
    /// Some of these cannot be watched, and are looked at then.
    look_at: Option<Instant>,
}

/// What is slept at most between looks for the death of processes whose end nobody tells.
const DEATHS_EVERY: Duration = Duration::from_secs(1);

impl Mortality {
    pub(crate) fn new(links: Arc<Links>) -> Self {
        let heirs = Arc::new(OnceLock::<Vec<Weak<dyn Heir>>>::new());
        let told = Arc::clone(&heirs);
        let died = move || {
            let heirs = told.get().into_iter().flatten().filter_map(Weak::upgrade);
            heirs.for_each(|heir| heir.somebody_died());
        };
        Self { links, deaths: Deaths::new(died), heirs, watched: Mutex::default() }
    }

    /// Whom to call back.
    pub(crate) fn tell(&self, heirs: Vec<Weak<dyn Heir>>) {
        let _ = self.heirs.set(heirs);
    }

    /// Those of these peers that have died; word of the end of the others is asked for.
    pub(crate) fn dead_among(
        &self,
        estate: Estate,
        holders: &[i64],
        conn: &Connection,
    ) -> rusqlite::Result<Vec<i64>> {
        let Some(presence) = &self.links.presence else { return Ok(Vec::new()) };
        let (living, dead): (Vec<i64>, Vec<i64>) = holders
            .iter()
            .filter(|slot| !presence.is_self(**slot))
            .partition(|slot| presence.is_alive(**slot) || !presence.is_sure());
        let mut all = self.watched();
        let [requests, consumers] = &mut *all;
        let (watched, others) = match estate {
            Estate::Requests => (requests, &consumers.pids),
            Estate::Consumers => (consumers, &requests.pids),
        };
        if watched.living != living || watched.look_at.is_some() {
            let rows = if living.is_empty() { Vec::new() } else { peers::list(conn)? };
            let pid = |slot: &i64| rows.iter().find(|row| row.slot == *slot).map(|row| row.pid);
            watched.pids = living.iter().filter_map(pid).filter_map(|pid| u32::try_from(pid).ok()).collect();
            let both: Vec<u32> = watched.pids.iter().chain(others).copied().collect();
            let told = self.deaths.as_ref().is_some_and(|deaths| deaths.watch(&both));
            let unwatched = !living.is_empty() && (!told || watched.pids.len() != living.len());
            watched.look_at = unwatched.then(|| Instant::now() + DEATHS_EVERY);
            watched.living = living;
        }
        Ok(dead)
    }

    /// When those are to be looked at whose end nobody will tell.
    pub(crate) fn look_at(&self, estate: Estate) -> Option<Instant> {
        let all = self.watched();
        match estate {
            Estate::Requests => all[0].look_at,
            Estate::Consumers => all[1].look_at,
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(deaths) = &self.deaths {
            deaths.stop();
        }
    }

    fn watched(&self) -> MutexGuard<'_, [Watched; 2]> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
