//! Cumulative consumers that are opened, asked for, moved, paused and deleted.

use std::sync::Arc;

use chrono::Utc;

use super::member::Member;
use super::record::Record;
use super::store::Kept;
use crate::consumer::ConsumerParts;
use crate::consumer_info::ConsumerInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::inbox::Inbox;
use crate::nats::jetstream::failure;
use crate::nats::jetstream::streams::Streams;
use crate::subscribe::StartAt;

/// Who writes a record, and is no member of it.
const NOBODY: &str = "-";
/// So often is it tried again when others change the same record.
const TRIES: usize = 16;

impl Streams {
    /// Whether there is a cumulative consumer of this name.
    pub(in crate::nats::jetstream::consumers) async fn is_in_order(&self, name: &str) -> Result<bool> {
        Ok(self.kept(name).await?.record.is_some())
    }

    /// Makes it or opens it; `None` if others have changed it meanwhile.
    pub(in crate::nats::jetstream::consumers) async fn open_in_order(
        self: &Arc<Self>,
        parts: &ConsumerParts,
    ) -> Result<Option<Inbox>> {
        let Kept { revision, record } = self.kept(&parts.name).await?;
        let wanted = if let Some(existing) = &record {
            let mut wanted = existing.clone();
            wanted.settings = parts.resolve(Some(&existing.settings))?;
            wanted.unstop();
            wanted
        } else {
            let settings = parts.resolve(None)?;
            let begin = self.begin_at(&settings.filters, settings.start).await?;
            let mut wanted = Record::new(settings, Utc::now());
            wanted.begin(begin);
            wanted
        };
        let revision = if record.as_ref() == Some(&wanted) {
            revision
        } else {
            match self.keep(&parts.name, revision, Some(&wanted), NOBODY).await? {
                Some(revision) => revision,
                None => return Ok(None),
            }
        };
        let kept = Kept { revision, record: Some(wanted) };
        Ok(Some(Inbox::new(parts.name.as_str(), Member::new(Arc::clone(self), &parts.name, kept).await?)))
    }

    /// How it fares; `None` if there is none.
    pub(in crate::nats::jetstream::consumers) async fn in_order_info(
        &self,
        name: &str,
    ) -> Result<Option<ConsumerInfo>> {
        match self.kept(name).await?.record {
            Some(record) => self.describe_in_order(name, record).await.map(Some),
            None => Ok(None),
        }
    }

    pub(in crate::nats::jetstream::consumers) async fn all_in_order(&self) -> Result<Vec<ConsumerInfo>> {
        let mut all = Vec::new();
        for (name, record) in self.all_kept().await? {
            all.push(self.describe_in_order(&name, record).await?);
        }
        Ok(all)
    }

    async fn describe_in_order(&self, name: &str, record: Record) -> Result<ConsumerInfo> {
        let info = self.events.info().await;
        let state = info.map_err(|refusal| failure::refused("the stream was asked for", refusal))?.state;
        let (pending, oldest) = self.behind(&record).await?;
        let mut told = ConsumerInfo::new(name, record.settings, record.created);
        told.ack_floor = record.position;
        told.delivered = record.position;
        told.num_pending = pending;
        told.lag = state.last_sequence.saturating_sub(record.position);
        let age = oldest.map_or(0, |oldest| (Utc::now() - oldest).num_milliseconds());
        told.lag_millis = u64::try_from(age).unwrap_or_default();
        told.paused = record.paused;
        told.stopped = record.stopped.map(|(_, reason)| reason);
        let waits = record.again_at.is_some_and(|at| at > Utc::now().timestamp_millis());
        told.num_backing_off = u64::from(waits);
        if let Some(failing) = record.failing.into_values().next() {
            told.num_redelivered = 1;
            told.failures = failing.failures;
        }
        Ok(told)
    }

    pub(in crate::nats::jetstream::consumers) async fn seek_in_order(
        &self,
        name: &str,
        to: StartAt,
    ) -> Result<()> {
        let record = self.kept(name).await?.record.ok_or_else(|| Error::no_such_consumer(name))?;
        let begin = self.begin_at(&record.settings.filters, to).await?;
        self.rewrite(name, |record| record.begin(begin.clone())).await
    }

    pub(in crate::nats::jetstream::consumers) async fn pause_in_order(
        &self,
        name: &str,
        pauses: bool,
    ) -> Result<()> {
        self.rewrite(name, |record| {
            record.paused = pauses;
            if !pauses {
                record.unstop();
            }
        })
        .await
    }

    pub(in crate::nats::jetstream::consumers) async fn delete_in_order(&self, name: &str) -> Result<()> {
        for _ in 0..TRIES {
            let Kept { revision, record } = self.kept(name).await?;
            if record.is_none() {
                return Err(Error::no_such_consumer(name));
            }
            if self.keep(name, revision, None, NOBODY).await?.is_some() {
                return Ok(());
            }
        }
        Err(contended(name))
    }

    async fn rewrite(&self, name: &str, change: impl Fn(&mut Record)) -> Result<()> {
        for _ in 0..TRIES {
            let Kept { revision, record } = self.kept(name).await?;
            let mut record = record.ok_or_else(|| Error::no_such_consumer(name))?;
            change(&mut record);
            if self.keep(name, revision, Some(&record), NOBODY).await?.is_some() {
                return Ok(());
            }
        }
        Err(contended(name))
    }
}

fn contended(name: &str) -> Error {
    let message = format!("consumer {name:?} was changed by others at the same time, again and again");
    Error::new(ErrorKind::Busy, message)
}
