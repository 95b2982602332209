//! One transaction: events are handled, and acknowledged by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::consumer::AckPolicy;
use crate::delivery::{Delivery, DeliveryControl, Settlement};
use crate::error::Error;
use crate::handler::HandlerError;
use crate::message::Message;
use crate::publish::Durability;
use crate::service::panic_message;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::control::InTransaction;
use crate::sqlite::consume::effect::Handle;
use crate::sqlite::consume::fate::{self, Fate};
use crate::sqlite::consume::member::Member;
use crate::sqlite::consume::place::{Next, done_with, not_handled};
use crate::sqlite::tables::consumers::{self, ConsumerRow};
use crate::sqlite::tables::dead_letters::DeadEvent;
use crate::sqlite::tables::{deliveries, events};
use crate::sqlite::transaction::{guarded, in_savepoint};
use crate::sqlite::writer::{Failure, Operation, Tx};

/// All writes of the file wait for a transaction: it begins no further event after this time.
const LONG: Duration = Duration::from_millis(5);
/// What is due again that one transaction sees to, at most.
const AGAIN: usize = 16;

pub(super) struct Batch {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) consumer: ConsumerRow,
    /// Of the active member of a cumulative consumer.
    pub(super) token: Option<i64>,
    /// What follows in the log, as far as it was read.
    pub(super) ahead: Vec<Message>,
    pub(super) most: usize,
    pub(super) handle: Arc<Handle>,
    /// The event that the handler was called with last.
    pub(super) called: Arc<AtomicU64>,
    /// An event that is not handled but has failed, for this reason: its transaction could not be committed.
    pub(super) blame: Option<(u64, String)>,
}

/// What became of a [`Batch`].
#[derive(Debug)]
pub(super) struct Handled {
    pub(super) status: Status,
    /// Everything up to here was handed to the handler.
    pub(super) position: u64,
    /// There may be more that is due.
    pub(super) more: bool,
    /// Events that came again and are gone from the log.
    pub(super) gone: Vec<Error>,
    /// How many that came again were seen to.
    seen: usize,
    /// Something is to come again at its time.
    pub(super) failed: bool,
    /// Of a cumulative consumer, what follows.
    pub(super) next: Next,
    /// The event that this follows from.
    pub(super) sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Done,
    Paused,
    /// The consumer was moved or deleted, or another member has the place.
    Changed,
    /// A statement of a handler has rolled everything back.
    RolledBack,
}

/// How one event fared.
enum One {
    Handled,
    Failed(HandlerError),
    RolledBack,
}

impl Operation for Batch {
    type Output = Handled;

    fn durability(&self) -> Durability {
        self.consumers.options().durability
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Handled, Failure> {
        let mut handled = Handled {
            status: Status::Changed,
            position: 0,
            more: false,
            gone: Vec::new(),
            seen: 0,
            failed: false,
            next: Next::On,
            sequence: 0,
        };
        let state = consumers::state(tx.conn, self.consumer.id)?;
        let Some(state) = state.filter(|state| state.revision == self.consumer.revision) else {
            return Ok(handled);
        };
        if state.is_paused {
            handled.status = Status::Paused;
            return Ok(handled);
        }
        (handled.status, handled.position) = (Status::Done, state.position.max(0).cast_unsigned());
        let is_cumulative = self.consumer.settings.ack_policy == AckPolicy::Cumulative;
        if is_cumulative && !(state.has_member && self.token == Some(state.member_token)) {
            handled.status = Status::Changed;
            return Ok(handled);
        }
        if let Some((sequence, why)) = &self.blame {
            handled.sequence = *sequence;
            self.blame(tx, &mut handled, why)?;
            return Ok(handled);
        }
        guarded(tx, |tx| {
            if is_cumulative {
                self.handle_in_order(tx, &mut handled)
            } else {
                self.handle_due(tx, &mut handled)?;
                self.handle_new(tx, &mut handled)
            }
        })?;
        if handled.status == Status::RolledBack && self.most == 1 {
            // Alone it is known whose statement it was; and the transaction that is open now has nothing in it.
            self.blame(
                tx,
                &mut handled,
                "one of its statements has rolled the transaction back (ON CONFLICT ROLLBACK)",
            )?;
        }
        Ok(handled)
    }

    fn committed(&self, handled: &Handled) {
        self.member.follow(&handled.next, handled.sequence);
        if handled.failed {
            self.consumers.timers_changed();
        }
    }
}

impl Batch {
    fn id(&self) -> i64 {
        self.consumer.id
    }

    /// Hands one event to the handler; what it has written stays if it returns `Ok`.
    fn call(&self, tx: &mut Tx<'_>, message: Message, attempt: i64) -> rusqlite::Result<One> {
        self.called.store(message.sequence(), Ordering::SeqCst);
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        let control: Arc<dyn DeliveryControl> = Arc::new(InTransaction);
        let delivery = Delivery::new(message, attempt, control);
        let writer = self.consumers.writer().map_or(0, |writer| writer.address());
        let max_payload = self.consumers.options().max_payload;
        let run = |inside: &mut crate::sqlite::Transaction<'_, '_>| (self.handle)(inside, &delivery);
        let ran = in_savepoint(tx, writer, max_payload, run, Result::is_ok)?;
        if ran.rolled_back {
            return Ok(One::RolledBack);
        }
        Ok(match ran.outcome {
            Ok(Ok(())) => One::Handled,
            Ok(Err(error)) => One::Failed(error),
            Err(panic) => One::Failed(HandlerError::new(panic_message(&*panic)).with_code("panic")),
        })
    }

    /// The events of an explicit consumer that failed before.
    fn handle_due(&self, tx: &mut Tx<'_>, handled: &mut Handled) -> rusqlite::Result<()> {
        let due = deliveries::due(tx.conn, self.id(), tx.now, self.most.min(AGAIN))?;
        handled.more = due.len() == AGAIN.min(self.most);
        let began = Instant::now();
        for (sequence, attempts) in due {
            if began.elapsed() > LONG {
                handled.more = true;
                return Ok(());
            }
            let at = (self.id(), sequence);
            handled.seen += 1;
            if attempts >= i64::from(self.consumer.settings.max_deliver) {
                self.give_up(tx, sequence, attempts, "exhausted", "")?;
                continue;
            }
            let message = match events::get(tx.conn, sequence.cast_unsigned())? {
                Some(Ok(message)) => message,
                Some(Err(damaged)) => {
                    self.give_up(tx, sequence, attempts, damaged.reason, "")?;
                    continue;
                }
                None => {
                    deliveries::remove(tx.conn, at)?;
                    handled.gone.push(Error::gap(sequence.cast_unsigned(), sequence.cast_unsigned()));
                    continue;
                }
            };
            match self.call(tx, message, attempts + 1)? {
                One::Handled => drop(deliveries::remove(tx.conn, at)?),
                One::Failed(error) => {
                    handled.failed = true;
                    self.failed(tx, sequence, attempts, error)?;
                }
                One::RolledBack => {
                    (handled.status, handled.sequence) = (Status::RolledBack, sequence.cast_unsigned());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The events of an explicit consumer that nobody was handed yet.
    fn handle_new(&self, tx: &mut Tx<'_>, handled: &mut Handled) -> rusqlite::Result<()> {
        if handled.status != Status::Done {
            return Ok(());
        }
        let most = self.most.saturating_sub(handled.seen);
        let behind = self.ahead.partition_point(|message| message.sequence() <= handled.position);
        let began = Instant::now();
        for message in self.ahead[behind..].iter().take(most) {
            if began.elapsed() > LONG {
                handled.more = true;
                break;
            }
            let sequence = message.sequence();
            match self.call(tx, message.clone(), 1)? {
                One::Handled => {}
                One::Failed(error) => {
                    handled.failed = true;
                    self.failed(tx, sequence.cast_signed(), 0, error)?;
                }
                One::RolledBack => {
                    (handled.status, handled.sequence) = (Status::RolledBack, sequence);
                    return Ok(());
                }
            }
            handled.position = sequence;
        }
        consumers::advance(tx.conn, self.id(), handled.position.cast_signed()).map(|_| ())
    }

    /// The events of a cumulative consumer.
    fn handle_in_order(&self, tx: &mut Tx<'_>, handled: &mut Handled) -> rusqlite::Result<()> {
        let behind = self.ahead.partition_point(|message| message.sequence() <= handled.position);
        let began = Instant::now();
        let given_up = deliveries::marks(tx.conn, self.id())?;
        for message in self.ahead[behind..].iter().take(self.most) {
            if given_up.contains(&message.sequence()) {
                handled.position = message.sequence();
                continue;
            }
            if began.elapsed() > LONG {
                handled.more = true;
                break;
            }
            let sequence = message.sequence();
            let attempt = self.consumer.failures_of(sequence) + 1;
            match self.call(tx, message.clone(), attempt)? {
                One::Handled => handled.position = sequence,
                One::Failed(error) => {
                    handled.next = self.failed_in_order(tx, handled.position, sequence, error)?;
                    (handled.sequence, handled.failed) = (sequence, true);
                    if !matches!(handled.next, Next::On) {
                        return Ok(());
                    }
                    handled.position = sequence;
                }
                One::RolledBack => {
                    (handled.status, handled.sequence) = (Status::RolledBack, sequence);
                    return Ok(());
                }
            }
        }
        done_with(tx, &self.consumer, handled.position.cast_signed())
    }

    /// What was handled before it is done with; of the event itself its policy says what follows.
    fn failed_in_order(
        &self,
        tx: &mut Tx<'_>,
        before: u64,
        sequence: u64,
        error: HandlerError,
    ) -> rusqlite::Result<Next> {
        consumers::handled(tx.conn, self.id(), before.cast_signed())?;
        let Some(consumer) = consumers::by_id(tx.conn, self.id())? else { return Ok(Next::On) };
        not_handled(tx, &consumer, sequence.cast_signed(), &Settlement::Failed(error), None)
    }

    /// An event of an explicit consumer waits, or is given up on. `attempts` are those before.
    fn failed(
        &self,
        tx: &mut Tx<'_>,
        sequence: i64,
        attempts: i64,
        error: HandlerError,
    ) -> rusqlite::Result<()> {
        let attempt = attempts + 1;
        let settlement = Settlement::Failed(error);
        let Some(failed) = fate::of(&self.consumer, attempt, &settlement, tx.now) else { return Ok(()) };
        match failed.fate {
            Fate::Again(at) => {
                let place = (self.id(), sequence);
                deliveries::wait(tx.conn, place, attempts, tx.now)?;
                deliveries::retry_in_place(tx.conn, place, at, &failed.line).map(|_| ())
            }
            Fate::GivenUp(reason) => self.give_up(tx, sequence, attempt, &reason, &failed.line),
        }
    }

    fn give_up(
        &self,
        tx: &mut Tx<'_>,
        sequence: i64,
        attempts: i64,
        reason: &str,
        line: &str,
    ) -> rusqlite::Result<()> {
        let at = (self.id(), sequence);
        let errors = deliveries::errors_of(tx.conn, at)? + line;
        let consumer = &self.consumer.name;
        fate::bury(tx, DeadEvent { sequence, consumer, reason, errors: &errors, attempts }, None)?;
        deliveries::remove(tx.conn, at).map(|_| ())
    }

    /// An event that was alone in its transaction has spoilt it: that is its failure.
    fn blame(&self, tx: &mut Tx<'_>, handled: &mut Handled, why: &str) -> rusqlite::Result<()> {
        let (error, sequence) = (HandlerError::new(why), handled.sequence);
        (handled.status, handled.failed) = (Status::Done, true);
        if self.consumer.settings.ack_policy == AckPolicy::Cumulative {
            handled.next = self.failed_in_order(tx, handled.position, sequence, error)?;
            return Ok(());
        }
        let attempts = deliveries::attempts(tx.conn, (self.id(), sequence.cast_signed()))?;
        self.failed(tx, sequence.cast_signed(), attempts, error)?;
        handled.position = handled.position.max(sequence);
        consumers::advance(tx.conn, self.id(), sequence.cast_signed()).map(|_| ())
    }
}
