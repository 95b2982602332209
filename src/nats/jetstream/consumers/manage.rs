//! Consumers that are opened, asked for, moved, paused and deleted.

use std::sync::Arc;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::Info;
use chrono::Utc;

use super::member::Member;
use super::{generations, settings};
use crate::consumer::{AckPolicy, ConsumerParts};
use crate::consumer_info::ConsumerInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::inbox::Inbox;
use crate::nats::jetstream::api::Make;
use crate::nats::jetstream::failure;
use crate::nats::jetstream::position::{Missing, Position};
use crate::nats::jetstream::streams::Streams;
use crate::subscribe::StartAt;

/// A pause ends when somebody ends it. The server wants a time none the less.
const FOR_EVER: &str = "2300-01-01T00:00:00Z";
/// So often is it tried again when others make, change or move the same consumer.
const TRIES: usize = 16;

/// A consumer, and what it has missed.
type Found = (Info, Option<Missing>);

impl Streams {
    pub(in crate::nats::jetstream) async fn consumer(
        self: &Arc<Self>,
        parts: ConsumerParts,
    ) -> Result<Inbox> {
        generations::check_name(&parts.name)?;
        let _pass = self.enter().await?;
        for _ in 0..TRIES {
            let opened = match generations::current(&self.events, &parts.name).await? {
                Some(info) => self.change_consumer(&parts, info).await?,
                None if self.is_in_order(&parts.name).await?
                    || parts.resolve(None)?.ack_policy == AckPolicy::Cumulative =>
                {
                    if let Some(inbox) = self.open_in_order(&parts).await?
                        && generations::current(&self.events, &parts.name).await?.is_none()
                    {
                        return Ok(inbox);
                    }
                    continue;
                }
                None => self.make_consumer(&parts).await?,
            };
            if let Some((info, gap)) = opened {
                return Ok(Inbox::new(parts.name, Member::new(Arc::clone(self), &info, gap).await?));
            }
        }
        Err(contended(&parts.name))
    }

    /// Makes it; `None` if another has meanwhile.
    async fn make_consumer(&self, parts: &ConsumerParts) -> Result<Option<Found>> {
        let wanted = parts.resolve(None)?;
        let position = Position::find(&self.events, wanted.start).await?;
        let config = settings::config(&self.subjects, &parts.name, &wanted, Utc::now(), position.policy);
        match self.events.consumer(Make::New, &config).await {
            Ok(info) => Ok(Some((info, position.gap))),
            Err(refusal) if refusal.is(ErrorCode::CONSUMER_ALREADY_EXISTS) => Ok(None),
            Err(refusal) if refusal.is(ErrorCode::CONSUMER_NAME_EXIST) => Ok(None),
            Err(refusal) => {
                Err(failure::not_changed(&format!("consumer {:?} was to be made", parts.name), refusal))
            }
        }
    }

    /// Changes what was given and is another; `None` if it has gone meanwhile.
    async fn change_consumer(&self, parts: &ConsumerParts, info: Info) -> Result<Option<Found>> {
        if !generations::is_consumer(&info) {
            let message = format!(
                "consumer {:?} of stream {:?} was made by others, and is not one of which each delivery is pulled and \
                 acknowledged on its own",
                parts.name, self.events.stream
            );
            return Err(Error::new(ErrorKind::ConsumerMismatch { setting: "ack_policy" }, message));
        }
        let existing = settings::of(&info, &self.subjects);
        let wanted = parts.resolve(Some(&existing))?;
        let info = if wanted == existing {
            info
        } else {
            let mut config = info.config.clone();
            settings::change(&mut config, &self.subjects, &wanted);
            match self.events.consumer(Make::Changed, &config).await {
                Ok(info) => info,
                Err(refusal) if generations::is_missing(&refusal) => return Ok(None),
                Err(refusal) => {
                    let what = format!("consumer {:?} was to be changed", parts.name);
                    return Err(failure::not_changed(&what, refusal));
                }
            }
        };
        let gap = self.gap_behind(&info).await?;
        Ok(Some((info, gap)))
    }

    /// What the stream has forgotten of what a consumer was not delivered.
    pub(super) async fn gap_behind(&self, info: &Info) -> Result<Option<Missing>> {
        let state = self.events.info().await;
        let state = state.map_err(|refusal| failure::refused("the stream was asked for", refusal))?.state;
        let next = info.delivered.stream_sequence + 1;
        Ok((next < state.first_sequence).then(|| (next, state.first_sequence - 1)))
    }

    pub(in crate::nats::jetstream) async fn consumer_info(&self, name: &str) -> Result<ConsumerInfo> {
        let _pass = self.enter().await?;
        match generations::current(&self.events, name).await? {
            Some(info) => self.describe(&info).await,
            None => self.in_order_info(name).await?.ok_or_else(|| Error::no_such_consumer(name)),
        }
    }

    pub(in crate::nats::jetstream) async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        let _pass = self.enter().await?;
        let mut all = Vec::new();
        for info in generations::all(&self.events).await? {
            all.push(self.describe(&info).await?);
        }
        all.extend(self.all_in_order().await?);
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    async fn describe(&self, info: &Info) -> Result<ConsumerInfo> {
        let set = settings::of(info, &self.subjects);
        let state = self.events.info().await;
        let state = state.map_err(|refusal| failure::refused("the stream was asked for", refusal))?.state;
        let floor = info.ack_floor.stream_sequence;
        let mut oldest = None;
        if info.num_pending > 0 || info.num_ack_pending > 0 {
            for filter in &set.filters {
                let next = self.events.next(floor + 1, &self.subjects.events(filter)).await?;
                oldest = oldest.into_iter().chain(next.map(|next| next.time)).min();
            }
        }
        let (name, _) = generations::of(&info.name);
        let mut told = ConsumerInfo::new(name, set, settings::created(info));
        told.ack_floor = floor;
        told.delivered = info.delivered.stream_sequence;
        told.num_pending = info.num_pending;
        told.num_ack_pending = info.num_ack_pending as u64;
        told.num_redelivered = info.num_redelivered as u64;
        told.lag = state.last_sequence.saturating_sub(floor);
        let age = oldest.map_or(0, |oldest| (Utc::now() - oldest).num_milliseconds());
        told.lag_millis = u64::try_from(age).unwrap_or_default();
        told.paused = info.paused;
        Ok(told)
    }

    pub(in crate::nats::jetstream) async fn seek_consumer(&self, name: &str, to: StartAt) -> Result<()> {
        let _pass = self.enter().await?;
        for _ in 0..TRIES {
            let Some(info) = generations::current(&self.events, name).await? else {
                return self.seek_in_order(name, to).await;
            };
            let position = Position::find(&self.events, to).await?;
            let mut config = info.config.clone();
            let next = generations::next(&info.name);
            config.name = Some(next.clone());
            config.durable_name = Some(next.clone());
            config.deliver_policy = position.policy;
            // What a move has left that was broken off counts for nothing.
            match self.events.delete_consumer(&next).await {
                Err(refusal) if !generations::is_missing(&refusal) => {
                    return Err(failure::not_changed("a consumer was to be moved", refusal));
                }
                _ => {}
            }
            match self.events.consumer(Make::New, &config).await {
                Ok(_) => {}
                Err(refusal) if refusal.is(ErrorCode::CONSUMER_ALREADY_EXISTS) => continue,
                Err(refusal) => return Err(failure::not_changed("a consumer was to be moved", refusal)),
            }
            match self.events.delete_consumer(&info.name).await {
                Ok(()) => return Ok(()),
                // Another move was quicker.
                Err(refusal) if generations::is_missing(&refusal) => {}
                Err(refusal) => return Err(failure::not_changed("a consumer was to be moved", refusal)),
            }
        }
        Err(contended(name))
    }

    pub(in crate::nats::jetstream) async fn pause_consumer(&self, name: &str) -> Result<()> {
        self.pause(name, Some(FOR_EVER)).await
    }

    pub(in crate::nats::jetstream) async fn resume_consumer(&self, name: &str) -> Result<()> {
        self.pause(name, None).await
    }

    async fn pause(&self, name: &str, until: Option<&str>) -> Result<()> {
        let _pass = self.enter().await?;
        let Some(info) = generations::current(&self.events, name).await? else {
            return self.pause_in_order(name, until.is_some()).await;
        };
        let paused = self.events.pause_consumer(&info.name, until).await;
        paused.map_err(|refusal| match generations::is_missing(&refusal) {
            true => Error::no_such_consumer(name),
            false => failure::not_changed(&format!("consumer {name:?} was to be paused or resumed"), refusal),
        })
    }

    pub(in crate::nats::jetstream) async fn delete_consumer(&self, name: &str) -> Result<()> {
        let _pass = self.enter().await?;
        let mut found = false;
        while let Some(info) = generations::current(&self.events, name).await? {
            match self.events.delete_consumer(&info.name).await {
                Ok(()) => found = true,
                Err(refusal) if generations::is_missing(&refusal) => {}
                Err(refusal) => {
                    return Err(failure::not_changed(
                        &format!("consumer {name:?} was to be deleted"),
                        refusal,
                    ));
                }
            }
        }
        if found { Ok(()) } else { self.delete_in_order(name).await }
    }
}

fn contended(name: &str) -> Error {
    let message =
        format!("consumer {name:?} was made, moved or deleted by others at the same time, again and again");
    Error::new(ErrorKind::Busy, message)
}
