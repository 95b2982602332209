//! Appending what was published elsewhere, or before, with the times of then.

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::publish::{Durability, PubAck, PublishParts};
use crate::retry::millis;
use crate::sqlite::prune::Policies;
use crate::sqlite::publishing::size;
use crate::sqlite::tables::{dedup, events, retention};
use crate::sqlite::writer::{Failure, Operation, Tx};

/// Events with their times, in Unix milliseconds: all of them or none.
pub(crate) struct ImportAll {
    pub(crate) events: Vec<(PublishParts, i64)>,
    pub(crate) durability: Durability,
}

impl Operation for ImportAll {
    type Output = Vec<PubAck>;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<PubAck>, Failure> {
        tx.check_room(self.events.iter().map(|(event, _)| size(event)).sum())?;
        let policies = Policies::new(retention::all(tx.conn)?);
        for (event, time) in &self.events {
            if known(tx.conn, event, *time, tx.now)?.is_none() {
                check_age(&policies, event, *time, tx.now)?;
            }
        }
        self.events.iter().map(|(event, time)| import(tx, event, *time)).collect()
    }
}

fn import(tx: &mut Tx<'_>, event: &PublishParts, time: i64) -> Result<PubAck, Failure> {
    if let Some(sequence) = known(tx.conn, event, time, tx.now)? {
        return Ok(PubAck::new(sequence, true));
    }
    let sequence = tx.append_at(event, time)?;
    if let Some(key) = key(event, time) {
        dedup::remember(tx.conn, &key, sequence, tx.now.saturating_add(tx.dedup_window))?;
    }
    Ok(PubAck::new(sequence, false))
}

/// What an import remembers an event by. A log may rightly hold an id more than once, where its window had closed in between or
/// its clock went back, so the time and the subject are part of it. No publisher's id has a line break: what is published is
/// never told that it is a duplicate of what was imported.
fn key(event: &PublishParts, time: i64) -> Option<String> {
    event.message_id.as_ref().map(|id| format!("import\n{time}\n{}\n{id}", event.subject))
}

/// The sequence of an event that was imported before, or published here, and is still there.
fn known(conn: &Connection, event: &PublishParts, time: i64, now: i64) -> rusqlite::Result<Option<u64>> {
    let (Some(id), Some(key)) = (&event.message_id, key(event, time)) else { return Ok(None) };
    let is_there = |sequence: &u64| -> rusqlite::Result<bool> {
        let there = events::get(conn, *sequence)?.and_then(Result::ok);
        Ok(there.is_some_and(|there| {
            there.unix_millis() == time
                && there.subject() == event.subject.as_str()
                && there.message_id() == Some(&**id)
        }))
    };
    for remembered in [&*key, &**id] {
        if let Some(sequence) = dedup::find(conn, remembered, now)?
            && is_there(&sequence)?
        {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

/// What would be removed as soon as it is there is refused, before anything is written: nobody imports for that.
fn check_age(policies: &Policies, event: &PublishParts, time: i64, now: i64) -> Result<(), Failure> {
    let governing = policies.governing(event.subject.as_str()).and_then(|at| policies.get(at));
    let Some((policy, age)) = governing.and_then(|policy| Some((policy, policy.limits.max_age?))) else {
        return Ok(());
    };
    if now.saturating_sub(time) <= millis(age) {
        return Ok(());
    }
    let message = format!(
        "an event on {:?} is older than the policy of {:?} keeps, {age:?}, and would be removed at once: nothing of its batch was \
         written; set another policy first, or leave out what is as old",
        event.subject.as_str(),
        policy.filter.as_str()
    );
    Err(Failure::Refused(Error::new(ErrorKind::Expired, message)))
}
