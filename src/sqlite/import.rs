//! Appending what was published elsewhere, or before, with the times of then.

use crate::error::Result;
use crate::publish::{Durability, PubAck, PublishParts};
use crate::sqlite::tables::{dedup, events};
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
        self.events.iter().map(|(event, time)| import(tx, event, *time)).collect()
    }
}

/// A log may rightly hold an id more than once, where its window had closed in between. So an event counts as there only if
/// the one that is remembered under its id is not older: an import that is repeated has come to that one before, and one
/// that goes on has not.
fn import(tx: &mut Tx<'_>, event: &PublishParts, time: i64) -> Result<PubAck, Failure> {
    if let Some(id) = &event.message_id
        && let Some(sequence) = dedup::find(tx.conn, id, tx.now)?
        && events::time_of(tx.conn, sequence)?.is_none_or(|there| there >= time)
    {
        return Ok(PubAck::new(sequence, true));
    }
    let sequence = tx.append_at(event, time)?;
    if let Some(id) = &event.message_id {
        dedup::remember(tx.conn, id, sequence, tx.now.saturating_add(tx.dedup_window))?;
    }
    Ok(PubAck::new(sequence, false))
}
