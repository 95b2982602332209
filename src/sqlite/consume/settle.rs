//! How deliveries of an explicit consumer end.

use std::sync::Arc;

use crate::delivery::Settlement;
use crate::error::Error;
use crate::message::Message;
use crate::publish::Durability;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::fate::{self, Failed, Fate};
use crate::sqlite::consume::member::Member;
use crate::sqlite::tables::consumers;
use crate::sqlite::tables::dead_letters::DeadEvent;
use crate::sqlite::tables::deliveries::{self, Token};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::{Failure, Operation, Tx};

/// Notes how a delivery ended.
pub(super) struct Settle {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) epoch: i64,
    pub(super) message: Message,
    pub(super) attempt: i64,
    pub(super) settlement: Settlement,
}

impl Operation for Settle {
    /// Whether somebody waits for fewer to be held.
    type Output = bool;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let (id, sequence) = (self.member.consumer, self.message.sequence().cast_signed());
        let lost = || Failure::Refused(Error::delivery_lost(sequence.cast_unsigned()));
        let state =
            consumers::state(tx.conn, id)?.filter(|state| state.epoch == self.epoch).ok_or_else(lost)?;
        let token = (id, sequence, self.attempt);
        if let Settlement::Ack = self.settlement {
            if deliveries::ack(tx.conn, token, self.consumers.peer())? == 0 {
                return Err(lost());
            }
        } else if let Settlement::Release = self.settlement {
            if deliveries::release(tx.conn, token)? == 0 {
                return Err(lost());
            }
            tx.concerns(WakeBits::consumer(id));
        } else {
            let errors = deliveries::errors(tx.conn, token)?.ok_or_else(lost)?;
            let consumer = consumers::by_id(tx.conn, id)?.ok_or_else(lost)?;
            if let Some(failed) = fate::of(&consumer, self.attempt, &self.settlement, tx.now) {
                end(tx, &consumer.name, token, Some(&self.message), &errors, &failed)?;
            }
        }
        tx.wrote(64);
        let freed = state.is_full && consumers::set_full(tx.conn, id, false)?;
        if freed {
            tx.concerns(WakeBits::consumer(id));
        }
        Ok(freed)
    }

    fn committed(&self, freed: &bool) {
        self.member.settled(self.message.sequence(), self.attempt);
        if *freed || matches!(self.settlement, Settlement::Release) {
            self.consumers.look_at(self.member.consumer);
        }
        if !matches!(self.settlement, Settlement::Ack) {
            self.consumers.timers_changed();
        }
    }
}

/// Has what failed wait, or gives it up. The message is what the dead letter is made of if the log has it no longer.
pub(super) fn end(
    tx: &mut Tx<'_>,
    consumer: &str,
    token: Token,
    message: Option<&Message>,
    errors: &str,
    failed: &Failed,
) -> rusqlite::Result<()> {
    let (id, sequence, attempts) = token;
    match &failed.fate {
        Fate::Again(at) => {
            deliveries::retry(tx.conn, token, *at, &failed.line)?;
            // Whoever has it wait may be gone by then.
            tx.concerns(WakeBits::consumer(id));
        }
        Fate::GivenUp(reason) => {
            let errors = format!("{errors}{}", failed.line);
            fate::bury(tx, DeadEvent { sequence, consumer, reason, errors: &errors, attempts }, message)?;
            deliveries::remove(tx.conn, (id, sequence))?;
        }
    }
    Ok(())
}

/// Makes a lease last longer.
pub(super) struct Extend {
    pub(super) member: Arc<Member>,
    pub(super) epoch: i64,
    pub(super) sequence: i64,
    pub(super) attempt: i64,
    /// In awake milliseconds.
    pub(super) until: i64,
}

impl Operation for Extend {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let token = (self.member.consumer, self.sequence, self.attempt);
        let state = consumers::state(tx.conn, self.member.consumer)?;
        let is_same = state.is_some_and(|state| state.epoch == self.epoch);
        if !is_same || deliveries::renew(tx.conn, token, self.until)? == 0 {
            return Err(Failure::Refused(Error::delivery_lost(self.sequence.cast_unsigned())));
        }
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        self.member.extended(self.sequence.cast_unsigned(), self.attempt, self.until);
    }
}
