//! What is done when its time has come.

use std::collections::BTreeSet;
use std::mem;

use super::row::{Due, State, Terms};
use super::{Now, Requests};
use crate::error::{Error, ErrorKind};

impl Requests {
    /// Does what has become due.
    pub(in crate::inmem) fn advance(&mut self, now: Now) {
        self.unique.advance(now.unix);
        while let Some((at, sequence)) = self.unix_dues.first().copied()
            && at <= now.unix
        {
            self.unix_dues.pop_first();
            self.set(sequence, |row| row.due.unix = None);
            self.unix_due(sequence, now);
        }
        while let Some((at, sequence)) = self.awake_dues.first().copied()
            && at <= now.awake
        {
            self.awake_dues.pop_first();
            self.set(sequence, |row| row.due.awake = None);
            self.awake_due(sequence, now);
        }
    }

    /// When `advance` will have something to do.
    pub(in crate::inmem) fn next_due(&self) -> Due {
        let first = |dues: &BTreeSet<(i64, i64)>| dues.first().map(|(at, _)| *at);
        Due { unix: first(&self.unix_dues), awake: first(&self.awake_dues) }
    }

    fn unix_due(&mut self, sequence: i64, now: Now) {
        let Some(row) = self.rows.get(&sequence) else {
            return;
        };
        match &row.state {
            State::Scheduled => self.admit(sequence, now),
            State::Waiting | State::Ready => self.expire(sequence, now),
            State::Done | State::Cancelled => self.forget(sequence),
            State::Leased(_) | State::Dead(_) => {}
        }
    }

    fn awake_due(&mut self, sequence: i64, now: Now) {
        let Some(row) = self.rows.get(&sequence) else {
            return;
        };
        if let Terms::Request(request) = &row.terms
            && request.deadline <= now.awake
        {
            let message = format!("no answer from {:?} came in time", row.subject());
            self.revoke(sequence);
            let error = Error::new(ErrorKind::RequestTimeout, message);
            self.end(sequence, State::Cancelled, Err(error), now);
        } else {
            self.lapse(sequence, now);
        }
    }

    pub(super) fn expire(&mut self, sequence: i64, now: Now) {
        let message = "the job expired before a server took it";
        let error = Error::handler(message, Some("expired".into()), bytes::Bytes::new());
        self.die(sequence, "expired", error, now);
    }

    /// Enters the row's due times, in place of those that it had.
    pub(super) fn arm(&mut self, sequence: i64) {
        let Some(row) = self.rows.get_mut(&sequence) else {
            return;
        };
        let due = if row.forgotten { Due::default() } else { row.next_due() };
        let before = mem::replace(&mut row.due, due);
        if before == due {
            return;
        }
        self.disarm(sequence, before);
        self.unix_dues.extend(due.unix.map(|at| (at, sequence)));
        self.awake_dues.extend(due.awake.map(|at| (at, sequence)));
    }

    pub(super) fn disarm(&mut self, sequence: i64, due: Due) {
        due.unix.map(|at| self.unix_dues.remove(&(at, sequence)));
        due.awake.map(|at| self.awake_dues.remove(&(at, sequence)));
    }
}
