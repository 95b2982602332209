//! Making a consumer, or changing one that is there.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::consumer::{AckPolicy, ConsumerParts};
use crate::consumer_settings::ConsumerSettings;
use crate::error::Result;
use crate::publish::Durability;
use crate::sqlite::consume::load::position;
use crate::sqlite::consume::member::Member;
use crate::sqlite::consume::{Consumers, Seat};
use crate::sqlite::filters::Filters;
use crate::sqlite::off_runtime;
use crate::sqlite::tables::consumers::{self, ConsumerRow};
use crate::sqlite::tables::{members, meta, retention};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::{Failure, Operation, Tx};

/// Makes the consumer if it is not there, and a member of it.
pub(super) async fn open(consumers: &Arc<Consumers>, parts: ConsumerParts) -> Result<(Seat, ConsumerRow)> {
    loop {
        let (log, given) = (Arc::clone(&consumers.readers().log), parts.clone());
        let (new, is_change) = off_runtime(move || {
            let existing =
                log.read("looking for a consumer", |conn| consumers::by_name(conn, &given.name))?;
            if let Some(existing) = existing {
                let settings = given.resolve(Some(&existing.settings))?;
                return Ok((None, settings != existing.settings || existing.stopped.is_some()));
            }
            let settings = given.resolve(None)?;
            let at = position(&log, &Filters::new(&settings.filters), settings.start)?;
            Ok((Some((settings, at)), true))
        })
        .await?;
        // A member that comes need not survive a power cut, after which it is gone.
        let durability = if is_change { consumers.options().durability } else { Durability::Relaxed };
        let open = Open {
            consumers: Arc::clone(consumers),
            parts: parts.clone(),
            new,
            member: Consumers::new_id(),
            runtime: Handle::current(),
            durability,
        };
        if let Some(opened) = consumers.writer()?.run(open).await? {
            return Ok(opened);
        }
        // It was deleted in between.
    }
}

struct Open {
    consumers: Arc<Consumers>,
    parts: ConsumerParts,
    /// What it is to be if it is not there, and where it is to begin.
    new: Option<(ConsumerSettings, (u64, u64))>,
    member: u64,
    runtime: Handle,
    durability: Durability,
}

impl Operation for Open {
    /// If its caller has gone by then, it leaves.
    type Output = Option<(Seat, ConsumerRow)>;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Failure> {
        let name = &self.parts.name;
        let id = match (consumers::by_name(tx.conn, name)?, &self.new) {
            (Some(existing), _) => {
                let settings = self.parts.resolve(Some(&existing.settings)).map_err(Failure::Refused)?;
                if settings != existing.settings || existing.stopped.is_some() {
                    let revision = meta::count(tx.conn, meta::CONSUMERS)?;
                    // An ack of what was read by other filters would count for events that these want.
                    let is_other = settings.ack_policy == AckPolicy::Cumulative
                        && settings.filters != existing.settings.filters;
                    if settings.filters != existing.settings.filters {
                        retention::claim(tx.conn, &settings.filters, existing.position)?;
                    }
                    consumers::change(tx.conn, existing.id, &settings, revision, is_other)?;
                    consumers::go_on(tx.conn, existing.id)?;
                    tx.concerns(WakeBits::consumer(existing.id));
                }
                existing.id
            }
            (None, Some((settings, position))) => {
                let revision = meta::count(tx.conn, meta::CONSUMERS)?;
                retention::claim(tx.conn, &settings.filters, position.0.max(position.1))?;
                consumers::insert(tx.conn, name, settings, *position, (revision, tx.now))?
            }
            (None, None) => return Ok(None),
        };
        members::add(tx.conn, id, self.consumers.peer(), self.member)?;
        consumers::active(tx.conn, id, tx.now)?;
        let Some(consumer) = consumers::by_id(tx.conn, id)? else { return Ok(None) };
        let member = Member::new(self.member, id, name.as_str().into(), consumer.revision);
        Ok(Some((Seat::new(&self.consumers, member, self.runtime.clone()), consumer)))
    }

    /// Members of this bus are told by the watcher.
    fn committed(&self, opened: &Self::Output) {
        if let Some((seat, _)) = opened {
            seat.take();
        }
        self.consumers.changed();
    }
}
