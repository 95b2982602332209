//! Requests and jobs, and what becomes of them: a state machine that knows no task and asks no clock.
//!
//! Scheduled, waiting → ready → leased → done, dead or cancelled. Time is told to it, and comes in two kinds: what users give
//! as times is wall time, what lasts is awake time.

mod attempts;
mod dead;
mod due;
mod jobs;
mod readers;
mod ready;
mod row;
#[cfg(test)]
mod tests;
mod unique;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use uuid::{NoContext, Timestamp, Uuid};

pub(super) use self::attempts::{Taker, chance, one_line};
use self::dead::Buried;
use self::ready::Ready;
pub(super) use self::row::{Due, time};
use self::row::{JobTerms, Letter, RequestTerms, Row, State, Terms};
use self::unique::UniqueKeys;
use crate::error::{Error, Result};
use crate::job::JobParts;
use crate::message::Message;
use crate::reply::Reply;
use crate::request::RequestParts;
use crate::service::{Ticket, millis};
use crate::subject::Subject;

#[derive(Debug, Default)]
pub(super) struct Requests {
    rows: HashMap<i64, Row>,
    /// All rows by their ids.
    ids: HashMap<Arc<str>, i64>,
    last_sequence: i64,
    /// The rows in that state, and no others.
    ready: Ready,
    /// The due times of all rows, with their sequences.
    unix_dues: BTreeSet<(i64, i64)>,
    awake_dues: BTreeSet<(i64, i64)>,
    /// The rows that are not over of each key; the first may run.
    keys: HashMap<(Subject, Box<str>), BTreeSet<i64>>,
    unique: UniqueKeys,
    /// Those of consumers' events among them: all have their ids from one number.
    letters: BTreeMap<u64, Buried>,
    last_letter: u64,
    last_reader: u64,
    changes: Changes,
}

/// What others are to be told after a step, when nothing is locked any more.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Subjects on which there is something to take.
    pub(super) ready: Vec<Subject>,
    /// Readers who wait, and wakers to drop.
    pub(super) wakers: Vec<Waker>,
    /// Attempts that are wanted no more, with their services.
    pub(super) unwanted: Vec<(u64, Ticket)>,
}

/// What both clocks say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) unix: i64,
    pub(super) awake: i64,
}

impl Requests {
    /// A new request, and its reader.
    pub(super) fn open(&mut self, parts: RequestParts, wants_parts: bool, now: Now) -> (Arc<str>, u64) {
        let RequestParts { subject, payload, headers, timeout, redeliver, .. } = parts;
        let deadline = now.awake.saturating_add(millis(timeout));
        let terms = Terms::Request(RequestTerms { deadline, redeliver, wants_parts });
        let sequence = self.next_sequence();
        let message = Message::new(subject, payload, headers, sequence.cast_unsigned(), now.unix);
        let id = new_id(now);
        let mut row = Row::new(Arc::clone(&id), sequence, message, terms);
        let reader = self.next_reader();
        row.readers.insert(reader, None);
        self.add(row, now);
        (id, reader)
    }

    /// A new job, or the one that has its unique key, and whether it is that.
    pub(super) fn submit(&mut self, parts: JobParts, now: Now) -> (Arc<str>, bool) {
        if let Some((key, _)) = &parts.unique
            && let Some(id) = self.unique.find(&parts.subject, key, now.unix)
        {
            return (id, true);
        }
        let id = new_id(now);
        let terms = JobTerms::new(&parts, now.unix);
        let JobParts { subject, payload, headers, unique, .. } = parts;
        if let Some((key, how_long)) = unique {
            self.unique.take(&subject, &key, Arc::clone(&id), how_long, now.unix);
        }
        let sequence = self.next_sequence();
        let message = Message::new(subject, payload, headers, sequence.cast_unsigned(), now.unix);
        self.add(Row::new(Arc::clone(&id), sequence, message, Terms::Job(terms)), now);
        (id, false)
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        mem::take(&mut self.changes)
    }

    /// Ends the requests that no server has: none will take them any more.
    pub(super) fn close_waiting(&mut self, now: Now) {
        let waiting: Vec<i64> =
            self.rows.values().filter(|row| is_waiting_request(row)).map(|row| row.sequence).collect();
        for sequence in waiting {
            self.end(sequence, State::Cancelled, Err(Error::closed()), now);
        }
    }

    /// Ends everything. What is left is there for readers who have not seen the end.
    pub(super) fn close(&mut self) {
        let changes = mem::take(&mut self.changes);
        let (rows, last_sequence) = (mem::take(&mut self.rows), self.last_sequence);
        *self = Self { changes, last_sequence, ..Self::default() };
        for (sequence, mut row) in rows {
            if row.readers.is_empty() {
                continue;
            }
            row.outcome.get_or_insert_with(|| Err(Error::closed()));
            row.forgotten = true;
            row.due = Due::default();
            self.changes.wake(&mut row);
            self.ids.insert(Arc::clone(&row.id), sequence);
            self.rows.insert(sequence, row);
        }
    }

    fn add(&mut self, row: Row, now: Now) {
        let sequence = row.sequence;
        if let Some(key) = row.key() {
            self.keys.entry(key).or_default().insert(sequence);
        }
        self.ids.insert(Arc::clone(&row.id), sequence);
        self.rows.insert(sequence, row);
        self.admit(sequence, now);
    }

    /// Puts a row that nobody holds where it belongs: it is ready, or waits for its time or its turn, or its time is over.
    fn admit(&mut self, sequence: i64, now: Now) {
        let Some(row) = self.rows.get(&sequence) else {
            return;
        };
        let turn = row.key().is_none_or(|key| {
            self.keys.get(&key).is_none_or(|rows| rows.first().is_none_or(|first| *first == sequence))
        });
        let state = match &row.terms {
            Terms::Job(job) if job.expires_at.is_some_and(|at| at <= now.unix) => {
                return self.expire(sequence, now);
            }
            _ if !turn => State::Waiting,
            Terms::Job(job) if job.run_at > now.unix => State::Scheduled,
            _ => State::Ready,
        };
        if matches!(state, State::Ready) {
            self.ready.insert(row.subject(), row.priority(), sequence);
            self.changes.ready(row.subject());
        }
        self.set(sequence, |row| row.state = state);
        self.arm(sequence);
    }

    /// The end of a row: its readers get the outcome, and who waited behind it has its turn.
    fn end(&mut self, sequence: i64, state: State, outcome: Result<Reply>, now: Now) {
        let Some(row) = self.rows.get_mut(&sequence) else {
            return;
        };
        if matches!(row.state, State::Ready) {
            self.ready.remove(row.message.subject(), row.priority(), sequence);
        }
        row.state = state;
        row.outcome = Some(outcome);
        row.finished_at = Some(now.unix);
        self.changes.wake(row);
        if let Some(key) = row.unique() {
            self.unique.leave(key, &row.id);
        }
        let key = row.key();
        self.arm(sequence);
        if let Some(key) = key {
            self.next_of(key, sequence, now);
        }
    }

    fn next_of(&mut self, key: (Subject, Box<str>), ended: i64, now: Now) {
        let Some(rows) = self.keys.get_mut(&key) else {
            return;
        };
        rows.remove(&ended);
        let first = rows.first().copied();
        if first.is_none() {
            self.keys.remove(&key);
        }
        if let Some(first) = first
            && self.rows.get(&first).is_some_and(|row| matches!(row.state, State::Waiting))
        {
            self.admit(first, now);
        }
    }

    fn die(&mut self, sequence: i64, reason: &'static str, error: Error, now: Now) {
        self.last_letter += 1;
        self.letters.insert(self.last_letter, Buried::Job(sequence));
        let letter = Letter { id: self.last_letter, reason };
        self.end(sequence, State::Dead(letter), Err(error), now);
    }

    /// Tells the handler that has it, if any.
    fn revoke(&mut self, sequence: i64) {
        if let Some(row) = self.rows.get(&sequence)
            && let Some(lease) = row.lease()
        {
            self.changes.unwanted.push((lease.service, row.ticket()));
        }
    }

    /// Keeps the row no longer than its readers need.
    fn forget(&mut self, sequence: i64) {
        let Some(row) = self.rows.get_mut(&sequence) else {
            return;
        };
        row.forgotten = true;
        if row.readers.is_empty() {
            self.remove(sequence);
        } else {
            self.arm(sequence);
        }
    }

    fn remove(&mut self, sequence: i64) -> Option<Row> {
        let row = self.rows.remove(&sequence)?;
        self.ids.remove(&row.id);
        self.disarm(sequence, row.due);
        Some(row)
    }

    fn set(&mut self, sequence: i64, set: impl FnOnce(&mut Row)) {
        if let Some(row) = self.rows.get_mut(&sequence) {
            set(row);
        }
    }

    fn next_sequence(&mut self) -> i64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    fn next_reader(&mut self) -> u64 {
        self.last_reader += 1;
        self.last_reader
    }
}

impl Changes {
    fn ready(&mut self, subject: &Subject) {
        if self.ready.last() != Some(subject) {
            self.ready.push(subject.clone());
        }
    }

    fn wake(&mut self, row: &mut Row) {
        self.wakers.extend(row.readers.values_mut().filter_map(Option::take));
    }
}

fn is_waiting_request(row: &Row) -> bool {
    row.job().is_none() && !row.is_over() && row.lease().is_none()
}

fn new_id(now: Now) -> Arc<str> {
    let millis = u64::try_from(now.unix).unwrap_or(0);
    let nanos = u32::try_from(millis % 1_000 * 1_000_000).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, millis / 1_000, nanos)).to_string().into()
}
