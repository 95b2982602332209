//! What a job says of itself, and a reply of itself: one header each, which no user's header can be.

use std::time::Duration;

use async_nats::HeaderMap;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::handler::HandlerError;
use crate::job::JobParts;
use crate::nats::headers;
use crate::nats::jetstream::events::from_server;
use crate::reply::{Reply, Response};
use crate::retry::Backoff;

const JOB: &str = "Rowbus-Job";
const REPLY: &str = "Rowbus-Reply";

/// How a job is to be tried.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) keep_reply: Duration,
    pub(super) created: DateTime<Utc>,
}

impl Terms {
    pub(super) fn of(parts: &JobParts, now: DateTime<Utc>) -> Self {
        let JobParts { max_attempts, backoff, keep_reply, .. } = *parts;
        Self { max_attempts, backoff, keep_reply, created: now }
    }

    pub(super) fn put(&self, map: &mut HeaderMap) -> Result<()> {
        let said = json!({
            "max_attempts": self.max_attempts,
            "backoff": [self.backoff.first_millis(), self.backoff.longest_millis()],
            "keep_reply": u64::try_from(self.keep_reply.as_millis()).unwrap_or(u64::MAX),
            "created": self.created.timestamp_millis(),
        });
        headers::append(map, JOB, &said.to_string())
    }

    /// What a job of ours says; one that a plain client has published has the defaults.
    pub(super) fn read(map: Option<&HeaderMap>, stored_at: DateTime<Utc>) -> Self {
        let said =
            map.and_then(|map| headers::text(map, JOB)).and_then(|said| serde_json::from_str(said).ok());
        let said: Value = said.unwrap_or_default();
        let millis = |said: &Value| said.as_u64().map(Duration::from_millis);
        let backoff = millis(&said["backoff"][0]).zip(millis(&said["backoff"][1]));
        Self {
            max_attempts: said["max_attempts"]
                .as_u64()
                .and_then(|most| u32::try_from(most).ok())
                .unwrap_or(crate::defaults::MAX_ATTEMPTS),
            backoff: backoff
                .map_or_else(Backoff::default, |(first, longest)| Backoff::exponential(first, longest)),
            keep_reply: millis(&said["keep_reply"]).unwrap_or(crate::defaults::KEEP_REPLY),
            created: said["created"].as_i64().and_then(DateTime::from_timestamp_millis).unwrap_or(stored_at),
        }
    }
}

/// What a message among the replies to a job is.
pub(super) enum Kind<'a> {
    /// A part, by its number from 1.
    Part(u32),
    Final,
    Failed(&'a HandlerError),
}

/// Says what a reply is, of which attempt.
pub(super) fn put_reply(map: &mut HeaderMap, attempt: u32, kind: &Kind<'_>) -> Result<()> {
    let mut said = json!({ "attempt": attempt });
    match kind {
        Kind::Part(number) => said["part"] = (*number).into(),
        Kind::Final => {}
        Kind::Failed(error) => {
            said["error"] = error.message().into();
            said["code"] = error.code().into();
        }
    }
    // Without what a header cannot carry.
    headers::append(map, REPLY, &said.to_string())
}

/// The reply that a message is; `None` for what is none of ours.
pub(super) fn read_reply(message: &async_nats::Message) -> Option<Result<Reply>> {
    let map = message.headers.as_ref()?;
    let said: Value = serde_json::from_str(headers::text(map, REPLY)?).ok()?;
    if let Some(error) = said["error"].as_str() {
        let code = said["code"].as_str().map(Into::into);
        return Some(Err(Error::handler(error, code, message.payload.clone())));
    }
    let attempt = u32::try_from(said["attempt"].as_u64()?).ok()?;
    let response = Response::new(message.payload.clone()).with_headers(from_server(Some(map)));
    Some(Ok(match said["part"].is_null() {
        true => Reply::last(response, attempt),
        false => Reply::part(response, attempt),
    }))
}
