//! Consumers and what they hold: a state machine that knows no task, asks no clock, and is shown the log.
//!
//! Like [requests](super::requests) they are told the time, and what others have to do or know after a step is in [`Changes`].

mod cumulative;
mod explicit;
mod fate;
mod record;
mod source;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use self::record::Record;
pub(super) use self::source::Member;
use crate::consumer::ConsumerParts;
use crate::consumer_info::ConsumerInfo;
use crate::dead_letter::DeadLetter;
use crate::delivery::Settlement;
use crate::error::{Error, Result};
use crate::inmem::log::Log;
use crate::inmem::requests::{Due, Now};
use crate::message::Message;
use crate::subject::Subject;
use crate::subscribe::StartAt;
use crate::trie::Trie;

#[derive(Debug, Default)]
pub(super) struct Consumers {
    records: HashMap<u64, Record>,
    names: BTreeMap<Arc<str>, u64>,
    /// The consumers by what they want, each under its id.
    wanting: Trie<()>,
    /// The due times of all consumers, with their ids.
    unix_dues: BTreeSet<(i64, u64)>,
    awake_dues: BTreeSet<(i64, u64)>,
    last_id: u64,
    changes: Changes,
}

/// What others are to be told after a step.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Members who wait. They are woken when nothing is locked any more.
    pub(super) wakers: Vec<Waker>,
    /// What was given up on, in its order; the ids are not given yet.
    pub(super) letters: Vec<DeadLetter>,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub(super) consumer: u64,
    pub(super) member: u64,
}

/// One handing over of an event.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) message: Message,
    pub(super) attempt: u32,
    /// What fences it: of an explicit consumer new at each handing over, of a cumulative one new with its place.
    pub(super) token: u64,
}

impl Consumers {
    /// A new member of a consumer, which is made if there is none.
    pub(super) fn open(&mut self, parts: &ConsumerParts, log: &Log, now: Now) -> Result<Seat> {
        let existing = self.names.get(parts.name.as_str()).copied();
        let consumer = match existing {
            Some(id) => {
                self.change(id, parts)?;
                id
            }
            None => self.make(parts, log, now)?,
        };
        self.last_id += 1;
        let member = self.last_id;
        self.on(consumer, |record, _| record.join(member));
        Ok(Seat { consumer, member })
    }

    /// The next item of a member, or its waker is called when there is one. `None` if the consumer is no more.
    pub(super) fn poll(
        &mut self,
        seat: Seat,
        waker: &Waker,
        log: &Log,
        now: Now,
    ) -> Option<Poll<Result<Handed>>> {
        self.on(seat.consumer, |record, changes| record.poll(seat.member, waker, log, now, changes))
    }

    pub(super) fn leave(&mut self, seat: Seat, now: Now) {
        self.on(seat.consumer, |record, changes| record.leave(seat.member, now, changes));
    }

    pub(super) fn settle(
        &mut self,
        seat: Seat,
        handed: &Handed,
        settlement: &Settlement,
        log: &Log,
        now: Now,
    ) -> Result<()> {
        let settled = self.on(seat.consumer, |record, changes| {
            record.settle(seat.member, handed, settlement, log, now, changes)
        });
        settled.unwrap_or_else(|| Err(Error::delivery_lost(handed.message.sequence())))
    }

    pub(super) fn extend(&mut self, seat: Seat, handed: &Handed, by: Duration, now: Now) -> Result<()> {
        let extended = self.on(seat.consumer, |record, _| record.extend(seat.member, handed, by, now));
        extended.unwrap_or_else(|| Err(Error::delivery_lost(handed.message.sequence())))
    }

    pub(super) fn info(&self, name: &str, log: &Log, now: Now) -> Result<ConsumerInfo> {
        let record = self.names.get(name).and_then(|id| self.records.get(id));
        Ok(record.ok_or_else(|| Error::no_such_consumer(name))?.info(log, now))
    }

    /// By their names.
    pub(super) fn list(&self, log: &Log, now: Now) -> Vec<ConsumerInfo> {
        let records = self.names.values().filter_map(|id| self.records.get(id));
        records.map(|record| record.info(log, now)).collect()
    }

    pub(super) fn seek(&mut self, name: &str, to: StartAt, log: &Log) -> Result<()> {
        let id = self.id(name)?;
        let start = log.start(to)?;
        self.on(id, |record, changes| record.seek(start, changes));
        Ok(())
    }

    pub(super) fn pause(&mut self, name: &str) -> Result<()> {
        let id = self.id(name)?;
        self.on(id, |record, _| record.pause());
        Ok(())
    }

    pub(super) fn resume(&mut self, name: &str) -> Result<()> {
        let id = self.id(name)?;
        self.on(id, Record::resume);
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<()> {
        let id = self.id(name)?;
        self.remove(id);
        Ok(())
    }

    /// Delivers an event anew that a consumer had given up on.
    pub(super) fn requeue(&mut self, name: &str, sequence: u64, log: &Log) -> Result<()> {
        let id = self.id(name)?;
        self.on(id, |record, changes| record.requeue(sequence, log, changes)).unwrap_or(Ok(()))
    }

    /// Has those look who may want a new event of this subject.
    pub(super) fn published(&mut self, subject: &Subject) {
        let Self { records, wanting, changes, .. } = self;
        wanting.each_match(subject, |id, ()| {
            if let Some(record) = records.get_mut(&id) {
                record.wake(changes);
            }
        });
    }

    /// Does what has become due.
    pub(super) fn advance(&mut self, now: Now) {
        while let Some((at, id)) = self.unix_dues.first().copied()
            && at <= now.unix
        {
            self.advance_one(id, now);
        }
        while let Some((at, id)) = self.awake_dues.first().copied()
            && at <= now.awake
        {
            self.advance_one(id, now);
        }
    }

    /// When `advance` will have something to do.
    pub(super) fn next_due(&self) -> Due {
        let first = |dues: &BTreeSet<(i64, u64)>| dues.first().map(|(at, _)| *at);
        Due { unix: first(&self.unix_dues), awake: first(&self.awake_dues) }
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        mem::take(&mut self.changes)
    }

    /// Has all members look: their bus ends.
    pub(super) fn wake_all(&mut self) {
        for record in self.records.values_mut() {
            record.wake(&mut self.changes);
        }
    }

    /// Ends everything.
    pub(super) fn close(&mut self) {
        self.wake_all();
        let changes = mem::take(&mut self.changes);
        *self = Self { changes, last_id: self.last_id, ..Self::default() };
    }

    fn make(&mut self, parts: &ConsumerParts, log: &Log, now: Now) -> Result<u64> {
        let settings = parts.resolve(None)?;
        let start = log.start(settings.start)?;
        self.last_id += 1;
        let id = self.last_id;
        for filter in &settings.filters {
            self.wanting.insert(filter, id, ());
        }
        let name: Arc<str> = parts.name.as_str().into();
        self.names.insert(Arc::clone(&name), id);
        self.records.insert(id, Record::new(name, settings, start, now));
        Ok(id)
    }

    /// Changes the settings of a consumer that is opened again.
    fn change(&mut self, id: u64, parts: &ConsumerParts) -> Result<()> {
        let Some(record) = self.records.get_mut(&id) else {
            return Ok(());
        };
        let settings = parts.resolve(Some(record.settings()))?;
        for filter in &record.settings().filters {
            self.wanting.remove(filter, id);
        }
        for filter in &settings.filters {
            self.wanting.insert(filter, id, ());
        }
        self.on(id, |record, changes| record.reopen(settings, changes));
        Ok(())
    }

    fn advance_one(&mut self, id: u64, now: Now) {
        if self.on(id, |record, changes| record.advance(now, changes)) == Some(true) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(mut record) = self.records.remove(&id) else {
            return;
        };
        record.wake(&mut self.changes);
        for filter in &record.settings().filters {
            self.wanting.remove(filter, id);
        }
        self.names.remove(record.name());
        self.disarm(id, record.armed);
    }

    /// A step of one consumer, behind which its due times are entered anew.
    fn on<T>(&mut self, id: u64, act: impl FnOnce(&mut Record, &mut Changes) -> T) -> Option<T> {
        let record = self.records.get_mut(&id)?;
        let output = act(record, &mut self.changes);
        let due = record.next_due();
        let before = mem::replace(&mut record.armed, due);
        if before != due {
            self.disarm(id, before);
            self.unix_dues.extend(due.unix.map(|at| (at, id)));
            self.awake_dues.extend(due.awake.map(|at| (at, id)));
        }
        Some(output)
    }

    fn disarm(&mut self, id: u64, due: Due) {
        due.unix.map(|at| self.unix_dues.remove(&(at, id)));
        due.awake.map(|at| self.awake_dues.remove(&(at, id)));
    }

    fn id(&self, name: &str) -> Result<u64> {
        self.names.get(name).copied().ok_or_else(|| Error::no_such_consumer(name))
    }
}
