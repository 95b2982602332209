//! Where a cumulative consumer begins, and what is behind its position.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::record::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::nats::jetstream::api::Make;
use crate::nats::jetstream::events;
use crate::nats::jetstream::failure;
use crate::nats::jetstream::pull::{Pulled, Puller};
use crate::nats::jetstream::streams::Streams;
use crate::subscribe::StartAt;

/// A record has room for the newest events of so many subjects.
const MOST_SUBJECTS: u64 = 4_096;
/// The server forgets by itself what it was asked for here.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

impl Streams {
    /// The position in front of what is wanted first, and the only events that are wanted for now, if it is not all.
    pub(super) async fn begin_at(&self, filters: &[Filter], start: StartAt) -> Result<(u64, BTreeSet<u64>)> {
        let info = self.events.info().await;
        let state = info.map_err(|refusal| failure::refused("a start was looked for", refusal))?.state;
        let (oldest, last) = (state.first_sequence.saturating_sub(1), state.last_sequence);
        let position = match start {
            StartAt::New => last,
            StartAt::Oldest => oldest,
            StartAt::Sequence(asked) if asked > last.saturating_add(1) => {
                return Err(Error::cursor_ahead(asked, last));
            }
            StartAt::Sequence(asked) => asked.max(1) - 1,
            StartAt::Time(time) if time > Utc::now() => last,
            // Nothing is older, and the server reads no years of more digits.
            StartAt::Time(time) if time < DateTime::UNIX_EPOCH => oldest,
            StartAt::Time(start_time) => {
                let look = self.look(filters, DeliverPolicy::ByStartTime { start_time }).await?;
                self.forget(&look).await;
                look.delivered.stream_sequence.max(oldest)
            }
            StartAt::LastPerSubject => {
                let only = self.last_of_each(filters).await?;
                return Ok((only.first().map_or(last, |first| first - 1), only));
            }
        };
        Ok((position, BTreeSet::new()))
    }

    /// How many events are behind the position, and when the first of them was published.
    pub(super) async fn behind(&self, record: &Record) -> Result<(u64, Option<DateTime<Utc>>)> {
        let from = record.only.last().map_or(record.position, |last| record.position.max(*last)) + 1;
        let policy = DeliverPolicy::ByStartSequence { start_sequence: from };
        let look = self.look(&record.settings.filters, policy).await?;
        self.forget(&look).await;
        let only = record.only.range(record.position + 1..);
        let pending = look.num_pending + only.clone().count() as u64;
        let mut oldest = None;
        if pending > 0 {
            let first = only.min().copied().unwrap_or(record.position + 1);
            for filter in &record.settings.filters {
                let next = self.events.next(first, &self.subjects.events(filter)).await?;
                oldest = oldest.into_iter().chain(next.map(|next| next.time)).min();
            }
        }
        Ok((pending, oldest.and_then(|time| DateTime::from_timestamp_millis(time.timestamp_millis()))))
    }

    async fn last_of_each(&self, filters: &[Filter]) -> Result<BTreeSet<u64>> {
        let look = self.look(filters, DeliverPolicy::LastPerSubject).await?;
        let count = look.num_pending;
        if count > MOST_SUBJECTS {
            self.forget(&look).await;
            let message = format!(
                "a cumulative consumer on JetStream that begins with the newest event of each subject has room for \
                 {MOST_SUBJECTS} of them, and {count} subjects match; use an explicit one, or another start"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut only = BTreeSet::new();
        let mut puller = Puller::new(&self.jetstream, &self.events.stream, &look.name).await?;
        puller.ask(usize::try_from(count).unwrap_or(usize::MAX));
        while (only.len() as u64) < count {
            match poll_fn(|cx| puller.poll(cx)).await? {
                Pulled::Message(arrived) => only.extend(events::place(&arrived).map(|place| place.sequence)),
                // Some were removed meanwhile.
                Pulled::Over => break,
                Pulled::Lost | Pulled::Gone => {
                    return Err(failure::unreachable("the newest events were not all delivered"));
                }
            }
        }
        self.forget(&look).await;
        Ok(only)
    }

    /// A consumer that is only asked what it would deliver.
    async fn look(&self, filters: &[Filter], policy: DeliverPolicy) -> Result<Info> {
        let config = Config {
            name: Some(format!("rowbus-{}", Uuid::new_v4().simple())),
            deliver_policy: policy,
            ack_policy: AckPolicy::None,
            filter_subjects: filters.iter().map(|filter| self.subjects.events(filter)).collect(),
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            ..Config::default()
        };
        let made = self.events.consumer(Make::New, &config).await;
        made.map_err(|refusal| failure::refused("a stream was to be looked through", refusal))
    }

    async fn forget(&self, look: &Info) {
        // The server forgets it otherwise.
        let _ = self.events.delete_consumer(&look.name).await;
    }
}
