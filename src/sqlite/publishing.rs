//! Publishing as operations of the writer.

use crate::error::{Error, Result};
use crate::publish::{Durability, PubAck, PublishParts};
use crate::sqlite::tables::quarantine;
use crate::sqlite::tables::{dedup, events};
use crate::sqlite::writer::{Failure, Operation, Tx, row_size};

/// One message.
pub(crate) struct PublishOne {
    pub(crate) event: PublishParts,
    pub(crate) durability: Durability,
}

impl Operation for PublishOne {
    type Output = PubAck;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<PubAck, Failure> {
        publish(tx, &self.event)
    }
}

/// Messages that land together or not at all.
pub(crate) struct PublishAll {
    pub(crate) events: Vec<PublishParts>,
    pub(crate) durability: Durability,
}

impl Operation for PublishAll {
    type Output = Vec<PubAck>;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<PubAck>, Failure> {
        tx.check_room(self.events.iter().map(size).sum())?;
        // Only a member that can refuse needs a way back; a savepoint costs a fifth of a publish.
        if self.events.iter().all(|event| event.expect_last.is_none()) {
            return self.events.iter().map(|event| publish(tx, event)).collect();
        }
        let before = tx.mark();
        savepoint(tx, "SAVEPOINT batch")?;
        let acks: Result<Vec<_>, Failure> = self.events.iter().map(|event| publish(tx, event)).collect();
        if let Err(Failure::Refused(_)) = acks {
            savepoint(tx, "ROLLBACK TO batch")?;
            tx.back_to(before);
        }
        savepoint(tx, "RELEASE batch")?;
        acks
    }
}

fn savepoint(tx: &Tx<'_>, sql: &str) -> rusqlite::Result<()> {
    tx.conn.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Ids that are forgotten for each that is remembered; above 1, so that the table shrinks.
const FORGET_PER_PUBLISH: usize = 4;

/// What a row of it takes, with its place in the index.
pub(crate) fn size(event: &PublishParts) -> usize {
    row_size(&event.subject, &event.payload, &event.headers)
}

/// Looks before it writes, so that a refusal leaves nothing behind.
pub(crate) fn publish(tx: &mut Tx<'_>, event: &PublishParts) -> Result<PubAck, Failure> {
    if let Some(id) = &event.message_id
        && let Some(sequence) = dedup::find(tx.conn, id, tx.now)?
    {
        return Ok(PubAck::new(sequence, true));
    }
    if let Some(expected) = event.expect_last {
        let actual = events::last_sequence(tx.conn, &event.subject, u64::MAX)?;
        if actual != expected {
            return Err(Failure::Refused(Error::wrong_sequence(&event.subject, expected, actual)));
        }
    }
    tx.check_room(size(event))?;
    let sequence = tx.append(event)?;
    if let Some(id) = &event.message_id {
        dedup::remember(tx.conn, id, sequence, tx.now.saturating_add(tx.dedup_window))?;
        dedup::forget_expired(tx.conn, tx.now, FORGET_PER_PUBLISH)?;
    }
    Ok(PubAck::new(sequence, false))
}

/// Reports rows that could not be decoded.
pub(crate) struct Quarantine {
    pub(crate) damaged: Vec<events::Damaged>,
}

impl Operation for Quarantine {
    type Output = ();

    // A report that is lost is made again by the next reader.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for row in &self.damaged {
            if quarantine::report(tx.conn, events::TABLE, row.row, row.reason, tx.now)? {
                tracing::warn!(
                    table = events::TABLE,
                    row = row.row,
                    reason = row.reason,
                    "quarantined a row"
                );
            }
        }
        Ok(())
    }
}
