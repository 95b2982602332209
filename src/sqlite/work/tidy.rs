//! What time and death ask for: leases are renewed, what is due is made ready, and what the dead held is given to others.

use std::sync::Arc;

use crate::publish::Durability;
use crate::service::{Renewal, Ticket};
use crate::sqlite::tables::replies;
use crate::sqlite::tables::requests::{claim, finish, keep, recover};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::work::Work;
use crate::sqlite::work::claim::expire;
use crate::sqlite::work::fate::{self, Lost};
use crate::sqlite::writer::{Failure, Operation, Tx};

/// Rows of a kind that one step sees to, so that it is short.
const STEP: usize = 128;

/// Renews leases; gives those that are lost.
pub(crate) struct Renew {
    pub(crate) work: Arc<Work>,
    pub(crate) renewals: Vec<Renewal>,
}

impl Operation for Renew {
    type Output = Vec<Ticket>;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Ticket>, Failure> {
        let mut lost = Vec::new();
        for Renewal { ticket, until } in &self.renewals {
            if claim::renew(tx.conn, ticket.sequence, ticket.attempt, *until)? == 0 {
                lost.push(*ticket);
            }
        }
        tx.changed_requests(WakeBits::NOTHING);
        Ok(lost)
    }

    fn committed(&self, lost: &Vec<Ticket>) {
        lost.iter().for_each(|ticket| self.work.stop(*ticket));
    }
}

/// Sees to what is due, a step of each kind.
pub(crate) struct Tidy {
    pub(crate) work: Arc<Work>,
    /// Slots of peers that have died.
    pub(crate) dead: Vec<i64>,
}

impl Tidy {
    fn take_back(&self, tx: &mut Tx<'_>, peer: Option<i64>, until: i64, why: Lost) -> rusqlite::Result<()> {
        for (sequence, attempt) in recover::leases(tx.conn, peer, until, STEP)? {
            if !fate::lost(tx, Ticket { sequence, attempt }, why)? && recover::repair(tx.conn, sequence)? > 0
            {
                fate::lost(tx, Ticket { sequence, attempt: 0 }, why)?;
            }
        }
        Ok(())
    }
}

impl Operation for Tidy {
    type Output = ();

    // What is lost with the power is seen to again.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for subject in recover::promote_due(tx.conn, tx.now, STEP)? {
            tx.changed_requests(WakeBits::request(&subject));
        }
        for sequence in recover::expired(tx.conn, tx.now, STEP)? {
            expire(tx, sequence)?;
        }
        for peer in &self.dead {
            self.take_back(tx, Some(*peer), i64::MAX, Lost::Died)?;
        }
        for peer in recover::holders(tx.conn)? {
            self.take_back(tx, Some(peer), tx.awake, Lost::Expired)?;
        }
        self.take_back(tx, None, tx.awake, Lost::Expired)?;
        tx.changed_requests(WakeBits::NOTHING);
        Ok(())
    }

    /// There may be more than a step.
    fn committed(&self, _: &Self::Output) {
        self.work.timers_changed();
    }
}

/// Removes replies that were kept long enough, and requests that nobody can wait for any more.
pub(crate) struct Sweep {
    pub(crate) orphans: Vec<i64>,
}

impl Operation for Sweep {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for sequence in keep::remove_past(tx.conn, tx.now, STEP)? {
            replies::remove(tx.conn, sequence)?;
        }
        for sequence in &self.orphans {
            keep::remove_request(tx.conn, *sequence)?;
            replies::remove(tx.conn, *sequence)?;
        }
        tx.changed_requests(WakeBits::NOTHING);
        Ok(())
    }
}

/// Gives back what a peer holds that comes to its end.
pub(crate) struct ReleaseAll {
    pub(crate) slot: i64,
}

impl Operation for ReleaseAll {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for held_by in recover::leases(tx.conn, Some(self.slot), i64::MAX, usize::MAX)? {
            if finish::release(tx.conn, held_by)? == 0 {
                fate::lost(tx, Ticket { sequence: held_by.0, attempt: held_by.1 }, Lost::Died)?;
            }
        }
        // Of whichever subjects.
        tx.changed_requests(WakeBits::EVERYTHING);
        Ok(())
    }
}
