//! Where a reader begins in a stream.

use async_nats::jetstream::consumer::DeliverPolicy;
use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::nats::jetstream::api::Api;
use crate::nats::jetstream::failure;
use crate::subscribe::StartAt;

/// The first and the last sequence of what may be missing.
pub(super) type Missing = (u64, u64);

/// A start, as the server is to be told of it.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) policy: DeliverPolicy,
    /// Nothing before this sequence is of interest. The server knows more of a start that is no sequence.
    pub(super) next: u64,
    /// Of what is up to here, only the newest of each subject is of interest.
    pub(super) newest_through: Option<u64>,
    /// What was asked for by its sequence and is there no more.
    pub(super) gap: Option<Missing>,
}

impl Position {
    /// Where that is in the stream as it is now.
    pub(super) async fn find(events: &Api, start: StartAt) -> Result<Self> {
        let info = events.info().await;
        let state = info.map_err(|refusal| failure::refused("a start was looked for", refusal))?.state;
        let (first, last) = (state.first_sequence, state.last_sequence);
        let at = |next: u64| Self { policy: from(next), next, newest_through: None, gap: None };
        let by = |policy: DeliverPolicy| Self { policy, ..at(1) };
        Ok(match start {
            StartAt::New => at(last + 1),
            StartAt::Oldest => by(DeliverPolicy::All),
            StartAt::Sequence(asked) if asked > last.saturating_add(1) => {
                return Err(Error::cursor_ahead(asked, last));
            }
            StartAt::Sequence(asked) => {
                let next = asked.max(1);
                Self { gap: (next < first).then(|| (next, first - 1)), ..at(next) }
            }
            // The server would wait for a time that has not come.
            StartAt::Time(time) if time > Utc::now() => at(last + 1),
            // Nothing is older, and the server reads no years of more digits.
            StartAt::Time(time) if time < DateTime::UNIX_EPOCH => by(DeliverPolicy::All),
            StartAt::Time(time) => by(DeliverPolicy::ByStartTime { start_time: time }),
            StartAt::LastPerSubject => {
                Self { newest_through: Some(last), ..by(DeliverPolicy::LastPerSubject) }
            }
        })
    }

    /// Where a reader goes on that has read up to `next`, and began with the newest of each subject up to there.
    pub(super) async fn again(events: &Api, next: u64, newest_through: Option<u64>) -> Result<Self> {
        let Some(through) = newest_through else {
            return Self::find(events, StartAt::Sequence(next)).await;
        };
        let again = Self::find(events, StartAt::LastPerSubject).await?;
        match again.newest_through {
            Some(last) if last < through => Err(Error::cursor_ahead(through, last)),
            _ => Ok(Self { next, newest_through, ..again }),
        }
    }
}

fn from(next: u64) -> DeliverPolicy {
    DeliverPolicy::ByStartSequence { start_sequence: next }
}
