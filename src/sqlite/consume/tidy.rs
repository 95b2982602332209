//! What time and death ask for: leases are renewed, what the dead held comes again, and who has left gives back.

use std::sync::Arc;

use crate::publish::Durability;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::fate::{Failed, Fate};
use crate::sqlite::consume::member::{Member, Renewal, Seen};
use crate::sqlite::consume::settle;
use crate::sqlite::failure::line;
use crate::sqlite::tables::deliveries::Holder;
use crate::sqlite::tables::{consumers, deliveries, members, meta};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::{Failure, Operation, Tx};

/// Rows of a holder that one step sees to, so that it is short.
const STEP: usize = 128;

/// Renews leases. One that is lost is found to be when it is settled.
pub(super) struct Renew {
    pub(super) member: Arc<Member>,
    pub(super) renewals: Vec<Renewal>,
}

impl Operation for Renew {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for Renewal { consumer, sequence, attempt, until } in &self.renewals {
            deliveries::renew(tx.conn, (*consumer, *sequence, *attempt), *until)?;
        }
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        self.renewals.iter().for_each(|renewal| self.member.renewed(*renewal));
    }
}

/// Takes back what was not settled in time, or whose holders have died.
pub(super) struct Tidy {
    pub(super) consumers: Arc<Consumers>,
    /// Slots of peers that have died.
    pub(super) dead: Vec<i64>,
}

impl Tidy {
    /// Whether there was anything to take back.
    fn take_back(&self, tx: &mut Tx<'_>, holder: Holder) -> rusqlite::Result<bool> {
        let Holder { consumer: id, peer, .. } = holder;
        let died = self.dead.contains(&peer);
        let until = if died { i64::MAX } else { tx.awake };
        let leases = deliveries::leases(tx.conn, (id, peer), until, STEP)?;
        if leases.is_empty() {
            return Ok(false);
        }
        let why = if died { "the member died" } else { "it was not acknowledged within its ack_wait" };
        take_back(tx, id, &leases, why).map(|()| true)
    }
}

/// Has what was leased come again at once, or gives it up.
pub(super) fn take_back(tx: &mut Tx<'_>, id: i64, leases: &[(i64, i64)], why: &str) -> rusqlite::Result<()> {
    let limits = consumers::limits(tx.conn, id)?;
    for (sequence, attempt) in leases {
        let Some((consumer, max_deliver)) = &limits else {
            deliveries::remove(tx.conn, (id, *sequence))?;
            continue;
        };
        let errors = deliveries::errors_of(tx.conn, (id, *sequence))?;
        let fate = if attempt >= max_deliver {
            Fate::GivenUp("exhausted".to_owned())
        } else {
            // Whatever the time is, and is set to.
            Fate::Again(0)
        };
        let failed = Failed { fate, line: line(*attempt, tx.now, why), message: why.to_owned() };
        settle::end(tx, consumer, (id, *sequence, *attempt), None, &errors, &failed)?;
    }
    consumers::set_full(tx.conn, id, false)?;
    tx.concerns(WakeBits::consumer(id));
    Ok(())
}

/// Forgets the members of a peer that has died.
pub(super) fn forget_members(tx: &Tx<'_>, peer: i64) -> rusqlite::Result<()> {
    consumers::active_until_now(tx.conn, Some(peer), tx.now)?;
    members::remove_peer(tx.conn, peer).map(|_| ())
}

impl Operation for Tidy {
    /// Consumers that something comes again of.
    type Output = Vec<i64>;

    // What is lost with the power is seen to again.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<i64>, Failure> {
        let mut concerned = Vec::new();
        for holder in deliveries::holders(tx.conn)? {
            if self.take_back(tx, holder)? {
                concerned.push(holder.consumer);
            }
        }
        for peer in &self.dead {
            forget_members(tx, *peer)?;
        }
        Ok(concerned)
    }

    fn committed(&self, concerned: &Vec<i64>) {
        if !concerned.is_empty() {
            concerned.iter().for_each(|consumer| self.consumers.look_at(*consumer));
            // There may be more than a step.
            self.consumers.timers_changed();
        }
    }
}

/// Gives back what was taken and is not to be handed over.
pub(super) struct Release {
    pub(super) consumers: Arc<Consumers>,
    pub(super) consumer: i64,
    /// Sequences and attempts.
    pub(super) taken: Vec<(i64, i64)>,
}

impl Operation for Release {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        release(tx, self.consumer, &self.taken).map_err(Failure::from)
    }

    fn committed(&self, _: &Self::Output) {
        self.consumers.look_at(self.consumer);
    }
}

fn release(tx: &mut Tx<'_>, consumer: i64, taken: &[(i64, i64)]) -> rusqlite::Result<()> {
    for (sequence, attempt) in taken {
        deliveries::release(tx.conn, (consumer, *sequence, *attempt))?;
    }
    if !taken.is_empty() {
        consumers::set_full(tx.conn, consumer, false)?;
        tx.concerns(WakeBits::consumer(consumer));
    }
    Ok(())
}

/// A member leaves.
pub(super) struct Leave {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) peer: i64,
    /// Of the active member of a cumulative consumer.
    pub(super) token: Option<i64>,
    /// What it has not handed over.
    pub(super) taken: Vec<(i64, i64)>,
    pub(super) seen: Option<Seen>,
}

impl Leave {
    /// A position that stays behind at the last event that was handled would have all that follows read again by who comes next,
    /// and told of as missing once it is removed.
    fn move_on(&self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        let Some(seen) = self.seen else { return Ok(()) };
        let id = self.member.consumer;
        let Some(state) = consumers::state(tx.conn, id)? else { return Ok(()) };
        let is_done = state.position >= seen.handed.cast_signed() && state.revision == seen.revision;
        if is_done && self.token.is_none_or(|token| state.has_member && token == state.member_token) {
            consumers::advance(tx.conn, id, seen.through.cast_signed())?;
        }
        Ok(())
    }
}

impl Operation for Leave {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let id = self.member.consumer;
        release(tx, id, &self.taken)?;
        self.move_on(tx)?;
        members::remove(tx.conn, id, self.peer, self.member.id)?;
        consumers::active(tx.conn, id, tx.now)?;
        if let Some(token) = self.token
            && consumers::leave(tx.conn, id, token)? > 0
        {
            meta::count(tx.conn, meta::CONSUMERS)?;
            tx.concerns(WakeBits::consumer(id));
        }
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        self.member.has_left();
        self.consumers.look_at(self.member.consumer);
    }
}

/// Gives back everything that a bus holds which comes to its end.
pub(super) struct LeaveAll {
    pub(super) peer: i64,
    /// Consumers, and the tokens of their active members.
    pub(super) tokens: Vec<(i64, i64)>,
    /// What was not handed over, by consumer.
    pub(super) taken: Vec<(i64, Vec<(i64, i64)>)>,
    /// Consumers, and the members of them.
    pub(super) members: Vec<(i64, u64)>,
}

impl Operation for LeaveAll {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for (consumer, taken) in &self.taken {
            release(tx, *consumer, taken)?;
        }
        for (consumer, member) in &self.members {
            members::remove(tx.conn, *consumer, self.peer, *member)?;
            let leases = deliveries::leases(tx.conn, (*consumer, self.peer), i64::MAX, usize::MAX)?;
            if self.peer != 0 && !leases.is_empty() {
                take_back(tx, *consumer, &leases, "the member closed its bus")?;
            }
            consumers::active(tx.conn, *consumer, tx.now)?;
        }
        for (consumer, token) in &self.tokens {
            consumers::leave(tx.conn, *consumer, *token)?;
            tx.concerns(WakeBits::consumer(*consumer));
        }
        meta::count(tx.conn, meta::CONSUMERS)?;
        Ok(())
    }
}
