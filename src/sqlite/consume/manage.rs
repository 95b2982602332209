//! What is done to a consumer by hand: it is moved, paused, resumed, deleted.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::publish::Durability;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::load::position;
use crate::sqlite::consume::tidy::forget_members;
use crate::sqlite::filters::Filters;
use crate::sqlite::off_runtime;
use crate::sqlite::tables::{consumers, deliveries, members, meta, retention};
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
        let place = self.place_at(name, to).await?;
        self.manage(name, Change::Seek(place)).await
    }

    /// Moves it, and sets a fact about the file, in one commit that no power cut undoes.
    #[cfg(feature = "nats")]
    pub(crate) async fn seek_noting(&self, name: &str, to: StartAt, note: (String, String)) -> Result<()> {
        let change = Change::Seek(self.place_at(name, to).await?);
        self.run(name, change, Some(note), Durability::Full).await
    }

    pub(crate) async fn manage(&self, name: &str, change: Change) -> Result<()> {
        self.run(name, change, None, self.options().durability).await
    }

    async fn place_at(&self, name: &str, to: StartAt) -> Result<(u64, u64)> {
        let (log, of) = (Arc::clone(&self.readers().log), name.to_owned());
        off_runtime(move || {
            let consumer = log.read("looking for a consumer", |conn| consumers::by_name(conn, &of))?;
            let consumer = consumer.ok_or_else(|| Error::no_such_consumer(&of))?;
            position(&log, &Filters::new(&consumer.settings.filters), to)
        })
        .await
    }

    async fn run(
        &self,
        name: &str,
        change: Change,
        note: Option<(String, String)>,
        durability: Durability,
    ) -> Result<()> {
        let consumers = self.me()?;
        self.check_open()?;
        self.writer()?.run(Manage { consumers, name: name.to_owned(), change, note, durability }).await
    }
}

struct Manage {
    consumers: Arc<Consumers>,
    name: String,
    change: Change,
    /// A fact about the file that is to be set with it, and its key.
    note: Option<(String, String)>,
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
                retention::claim(tx.conn, &consumer.settings.filters, place.0.max(place.1))?;
                consumers::seek(tx.conn, id, place, revision)?;
                deliveries::remove_all(tx.conn, id)?;
            }
            Change::Pause => drop(consumers::pause(tx.conn, id, tx.now, revision)?),
            Change::Resume => drop(consumers::resume(tx.conn, id, revision)?),
            Change::Delete => delete(tx, id)?,
        }
        if let Some((key, value)) = &self.note {
            meta::set(tx.conn, key, value)?;
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
