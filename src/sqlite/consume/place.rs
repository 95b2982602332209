//! The place of the active member of a cumulative consumer: who has it, and what only that one may do.

use std::sync::Arc;

use crate::consumer::OnFailure;
use crate::delivery::Settlement;
use crate::error::Error;
use crate::message::Message;
use crate::publish::Durability;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::fate::{self, Fate};
use crate::sqlite::consume::member::Member;
use crate::sqlite::filters::Filters;
use crate::sqlite::tables::consumers::{self, ConsumerRow};
use crate::sqlite::tables::dead_letters::DeadEvent;
use crate::sqlite::tables::events::{self, PageSize};
use crate::sqlite::tables::{deliveries, meta};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::{Failure, Operation, Tx};

/// Where nobody can be told to be dead, a place is held for so long without being renewed, in milliseconds.
pub(super) const PLACE: i64 = 30_000;

/// Takes the place if it is free, or its holder has died; else stands by.
pub(super) struct Enlist {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
}

/// How a member stands.
#[derive(Debug)]
pub(super) struct Enlisted {
    /// `None` if the consumer was deleted.
    pub(super) consumer: Option<ConsumerRow>,
    /// The fencing token of the active member, if this is it.
    pub(super) token: Option<i64>,
    /// Who has the place otherwise.
    pub(super) rival: Option<i64>,
    /// Events behind the position that were given up on.
    pub(super) given_up: Vec<u64>,
}

impl Operation for Enlist {
    type Output = Enlisted;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Enlisted, Failure> {
        let id = self.member.consumer;
        let Some(consumer) = consumers::by_id(tx.conn, id)? else {
            return Ok(Enlisted { consumer: None, token: None, rival: None, given_up: Vec::new() });
        };
        let standing_by = |consumer: ConsumerRow, rival| Enlisted {
            consumer: Some(consumer),
            token: None,
            rival,
            given_up: Vec::new(),
        };
        if consumer.stopped.is_some() {
            return Ok(standing_by(consumer, None));
        }
        let given_up = deliveries::marks(tx.conn, id)?;
        let (slot, member) = (self.consumers.slot(), self.member.id);
        let peer = self.consumers.peer();
        if consumer.member == Some(peer) && consumer.member_id == Some(member) {
            let token = Some(consumer.member_token);
            return Ok(Enlisted { consumer: Some(consumer), token, rival: None, given_up });
        }
        if let Some(rival) = consumer.member
            && self.consumers.has_place(rival, &consumer, tx.awake)
        {
            return Ok(standing_by(consumer, Some(rival)));
        }
        let until = slot.is_none().then(|| tx.awake.saturating_add(PLACE));
        consumers::take(tx.conn, id, (peer, member), until)?;
        let token = consumer.member_token + 1;
        Ok(Enlisted { consumer: Some(consumer), token: Some(token), rival: None, given_up })
    }

    fn committed(&self, enlisted: &Enlisted) {
        let retry_at = enlisted.consumer.as_ref().and_then(|consumer| consumer.retry_at);
        let mut state = self.member.state();
        (state.token, state.rival) = (enlisted.token, enlisted.rival);
        state.retry_at = retry_at.filter(|_| enlisted.token.is_some());
        if let Some(consumer) = &enlisted.consumer {
            state.revision = consumer.revision;
        }
        drop(state);
        self.consumers.timers_changed();
    }
}

/// Keeps the place, where nobody can be told to be dead.
pub(super) struct Keep {
    pub(super) consumer: i64,
    pub(super) token: i64,
}

impl Operation for Keep {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        consumers::keep(tx.conn, self.consumer, self.token, tx.awake.saturating_add(PLACE))?;
        Ok(())
    }
}

/// What the active member says of an event.
pub(super) struct Say {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) epoch: i64,
    pub(super) token: i64,
    pub(super) message: Message,
    pub(super) settlement: Settlement,
}

/// What follows from it for the member.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// It goes on.
    On,
    /// It goes back to the event, at this time, in Unix milliseconds.
    Back(i64),
    /// It has stopped in front of the event, for this reason.
    Stopped(String),
}

impl Operation for Say {
    type Output = Next;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Next, Failure> {
        let (id, sequence) = (self.member.consumer, self.message.sequence().cast_signed());
        let lost = || Failure::Refused(Error::delivery_lost(sequence.cast_unsigned()));
        let state = consumers::state(tx.conn, id)?.ok_or_else(lost)?;
        if state.epoch != self.epoch || !state.has_member || state.member_token != self.token {
            return Err(lost());
        }
        if let Settlement::Ack = self.settlement {
            // One behind the position was acknowledged with a later one.
            tx.wrote(64);
            consumers::handled(tx.conn, id, sequence)?;
            if deliveries::first(tx.conn, id)?.is_some() {
                let consumer = consumers::by_id(tx.conn, id)?.ok_or_else(lost)?;
                done_with(tx, &consumer, sequence)?;
            }
            return Ok(Next::On);
        }
        let consumer = consumers::by_id(tx.conn, id)?.ok_or_else(lost)?;
        if state.position >= sequence {
            return Err(lost());
        }
        if let Settlement::Release = self.settlement {
            // Nothing is noted: whoever has the place next begins behind the position.
            return Ok(Next::On);
        }
        not_handled(tx, &consumer, sequence, &self.settlement, Some(&self.message)).map_err(Failure::from)
    }

    fn committed(&self, next: &Next) {
        self.member.follow(next, self.message.sequence());
        if !matches!(next, Next::On) {
            self.consumers.timers_changed();
            self.consumers.look_at(self.member.consumer);
        }
    }
}

/// Notes that an event was not handled, and what follows from it.
pub(super) fn not_handled(
    tx: &mut Tx<'_>,
    consumer: &ConsumerRow,
    sequence: i64,
    settlement: &Settlement,
    message: Option<&Message>,
) -> rusqlite::Result<Next> {
    let id = consumer.id;
    let attempts = consumer.failures_of(sequence.cast_unsigned()) + 1;
    let Some(failed) = fate::of(consumer, attempts, settlement, tx.now) else { return Ok(Next::On) };
    let reason = match failed.fate {
        Fate::Again(at) => {
            consumers::fail(tx.conn, id, sequence, Some(at), &failed.line)?;
            return Ok(Next::Back(at));
        }
        Fate::GivenUp(reason) => reason,
    };
    if consumer.settings.on_failure == OnFailure::Stop {
        consumers::fail(tx.conn, id, sequence, None, &failed.line)?;
        let reason = if reason == failed.message { reason } else { format!("{reason}: {}", failed.message) };
        consumers::stop(tx.conn, id, &reason)?;
        meta::count(tx.conn, meta::CONSUMERS)?;
        tx.concerns(WakeBits::consumer(id));
        return Ok(Next::Stopped(reason));
    }
    let earlier = if attempts > 1 { consumer.errors.as_str() } else { "" };
    let errors = format!("{earlier}{}", failed.line);
    let dead = DeadEvent { sequence, consumer: &consumer.name, reason: &reason, errors: &errors, attempts };
    fate::bury(tx, dead, message)?;
    if wants_between(tx, consumer, consumer.position.cast_signed(), sequence)? {
        // Those before it are not done with for that.
        deliveries::mark(tx.conn, (id, sequence))?;
    } else {
        done_with(tx, consumer, sequence)?;
    }
    Ok(Next::On)
}

/// Everything up to here is done with, and what was given up on right behind it as well.
pub(super) fn done_with(tx: &Tx<'_>, consumer: &ConsumerRow, sequence: i64) -> rusqlite::Result<()> {
    let mut through = sequence;
    loop {
        consumers::handled(tx.conn, consumer.id, through)?;
        deliveries::remove_through(tx.conn, consumer.id, through)?;
        match deliveries::first(tx.conn, consumer.id)? {
            Some(given_up) if !wants_between(tx, consumer, through, given_up)? => through = given_up,
            _ => return Ok(()),
        }
    }
}

/// Whether there is an event for this consumer between these two; where so much lies there that it is not known, yes.
fn wants_between(tx: &Tx<'_>, consumer: &ConsumerRow, after: i64, before: i64) -> rusqlite::Result<bool> {
    let size = PageSize { messages: 1, bytes: usize::MAX, rows: BETWEEN };
    let filters = Filters::new(&consumer.settings.filters);
    let page = events::page(tx.conn, after.cast_unsigned(), &filters, size)?;
    let reached = page.messages.first().map_or(page.through + 1, |message| message.sequence());
    Ok(reached < before.cast_unsigned())
}

/// Rows that are looked at for an event between two.
const BETWEEN: usize = 4096;
