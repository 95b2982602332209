//! What becomes of an attempt that ended without an answer.

use crate::handler::HandlerError;
use crate::retry::pause;
use crate::service::{Ticket, Traits};
use crate::sqlite::failure::{line, rand};
use crate::sqlite::tables::requests::finish::{self, Held, Outcome, Said};
use crate::sqlite::tables::{dead_letters, replies, requests};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::Tx;

/// Why a lease was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Died,
    Expired,
}

impl Lost {
    fn message(self) -> &'static str {
        match self {
            Self::Died => "the server died",
            Self::Expired => "the lease ran out: the server hung, or ran longer than it was to",
        }
    }
}

/// A handler has failed; `false` if its lease had ended before.
pub(crate) fn failed(
    tx: &mut Tx<'_>,
    ticket: Ticket,
    traits: Traits,
    error: &HandlerError,
) -> rusqlite::Result<bool> {
    let held_by = (ticket.sequence, ticket.attempt);
    let said = Said { message: error.message(), code: error.code(), body: error.body() };
    if traits.is_request {
        if finish::fail_request(tx.conn, held_by, Outcome::Failed, said, tx.now)? == 0 {
            return drop_cancelled(tx, ticket);
        }
        tx.changed_requests(traits.caller.map_or(WakeBits::NOTHING, WakeBits::peer));
        return Ok(true);
    }
    let Some(held) = finish::held(tx.conn, held_by)? else { return Ok(false) };
    let line = line(ticket.attempt, tx.now, error.message());
    if held.is_cancelled {
        end(tx, ticket.sequence, Outcome::Cancelled, Some(said), &line)?;
    } else if error.is_fatal() {
        bury(tx, ticket.sequence, "failed", Some(said), &line)?;
    } else if is_exhausted(&held, ticket.attempt) {
        bury(tx, ticket.sequence, "exhausted", Some(said), &line)?;
    } else {
        let tries = ticket.attempt - held.released;
        let backoff = pause(held.backoff, held.backoff_max, tries, rand());
        let at = error.retry_time().map_or(tx.now.saturating_add(backoff), |time| time.timestamp_millis());
        let run_at = (at > tx.now).then_some(at);
        finish::retry(tx.conn, ticket.sequence, run_at, said.message, said.code, &line)?;
        tx.changed_requests(WakeBits::request(&held.subject));
    }
    Ok(true)
}

/// Its server is gone or hangs; `false` if the lease had ended before.
pub(crate) fn lost(tx: &mut Tx<'_>, ticket: Ticket, why: Lost) -> rusqlite::Result<bool> {
    let held_by = (ticket.sequence, ticket.attempt);
    let Some(held) = finish::held(tx.conn, held_by)? else { return Ok(false) };
    let said = Said { message: why.message(), code: None, body: &[] };
    let line = line(ticket.attempt, tx.now, said.message);
    if held.is_request {
        if held.is_cancelled {
            return drop_cancelled(tx, ticket);
        }
        if held.redeliver {
            finish::retry(tx.conn, ticket.sequence, None, said.message, None, &line)?;
            tx.changed_requests(WakeBits::request(&held.subject));
        } else {
            finish::fail_request(tx.conn, held_by, Outcome::Lost, said, tx.now)?;
            // Who the caller is was known to the server only.
            tx.changed_requests(WakeBits::EVERYTHING);
        }
    } else if held.is_cancelled {
        end(tx, ticket.sequence, Outcome::Cancelled, Some(said), &line)?;
    } else if is_exhausted(&held, ticket.attempt) {
        bury(tx, ticket.sequence, "exhausted", Some(said), &line)?;
    } else {
        finish::retry(tx.conn, ticket.sequence, None, said.message, None, &line)?;
        tx.changed_requests(WakeBits::request(&held.subject));
    }
    Ok(true)
}

/// A job is over without an answer, and the way is free for those behind it.
pub(crate) fn end(
    tx: &mut Tx<'_>,
    sequence: i64,
    outcome: Outcome,
    said: Option<Said<'_>>,
    line: &str,
) -> rusqlite::Result<()> {
    finish::end(tx.conn, sequence, outcome, said, line, tx.now)?;
    make_way(tx, sequence, true, true)?;
    tx.changed_requests(WakeBits::job(sequence));
    Ok(())
}

/// A job becomes a dead letter.
pub(crate) fn bury(
    tx: &mut Tx<'_>,
    sequence: i64,
    reason: &str,
    said: Option<Said<'_>>,
    line: &str,
) -> rusqlite::Result<()> {
    // Its row first: the copy is to have the last failure as well.
    end(tx, sequence, Outcome::Dead, said, line)?;
    dead_letters::bury(tx.conn, sequence, reason, tx.now).map(|_| ())
}

/// Lets those behind a job that is over have their turn.
pub(crate) fn make_way(
    tx: &mut Tx<'_>,
    sequence: i64,
    has_key: bool,
    is_unique: bool,
) -> rusqlite::Result<()> {
    if is_unique {
        finish::free_unique(tx.conn, sequence)?;
    }
    if has_key
        && finish::promote_next(tx.conn, sequence)? > 0
        && let Some(subject) = requests::look::subject(tx.conn, sequence)?
    {
        tx.changed_requests(WakeBits::request(&subject));
    }
    Ok(())
}

/// A request whose caller has gone is removed when its server is done with it.
pub(crate) fn drop_cancelled(tx: &mut Tx<'_>, ticket: Ticket) -> rusqlite::Result<bool> {
    let dropped = finish::drop_cancelled(tx.conn, (ticket.sequence, ticket.attempt))? > 0;
    if dropped {
        replies::remove(tx.conn, ticket.sequence)?;
        tx.changed_requests(WakeBits::NOTHING);
    }
    Ok(dropped)
}

fn is_exhausted(held: &Held, attempt: i64) -> bool {
    attempt - held.released >= held.max_attempts
}
