//! The transactions of the pruner. Each looks at what it relies on, since policies, consumers and rows may have changed
//! meanwhile, by whatever hand.

use std::sync::Arc;
use std::time::Instant;

use crate::publish::Durability;
use crate::sqlite::prune::keep::Wants;
use crate::sqlite::prune::pacing::Batch;
use crate::sqlite::prune::policy::Policies;
use crate::sqlite::tables::retention::{self, Removed};
use crate::sqlite::tables::{dead_letters, dedup, meta, prunable};
use crate::sqlite::writer::{Failure, Operation, Tx};

/// A row that is to go: its sequence and its bytes.
pub(super) type Row = (u64, u64);

/// Whether a consumer may still want what goes.
#[derive(Clone, Debug)]
pub(super) enum Consent {
    /// The policy keeps nothing for consumers.
    NotAsked,
    /// These want none of it.
    Given(Arc<Wants>),
    /// Some want it, and more is kept for them than the policy allows.
    Refused,
}

/// Why nothing was removed: what it was decided by is different now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    Policies,
    Consumers,
}

/// Removes events of one policy, as many as there is time for.
pub(super) struct Remove {
    /// As they were when it was decided that these are to go.
    pub(super) policies: Arc<Policies>,
    pub(super) at: usize,
    /// In order.
    pub(super) rows: Vec<Row>,
    /// Whether what is governed ends with each row that goes; and then, up to here.
    pub(super) through: Option<u64>,
    pub(super) consent: Consent,
    pub(super) batch: Batch,
    pub(super) clock: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Nothing was done.
    pub(super) stale: Option<Stale>,
    /// Rows from the first on that are gone.
    pub(super) done: usize,
    /// Of them, those that were there, and their bytes.
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Operation for Remove {
    type Output = Outcome;

    // What comes back after a power cut goes again; the counters come back with it.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn is_long(&self) -> bool {
        true
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Outcome, Failure> {
        let start = Instant::now();
        let policies = Policies::new(retention::all(tx.conn)?);
        let Some(policy) = policies.get(self.at).filter(|_| policies.say_the_same_as(&self.policies)) else {
            return Ok(Outcome { stale: Some(Stale::Policies), ..Outcome::default() });
        };
        if let Consent::Given(wants) = &self.consent
            && !wants.still_holds(tx.conn)?
        {
            return Ok(Outcome { stale: Some(Stale::Consumers), ..Outcome::default() });
        }
        let has_reports = prunable::has_reports(tx.conn)?;
        let (mut outcome, mut removed) = (Outcome::default(), Removed::default());
        for (id, bytes) in &self.rows {
            if prunable::remove(tx.conn, *id)? {
                (outcome.events, outcome.bytes) = (outcome.events + 1, outcome.bytes + bytes);
                removed.highest = removed.highest.max(*id);
                // What was not counted yet never will be.
                if *id <= policy.counted_through {
                    (removed.messages, removed.bytes) = (removed.messages + 1, removed.bytes + bytes);
                }
            }
            if has_reports {
                prunable::forget_report(tx.conn, *id)?;
            }
            outcome.done += 1;
            if outcome.done >= self.batch.rows || start.elapsed() >= self.batch.time {
                break;
            }
        }
        if let Some(through) = self.through {
            let last = outcome.done.checked_sub(1).and_then(|last| self.rows.get(last));
            removed.through =
                if outcome.done == self.rows.len() { through } else { last.map_or(0, |(id, _)| *id) };
        }
        if !matches!(self.consent, Consent::Given(_)) {
            removed.unacked = removed.highest;
        }
        retention::removed(tx.conn, &policy.filter, removed)?;
        if outcome.events > 0 {
            meta::count(tx.conn, meta::REMOVALS)?;
        }
        if let Some(clock) = &self.clock {
            meta::set(tx.conn, meta::RETENTION_CLOCK, clock)?;
        }
        tx.wrote(outcome.bytes as usize + outcome.done * 256);
        Ok(outcome)
    }
}

/// Adds what was counted; `false` if the log was counted from elsewhere, or for others, meanwhile.
pub(super) struct Count {
    pub(super) policies: Arc<Policies>,
    /// By policy: messages and bytes.
    pub(super) counted: Vec<(u64, u64)>,
    pub(super) after: u64,
    pub(super) through: u64,
    /// How often rows had been removed when these were counted.
    pub(super) removals: i64,
    pub(super) clock: Option<String>,
}

impl Operation for Count {
    type Output = bool;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let policies = Policies::new(retention::all(tx.conn)?);
        let is_next = policies.are_counted_together() && policies.counted_through() == self.after;
        // Of what was counted something is gone, and was removed as not counted yet.
        let is_next = is_next && meta::number(tx.conn, meta::REMOVALS)? == self.removals;
        if !is_next || !policies.say_the_same_as(&self.policies) {
            return Ok(false);
        }
        for (policy, counted) in policies.iter().zip(&self.counted) {
            retention::counted(tx.conn, &policy.filter, self.through, *counted)?;
        }
        if let Some(clock) = &self.clock {
            meta::set(tx.conn, meta::RETENTION_CLOCK, clock)?;
        }
        Ok(true)
    }
}

/// Has everything counted and looked at anew, for the policies as they are.
pub(super) struct Recount;

impl Operation for Recount {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let policies = Policies::new(retention::all(tx.conn)?);
        meta::set(tx.conn, meta::COUNTED_FOR, &policies.counted_for())?;
        Ok(retention::forget(tx.conn)?)
    }
}

/// Rows of a kind that one [`Tidy`] removes.
const TIDY: usize = 128;

/// Removes dead letters and ids that were kept long enough; how many of each.
pub(super) struct Tidy {
    /// Dead letters that died before then go; and what cannot have died yet.
    pub(super) died_before: Option<(i64, i64)>,
}

impl Operation for Tidy {
    type Output = (u64, u64);

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(u64, u64), Failure> {
        let mut letters = 0;
        if let Some(before) = self.died_before {
            for id in dead_letters::died_before(tx.conn, before, TIDY)? {
                letters += dead_letters::remove(tx.conn, id)? as u64;
            }
        }
        Ok((letters, dedup::forget_expired(tx.conn, tx.now, TIDY)? as u64))
    }
}

/// Pages that are given back between two looks at the clock.
const PAGES: u64 = 8;

/// Gives free pages back, down to this many; how many it were.
pub(super) struct GiveBack {
    pub(super) leave: u64,
    pub(super) batch: Batch,
}

impl Operation for GiveBack {
    type Output = u64;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn is_long(&self) -> bool {
        true
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Failure> {
        let (start, mut given) = (Instant::now(), 0);
        while start.elapsed() < self.batch.time {
            let Some((pages, free)) = prunable::space(tx.conn)?.filter(|(_, free)| *free > self.leave) else {
                break;
            };
            prunable::give_back(tx.conn, PAGES.min(free - self.leave))?;
            let left = prunable::space(tx.conn)?.map_or(pages, |(pages, _)| pages);
            if left >= pages {
                break;
            }
            given += pages - left;
        }
        tx.wrote((given * 4096 * 2) as usize);
        Ok(given)
    }
}
