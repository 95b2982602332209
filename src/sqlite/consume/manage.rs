//! What is done to a consumer by hand: it is moved, paused, resumed, deleted.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::publish::Durability;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::load::position;
use crate::sqlite::consume::tidy::forget_members;
use crate::sqlite::filters::Filters;
use crate::sqlite::off_runtime;
use crate::sqlite::tables::{consumers, deliveries, members, meta};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::{Failure, Operation, Tx};
use crate::subscribe::StartAt;

/// What is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// It goes on behind the first, and up to the second it wants only the newest event of each subject.
    Seek((u64, u64)),
    Pause,
    Resume,
    Delete,
}

impl Consumers {
    pub(crate) async fn seek(&self, name: &str, to: StartAt) -> Result<()> {
        let (log, of) = (Arc::clone(&self.readers().log), name.to_owned());
        let place = off_runtime(move || {
            let consumer = log.read("looking for a consumer", |conn| consumers::by_name(conn, &of))?;
            let consumer = consumer.ok_or_else(|| Error::no_such_consumer(&of))?;
            position(&log, &Filters::new(&consumer.settings.filters), to)
        });
        self.manage(name, Change::Seek(place.await?)).await
    }

    pub(crate) async fn manage(&self, name: &str, change: Change) -> Result<()> {
        let durability = self.options().durability;
        let consumers = self.me()?;
        self.check_open()?;
        self.writer()?.run(Manage { consumers, name: name.to_owned(), change, durability }).await
    }
}

struct Manage {
    consumers: Arc<Consumers>,
    name: String,
    change: Change,
    durability: Durability,
}

impl Operation for Manage {
    type Output = ();

    fn durability(&self) -> Durability {
        self.durability
    }

    // A consumer may have much in flight.
    fn is_long(&self) -> bool {
        matches!(self.change, Change::Seek(_) | Change::Delete)
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let Some(consumer) = consumers::by_name(tx.conn, &self.name)? else {
            return Err(Failure::Refused(Error::no_such_consumer(&self.name)));
        };
        let id = consumer.id;
        let revision = meta::count(tx.conn, meta::CONSUMERS)?;
        match self.change {
            Change::Seek(place) => {
                consumers::seek(tx.conn, id, place, revision)?;
                deliveries::remove_all(tx.conn, id)?;
            }
            Change::Pause => drop(consumers::pause(tx.conn, id, tx.now, revision)?),
            Change::Resume => drop(consumers::resume(tx.conn, id, revision)?),
            Change::Delete => delete(tx, id)?,
        }
        tx.concerns(WakeBits::consumer(id));
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        self.consumers.changed();
    }
}

fn delete(tx: &Tx<'_>, id: i64) -> rusqlite::Result<()> {
    consumers::delete(tx.conn, id)?;
    deliveries::remove_all(tx.conn, id)?;
    members::remove_all(tx.conn, id).map(|_| ())
}

/// Deletes consumers that had no member for as long as they may, and forgets members that have died.
pub(super) struct Expire {
    /// Slots of peers that have died.
    pub(super) dead: Vec<i64>,
}

impl Operation for Expire {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for peer in &self.dead {
            forget_members(tx, *peer)?;
        }
        for (id, name) in consumers::inactive(tx.conn, tx.now)? {
            tracing::info!(
                consumer = name,
                "deleting a consumer that nobody has used for its inactive_threshold"
            );
            delete(tx, id)?;
            meta::count(tx.conn, meta::CONSUMERS)?;
            tx.concerns(WakeBits::consumer(id));
        }
        Ok(())
    }
}
