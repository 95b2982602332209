//! Dead letters: listing, requeueing, purging.

use std::sync::Arc;

use crate::consumer::AckPolicy;
use crate::dead_letter::{Dead, DeadLetter, DeadSource};
use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::publish::Durability;
use crate::sqlite::filters::Filters;
use crate::sqlite::tables::dead_letters::{self, Letter, Source};
use crate::sqlite::tables::requests::{finish, insert, look};
use crate::sqlite::tables::{consumers, deliveries, events, meta, replies};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::work::Work;
use crate::sqlite::work::jobs::{failures, time};
use crate::sqlite::writer::{Failure, Operation, Tx};
use crate::subject::Subject;

/// Letters that one transaction sees to.
pub(crate) const STEP: usize = 256;

/// What is done with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Requeue,
    Purge,
}

/// Requeues or purges the matching letters among the next [`STEP`].
pub(crate) struct SeeTo {
    pub(crate) work: Arc<Work>,
    pub(crate) deed: Deed,
    pub(crate) which: Dead,
    pub(crate) after: i64,
    pub(crate) through: i64,
    pub(crate) durability: Durability,
}

/// How many it was done to, and behind which letter to go on.
pub(crate) struct Seen {
    pub(crate) count: u64,
    pub(crate) next: Option<i64>,
}

impl Operation for SeeTo {
    type Output = Seen;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn is_long(&self) -> bool {
        matches!(self.which, Dead::Of(_))
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Seen, Failure> {
        match &self.which {
            Dead::Letter(id) => {
                if !self.see_to(tx, i64::try_from(*id).unwrap_or(i64::MAX))? {
                    return Err(Failure::Refused(no_such_letter(*id)));
                }
                Ok(Seen { count: 1, next: None })
            }
            Dead::Of(filter) => {
                let letters = dead_letters::subjects_after(tx.conn, self.after, STEP)?;
                let last = letters.last().map(|(id, _)| *id);
                let next = last.filter(|last| letters.len() == STEP && *last < self.through);
                let mut count = 0;
                let meant = |(id, subject): &&(i64, String)| *id <= self.through && filter.matches(subject);
                for (id, _) in letters.iter().filter(meant) {
                    count += match self.see_to(tx, *id) {
                        Ok(done) => u64::from(done),
                        Err(Failure::Refused(_)) => 0,
                        Err(failure) => return Err(failure),
                    };
                }
                Ok(Seen { count, next })
            }
        }
    }

    fn committed(&self, _: &Self::Output) {
        self.work.look_for_replies();
        // Consumers of this bus that an event comes again to.
        self.work.wake_watcher();
    }
}

impl SeeTo {
    /// Whether it was done. What cannot be done is refused, for who asks for one letter.
    fn see_to(&self, tx: &mut Tx<'_>, id: i64) -> Result<bool, Failure> {
        let Some(source) = dead_letters::source(tx.conn, id)? else { return Ok(false) };
        if source.is_job {
            if !self.see_to_job(tx, id, &source)? {
                return Ok(false);
            }
        } else if self.deed == Deed::Requeue {
            self.deliver_anew(tx, id, &source)?;
        }
        Ok(dead_letters::remove(tx.conn, id)? > 0)
    }

    fn see_to_job(&self, tx: &mut Tx<'_>, id: i64, source: &Source) -> rusqlite::Result<bool> {
        // The row that says how it died goes with it, or makes room for the one that lives again.
        if let Some(found) = look::by_id(tx.conn, &source.id, i64::MIN)? {
            if found.is_finished {
                finish::remove(tx.conn, found.sequence)?;
                replies::remove(tx.conn, found.sequence)?;
                tx.changed_requests(WakeBits::job(found.sequence));
            } else if self.deed == Deed::Requeue {
                return Ok(false);
            }
        }
        if self.deed == Deed::Requeue {
            let behind = match &source.key {
                Some(key) => insert::is_behind(tx.conn, &source.subject, key)?,
                None => false,
            };
            dead_letters::requeue(tx.conn, id, !behind)?;
            tx.changed_requests(WakeBits::request(&source.subject));
        }
        Ok(true)
    }

    /// Has an event come again to the consumer that gave it up.
    fn deliver_anew(&self, tx: &mut Tx<'_>, id: i64, source: &Source) -> Result<(), Failure> {
        let refuse =
            |kind, what: &str| Failure::Refused(Error::new(kind, format!("dead letter {id}: {what}")));
        let name = source.consumer.as_deref().unwrap_or_default();
        let Some(consumer) = consumers::by_name(tx.conn, name)? else {
            return Err(refuse(ErrorKind::NotFound, &format!("its consumer {name:?} is no more")));
        };
        if consumer.settings.ack_policy == AckPolicy::Cumulative {
            let what = format!(
                "its consumer {name:?} is cumulative and has gone on behind it; seek_consumer goes back"
            );
            return Err(refuse(ErrorKind::Unsupported, &what));
        }
        let sequence: i64 = source.id.parse().unwrap_or(0);
        if !matches!(events::get(tx.conn, sequence.cast_unsigned())?, Some(Ok(_))) {
            return Err(refuse(ErrorKind::NotFound, "the log has its event no longer"));
        }
        // What lies behind the position comes anyhow.
        if sequence.cast_unsigned() <= consumer.position {
            deliveries::wait(tx.conn, (consumer.id, sequence), 0, 0)?;
        }
        meta::count(tx.conn, meta::CONSUMERS)?;
        tx.concerns(WakeBits::consumer(consumer.id));
        Ok(())
    }
}

pub(crate) fn no_such_letter(id: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("no dead letter {id}: it was requeued or purged, or never was"))
}

/// A row as a dead letter; `None` if its subject is none.
pub(crate) fn letter(row: Letter) -> Option<DeadLetter> {
    let Letter { id, source, consumer, subject, body, reason, errors, attempts, created_at, died_at } = row;
    let source = match consumer {
        Some(consumer) => DeadSource::event(consumer, source.parse().unwrap_or(0)),
        None => DeadSource::Job(source.into()),
    };
    let mut letter = DeadLetter::new(id.cast_unsigned(), source, Subject::new(&subject).ok()?, reason);
    (letter.payload, letter.headers) = body.unwrap_or_default();
    letter.attempts = u32::try_from(attempts).unwrap_or(0);
    letter.failures = failures(&errors);
    (letter.created_at, letter.died_at) = (time(created_at), time(died_at));
    Some(letter)
}

/// A dead letter, or its id and why it cannot be read.
pub(crate) type Read = Result<DeadLetter, (i64, &'static str)>;

/// The next dead letters that these filters match, those that cannot be read in their places; and behind which to go on.
pub(crate) fn each(
    conn: &rusqlite::Connection,
    filters: &Filters,
    after: i64,
    limit: usize,
) -> rusqlite::Result<(Vec<Read>, Option<i64>)> {
    let mut found = Vec::new();
    let page = dead_letters::subjects_after(conn, after, STEP)?;
    for (id, subject) in &page {
        if found.len() == limit {
            return Ok((found, Some(id - 1)));
        }
        if !filters.iter().any(|filter| filter.matches(subject)) {
            continue;
        }
        let Some(row) = dead_letters::get(conn, *id)? else { continue };
        let damage = row.body.as_ref().err().copied();
        found.push(match (damage, letter(row)) {
            (None, Some(letter)) => Ok(letter),
            (damage, _) => Err((*id, damage.unwrap_or("the subject is none"))),
        });
    }
    let more = page.len() == STEP;
    Ok((found, page.last().map(|(id, _)| *id).filter(|_| more)))
}

/// The next dead letters that this filter matches.
pub(crate) fn list(
    conn: &rusqlite::Connection,
    filter: &Filter,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let (mut found, mut after) = (Vec::new(), after);
    while found.len() < limit {
        let page = dead_letters::subjects_after(conn, after, STEP)?;
        for (id, subject) in &page {
            if found.len() < limit && filter.matches(subject) {
                found.extend(dead_letters::get(conn, *id)?.and_then(letter));
            }
            after = *id;
        }
        if page.len() < STEP {
            break;
        }
    }
    Ok(found)
}
