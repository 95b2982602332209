//! Reading a consumer, and what it has before it.

use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::sqlite::consume::Seat;
use crate::sqlite::consume::feed::Feed;
use crate::sqlite::filters::Filters;
use crate::sqlite::log::{Log, Start};
use crate::sqlite::off_runtime;
use crate::sqlite::stream::Readers;
use crate::sqlite::tables::consumers::{self, ConsumerRow};
use crate::subscribe::StartAt;

/// A consumer, and what it has before it.
pub(super) struct Loaded {
    pub(super) consumer: ConsumerRow,
    pub(super) feed: Feed,
}

/// Where a consumer begins that is to begin there: behind this position; up to the second sequence it wants only the newest
/// event of each subject. Blocks.
pub(super) fn position(log: &Log, filters: &Filters, start: StartAt) -> Result<(u64, u64)> {
    if start == StartAt::LastPerSubject {
        return Ok((0, log.newest()?));
    }
    let Start::After(after) = log.start(filters, start)? else { return Err(Error::closed()) };
    // Only who names a sequence has a claim to events that are gone.
    let after = match start {
        StartAt::Sequence(_) => after,
        _ => after.max(log.pruned_through(filters)?),
    };
    Ok((after, 0))
}

/// Reads a consumer anew; `None` if it was deleted.
pub(super) fn reload(seat: &Seat, known: &ConsumerRow) -> BoxFuture<'static, Result<Option<Loaded>>> {
    let (readers, runtime, id) = (seat.consumers.readers().clone(), seat.runtime.clone(), known.id);
    let member = seat.member.clone();
    Box::pin(async move {
        off_runtime(move || {
            let consumer = readers.log.read("reading a consumer", |conn| consumers::by_id(conn, id))?;
            let Some(consumer) = consumer else { return Ok(None) };
            member.state().revision = consumer.revision;
            load(&readers, consumer, runtime).map(Some)
        })
        .await
    })
}

/// Blocks.
pub(super) fn load(readers: &Readers, consumer: ConsumerRow, runtime: Handle) -> Result<Loaded> {
    let feed = Feed::open(readers, &consumer, consumer.position, runtime)?;
    Ok(Loaded { consumer, feed })
}
