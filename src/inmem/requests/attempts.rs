//! What servers do with requests and jobs: take them, send parts, and end their attempts.

use super::row::{Lease, Row, State, Terms, time};
use super::{Now, Requests};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::handler::HandlerError;
use crate::job_handle::Failure;
use crate::reply::{Reply, Response};
use crate::service::{Claimed, Finished, Ticket, Verdict};
use crate::subject::Subject;

/// Who takes, and on what terms.
pub(in crate::inmem) struct Taker<'a> {
    pub(in crate::inmem) service: u64,
    pub(in crate::inmem) filter: &'a Filter,
    /// The subject that it took from last: the next one is behind it.
    pub(in crate::inmem) last: &'a mut Option<Subject>,
    /// In milliseconds.
    pub(in crate::inmem) lease: i64,
    /// In awake milliseconds.
    pub(in crate::inmem) run_until: i64,
}

impl Requests {
    /// Takes up to `most`, and tells whether there are more.
    pub(in crate::inmem) fn claim(&mut self, taker: Taker<'_>, most: usize) -> (Vec<Claimed>, bool) {
        let mut claimed = Vec::new();
        while let Some((subject, sequence)) = self.ready.next(taker.filter, taker.last.as_ref()) {
            if claimed.len() == most {
                return (claimed, true);
            }
            let subject = subject.clone();
            let Some(row) = self.rows.get_mut(&sequence) else {
                break;
            };
            self.ready.remove(&subject, row.priority(), sequence);
            row.attempt += 1;
            row.charged = row.charged.saturating_add(1);
            let Taker { service, run_until, .. } = taker;
            row.state = State::Leased(Lease { service, run_until, cancel_requested: false });
            claimed.push(Claimed {
                ticket: row.ticket(),
                id: row.id.clone(),
                message: row.message.clone(),
                // Nothing renews it here: it is held for as long as it may run.
                taken_at: run_until.saturating_sub(taker.lease),
                lease: taker.lease,
                traits: row.traits(),
            });
            self.arm(sequence);
            *taker.last = Some(subject);
        }
        (claimed, false)
    }

    /// Adds a part to the reply.
    pub(in crate::inmem) fn part(&mut self, ticket: Ticket, part: Response) -> Result<()> {
        let row = held(self.rows.get_mut(&ticket.sequence), ticket)?;
        if !matches!(&row.terms, Terms::Request(request) if !request.wants_parts) {
            row.parts.push(Reply::part(part, row.attempt()));
            self.changes.wake(row);
        }
        Ok(())
    }

    /// Lets the attempt run until then, at least.
    pub(in crate::inmem) fn extend(&mut self, ticket: Ticket, until: i64) -> Result<()> {
        let row = held(self.rows.get_mut(&ticket.sequence), ticket)?;
        if let State::Leased(lease) = &mut row.state {
            lease.run_until = lease.run_until.max(until);
        }
        self.arm(ticket.sequence);
        Ok(())
    }

    /// Ends an attempt; `false` if its ticket had run out, and nothing was changed.
    pub(in crate::inmem) fn finish(&mut self, finished: &Finished, now: Now) -> bool {
        let sequence = finished.ticket.sequence;
        let Ok(row) = held(self.rows.get_mut(&sequence), finished.ticket) else {
            return false;
        };
        match &finished.verdict {
            Verdict::Answered(response) => {
                let reply = Reply::last(response.clone(), row.attempt());
                self.end(sequence, State::Done, Ok(reply), now);
            }
            Verdict::Failed(error) => self.failed(sequence, error, now),
            Verdict::Released => {
                row.charged = row.charged.saturating_sub(1);
                self.give_back(sequence, now);
            }
        }
        true
    }

    fn failed(&mut self, sequence: i64, error: &HandlerError, now: Now) {
        let outcome = Error::handler(error.message(), error.code().map(Into::into), error.body().clone());
        let Some(row) = self.rows.get_mut(&sequence) else {
            return;
        };
        let cancel_requested = row.lease().is_some_and(|lease| lease.cancel_requested);
        let (attempt, charged) = (row.attempt(), row.charged);
        let Terms::Job(job) = &mut row.terms else {
            return self.end(sequence, State::Done, Err(outcome), now);
        };
        row.failures.push(Failure::new(attempt, time(now.unix), one_line(error.message())));
        if cancel_requested {
            self.end_cancelled(sequence, now);
        } else if error.is_fatal() {
            self.die(sequence, "failed", outcome, now);
        } else if charged >= job.max_attempts {
            self.die(sequence, "exhausted", outcome, now);
        } else {
            let (first, longest) = (job.backoff.first_millis(), job.backoff.longest_millis());
            let pause = || crate::retry::pause(first, longest, charged.into(), chance());
            job.run_at = match error.retry_time() {
                Some(time) => time.timestamp_millis(),
                None => now.unix.saturating_add(pause()),
            };
            self.admit(sequence, now);
        }
    }

    /// The attempt ran too long: it counts, and another may take its place.
    pub(super) fn lapse(&mut self, sequence: i64, now: Now) {
        self.revoke(sequence);
        let Some(row) = self.rows.get_mut(&sequence) else {
            return;
        };
        let Some(lease) = row.lease() else {
            return;
        };
        let cancel_requested = lease.cancel_requested;
        if let Terms::Job(job) = &row.terms {
            let message = "the handler ran longer than its service's max_run";
            let exhausted = row.charged >= job.max_attempts && !cancel_requested;
            row.failures.push(Failure::new(row.attempt(), time(now.unix), message));
            if exhausted {
                let error = Error::handler(message, Some("max_run".into()), bytes::Bytes::new());
                return self.die(sequence, "exhausted", error, now);
            }
        }
        self.give_back(sequence, now);
    }

    /// For another server to take, if it still is to be done.
    fn give_back(&mut self, sequence: i64, now: Now) {
        let Some(row) = self.rows.get(&sequence) else {
            return;
        };
        if row.lease().is_some_and(|lease| lease.cancel_requested) {
            return self.end_cancelled(sequence, now);
        }
        match &row.terms {
            Terms::Request(request) if !request.redeliver => {
                let message = "the server gave the request up, and it was not to be given to another";
                let error = Error::new(ErrorKind::ServerLost, message);
                self.end(sequence, State::Done, Err(error), now);
            }
            _ => self.admit(sequence, now),
        }
    }
}

/// The row, if this ticket holds it.
fn held(row: Option<&mut Row>, ticket: Ticket) -> Result<&mut Row> {
    row.filter(|row| row.lease().is_some() && row.attempt == ticket.attempt).ok_or_else(Error::lease_lost)
}

pub(in crate::inmem) fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Any number, so that what failed together is not tried again together.
pub(in crate::inmem) fn chance() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}
