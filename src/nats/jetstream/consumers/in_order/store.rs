//! Where records are kept, and how one follows the other.

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;

use super::record::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::nats::jetstream::failure::Unpublished;
use crate::nats::jetstream::streams::Streams;

/// Who has written a record: a member need not read what it has written.
pub(super) const BY: &str = "Rowbus-Member";
/// What stands for a deleted consumer, so that its members hear of it, is kept for so long.
const TOLD_FOR: &str = "60s";
/// A member says so often, and a while before it must, that it is there.
pub(super) const BEYOND_INACTIVE: u64 = 30;

/// A record as it was found, or that there is none.
pub(super) struct Kept {
    /// What the next one has to name.
    pub(super) revision: u64,
    pub(super) record: Option<Record>,
}

impl Streams {
    pub(super) async fn kept(&self, name: &str) -> Result<Kept> {
        let stored = self.state().await?.last(&self.subjects.consumer(name)).await?;
        Ok(stored.map_or(Kept { revision: 0, record: None }, |stored| Kept {
            revision: stored.sequence,
            record: Record::hear(&stored.payload),
        }))
    }

    /// All of them, with their names.
    pub(super) async fn all_kept(&self) -> Result<Vec<(String, Record)>> {
        let (state, mut next, mut all) = (self.state().await?, 1, Vec::new());
        while let Some(stored) = state.next(next, &self.subjects.consumer("*")).await? {
            next = stored.sequence + 1;
            let name = self.subjects.of_consumer(&stored.subject).map(str::to_owned);
            all.extend(name.zip(Record::hear(&stored.payload)));
        }
        Ok(all)
    }

    /// Keeps the record that follows this one, or that there is none any more; its revision, or `None` if another does.
    pub(super) async fn keep(
        &self,
        name: &str,
        revision: u64,
        record: Option<&Record>,
        by: &str,
    ) -> Result<Option<u64>> {
        self.state().await?;
        let mut map = HeaderMap::new();
        map.insert(BY, by);
        map.insert("Nats-Rollup", "sub");
        map.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string().as_str());
        match record.map(|record| record.settings.inactive_threshold) {
            None => map.insert("Nats-TTL", TOLD_FOR),
            Some(Some(threshold)) => {
                let seconds = threshold.as_secs().saturating_add(BEYOND_INACTIVE + 1);
                map.insert("Nats-TTL", format!("{seconds}s").as_str());
            }
            Some(None) => {}
        }
        let payload = record.map(Record::say).unwrap_or_default();
        let message = PublishMessage::build().payload(payload.into()).headers(map);
        let lies = self.subjects.consumer(name);
        match self.put(&lies, lies.clone(), message).await {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(Unpublished::WrongSequence(_)) => Ok(None),
            Err(Unpublished::Duplicate) => {
                Err(Error::new(ErrorKind::Busy, format!("consumer {name:?} is being changed")))
            }
            Err(Unpublished::Other(error)) => Err(error),
        }
    }
}
