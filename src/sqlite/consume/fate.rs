//! What becomes of an event that was not handled.

use crate::delivery::Settlement;
use crate::handler::HandlerError;
use crate::message::Message;
use crate::retry::{millis, pause};
use crate::sqlite::failure::{line, rand};
use crate::sqlite::tables::consumers::ConsumerRow;
use crate::sqlite::tables::dead_letters::{self, DeadEvent};
use crate::sqlite::writer::Tx;

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes again at this time, in Unix milliseconds.
    Again(i64),
    /// It is given up on, for this reason.
    GivenUp(String),
}

/// A failed attempt: its fate, and the line that is kept of it.
pub(super) struct Failed {
    pub(super) fate: Fate,
    pub(super) line: String,
    /// The last word on it, for who stops in front of it.
    pub(super) message: String,
}

/// How a delivery has failed, as the member says it; `None` if it has not.
pub(super) fn of(consumer: &ConsumerRow, attempt: i64, said: &Settlement, now: i64) -> Option<Failed> {
    let settings = &consumer.settings;
    let again = |delay: Option<i64>| {
        if attempt >= i64::from(settings.max_deliver) {
            return Fate::GivenUp("exhausted".to_owned());
        }
        let backoff = || {
            let (first, longest) = (settings.backoff.first_millis(), settings.backoff.longest_millis());
            pause(first, longest, attempt, rand())
        };
        let at_least = millis(crate::defaults::NACK_AT_LEAST);
        Fate::Again(now.saturating_add(delay.unwrap_or_else(backoff).max(at_least)))
    };
    let failed =
        |fate, message: &str| Failed { fate, line: line(attempt, now, message), message: message.to_owned() };
    match said {
        Settlement::Ack | Settlement::Release => None,
        Settlement::Nack(delay) => Some(failed(again(delay.map(millis)), "nacked")),
        // The reason says it all.
        Settlement::Term(reason) => {
            Some(Failed { fate: Fate::GivenUp(reason.clone()), line: String::new(), message: reason.clone() })
        }
        Settlement::Failed(error) => Some(failed(of_error(error, again, now), error.message())),
    }
}

fn of_error(error: &HandlerError, again: impl Fn(Option<i64>) -> Fate, now: i64) -> Fate {
    if error.is_fatal() {
        return Fate::GivenUp("failed".to_owned());
    }
    again(error.retry_time().map(|time| time.timestamp_millis().saturating_sub(now).max(0)))
}

/// Copies an event to the dead letters: from the log, or from the message where the log has it no longer.
pub(super) fn bury(tx: &Tx<'_>, dead: DeadEvent<'_>, message: Option<&Message>) -> rusqlite::Result<()> {
    if dead_letters::bury_event(tx.conn, dead, tx.now)? > 0 {
        return Ok(());
    }
    if let Some(message) = message {
        return dead_letters::bury_message(tx.conn, dead, message, tx.now).map(|_| ());
    }
    tracing::warn!(
        consumer = dead.consumer,
        sequence = dead.sequence,
        reason = dead.reason,
        "an event that was given up on is no longer in the log, and leaves no dead letter"
    );
    Ok(())
}
