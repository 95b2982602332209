//! Taking events for a member of an explicit consumer: what is due again, and what nobody was handed yet.

use std::sync::Arc;

use crate::error::Error;
use crate::message::Message;
use crate::publish::Durability;
use crate::service::renew_after;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::fate;
use crate::sqlite::consume::member::{Member, Ready};
use crate::sqlite::consume::tidy::Release;
use crate::sqlite::tables::dead_letters::DeadEvent;
use crate::sqlite::tables::{consumers, deliveries, events};
use crate::sqlite::writer::{Failure, Operation, Tx};

/// What is due again that one step takes, at most.
const AGAIN: usize = 32;
/// An event that was taken as often and never settled may be what its members have died of: it is taken alone, so that
/// those beside it are not counted as often.
const SUSPECT: i64 = 2;

pub(super) struct Claim {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) revision: i64,
    /// The peer that takes.
    pub(super) peer: i64,
    pub(super) lease: i64,
    pub(super) max_ack_pending: usize,
    pub(super) max_deliver: i64,
    /// What follows in the log, as far as it was read.
    pub(super) ahead: Vec<Message>,
    /// How many to take, at most.
    pub(super) want: usize,
}

/// What became of a [`Claim`].
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub(super) status: Status,
    pub(super) taken: Vec<Ready>,
    /// Events that came again and are gone from the log.
    pub(super) gone: Vec<Error>,
    /// Everything up to here was handed out.
    pub(super) position: u64,
    /// No more can be held before something is settled.
    pub(super) is_full: bool,
    /// There may be more that is due.
    pub(super) more: bool,
    now: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    #[default]
    Taken,
    Paused,
    /// The consumer was moved or deleted.
    Changed,
}

impl Operation for Claim {
    type Output = Claimed;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Claimed, Failure> {
        let id = self.member.consumer;
        let state = consumers::state(tx.conn, id)?.filter(|state| state.revision == self.revision);
        let Some(state) = state else {
            return Ok(Claimed { status: Status::Changed, ..Claimed::default() });
        };
        let position = state.position.max(0).cast_unsigned();
        let mut claimed = Claimed { position, now: tx.awake, ..Claimed::default() };
        if state.is_paused {
            claimed.status = Status::Paused;
            return Ok(claimed);
        }
        let free = self.max_ack_pending - deliveries::held(tx.conn, id, self.max_ack_pending)?;
        let most = self.want.min(free);
        self.take_due(tx, most, &mut claimed)?;
        let is_alone = claimed.taken.iter().any(|ready| ready.attempt > SUSPECT);
        if !is_alone {
            self.take_new(tx, most, &mut claimed)?;
        }
        claimed.is_full = claimed.taken.len() >= free;
        if claimed.is_full {
            consumers::set_full(tx.conn, id, true)?;
        }
        // Before the commit: whoever makes room after it rings for this.
        self.member.state().is_full = claimed.is_full;
        tx.wrote(claimed.taken.len() * 64);
        Ok(claimed)
    }

    fn committed(&self, claimed: &Claimed) {
        let until = claimed.now.saturating_add(self.lease);
        if !claimed.taken.is_empty() {
            if self.member.received(&claimed.taken, claimed.now, until) {
                self.consumers.mind(claimed.now.saturating_add(renew_after(self.lease)));
            } else {
                let taken =
                    claimed.taken.iter().map(|ready| (ready.message.sequence().cast_signed(), ready.attempt));
                self.consumers.write_some_time(Release {
                    consumers: Arc::clone(&self.consumers),
                    consumer: self.member.consumer,
                    taken: taken.collect(),
                });
            }
        }
    }
}

impl Claim {
    fn take_due(&self, tx: &mut Tx<'_>, most: usize, claimed: &mut Claimed) -> rusqlite::Result<()> {
        let id = self.member.consumer;
        let due = deliveries::due(tx.conn, id, tx.now, most.min(AGAIN))?;
        claimed.more = !due.is_empty() && due.len() == most.min(AGAIN);
        for (sequence, attempts) in due {
            if attempts >= SUSPECT && !claimed.taken.is_empty() {
                claimed.more = true;
                continue;
            }
            let at = (id, sequence);
            if attempts >= self.max_deliver {
                self.give_up(tx, sequence, attempts, "exhausted")?;
                continue;
            }
            match events::get(tx.conn, sequence.cast_unsigned())? {
                None => {
                    deliveries::remove(tx.conn, at)?;
                    claimed.gone.push(Error::gap(sequence.cast_unsigned(), sequence.cast_unsigned()));
                }
                Some(Err(damaged)) => self.give_up(tx, sequence, attempts, damaged.reason)?,
                Some(Ok(message)) => {
                    deliveries::lease_again(tx.conn, at, self.peer, tx.awake.saturating_add(self.lease))?;
                    claimed.taken.push(Ready { message, attempt: attempts + 1 });
                    if attempts >= SUSPECT {
                        claimed.more = true;
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn take_new(&self, tx: &mut Tx<'_>, most: usize, claimed: &mut Claimed) -> rusqlite::Result<()> {
        let (id, until) = (self.member.consumer, tx.awake.saturating_add(self.lease));
        let behind = self.ahead.partition_point(|message| message.sequence() <= claimed.position);
        let new = self.ahead[behind..].iter().take(most.saturating_sub(claimed.taken.len()));
        let mut last = None;
        for message in new {
            last = Some(message.sequence());
            if deliveries::lease(tx.conn, (id, message.sequence().cast_signed()), self.peer, until)? > 0 {
                claimed.taken.push(Ready { message: message.clone(), attempt: 1 });
            }
        }
        if let Some(last) = last {
            claimed.position = last;
            consumers::advance(tx.conn, id, last.cast_signed())?;
        }
        Ok(())
    }

    fn give_up(&self, tx: &Tx<'_>, sequence: i64, attempts: i64, reason: &str) -> rusqlite::Result<()> {
        let at = (self.member.consumer, sequence);
        let errors = deliveries::errors_of(tx.conn, at)?;
        let consumer = &self.member.name;
        fate::bury(tx, DeadEvent { sequence, consumer, reason, errors: &errors, attempts }, None)?;
        deliveries::remove(tx.conn, at).map(|_| ())
    }
}
