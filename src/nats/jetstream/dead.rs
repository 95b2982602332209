//! Dead letters: whole copies in the stream of the bus's state, whose sequences are their ids.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::dead_letter::{Dead, DeadLetter, DeadSource};
use crate::defaults::DEAD_LETTER_AGE;
use crate::error::{Error, ErrorKind, Result};
use crate::job_handle::Failure;
use crate::nats::headers;
use crate::nats::jetstream::events;
use crate::nats::jetstream::failure::{self, Unpublished};
use crate::nats::jetstream::streams::Streams;

/// What a letter says of itself, beside what it is a copy of.
const LETTER: &str = "Rowbus-Letter";

impl Streams {
    /// Keeps a letter. One that was kept a short while ago, under the same name, is not kept again.
    pub(super) async fn bury(&self, letter: DeadLetter, once: &str) -> Result<()> {
        self.state().await?;
        let mut map = headers::to_wire(&letter.headers)?;
        map.insert(LETTER, describe(&letter).to_string().as_str());
        map.insert("Nats-Msg-Id", once);
        map.insert("Nats-TTL", format!("{}s", DEAD_LETTER_AGE.as_secs()).as_str());
        let message = PublishMessage::build().payload(letter.payload).headers(map);
        let lies = self.subjects.dead(letter.subject.as_str());
        match self.put(&lies, lies.clone(), message).await {
            Ok(_) => Ok(()),
            Err(Unpublished::Other(error)) => Err(error),
            Err(Unpublished::WrongSequence(_) | Unpublished::Duplicate) => {
                Err(Error::new(ErrorKind::Busy, "the same dead letter is being kept"))
            }
        }
    }

    pub(super) async fn dead_letters(
        &self,
        which: Dead,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        let _pass = self.enter().await?;
        let mut letters = Vec::new();
        let mut next = after.saturating_add(1);
        while letters.len() < limit {
            let Some(stored) = self.next_dead(&which, next).await? else { break };
            next = stored.sequence + 1;
            letters.extend(self.letter(&stored));
        }
        Ok(letters)
    }

    pub(super) async fn purge(&self, which: Dead) -> Result<u64> {
        let _pass = self.enter().await?;
        let (mut next, mut purged) = (1, 0);
        while let Some(stored) = self.next_dead(&which, next).await? {
            next = stored.sequence + 1;
            match self.state().await?.delete_message(stored.sequence).await {
                Ok(()) => purged += 1,
                Err(refusal) if refusal.is(ErrorCode::NO_MESSAGE_FOUND) => {}
                Err(refusal) => return Err(failure::not_changed("a dead letter was to be removed", refusal)),
            }
        }
        match which {
            Dead::Letter(id) if purged == 0 => Err(no_letter(id)),
            _ => Ok(purged),
        }
    }

    /// The first of these letters from this id on.
    async fn next_dead(&self, which: &Dead, from: u64) -> Result<Option<StreamMessage>> {
        let state = self.state().await?;
        match which {
            Dead::Letter(id) if *id < from => Ok(None),
            Dead::Letter(id) => {
                let stored = state.message(*id).await?;
                Ok(stored.filter(|stored| self.subjects.of_dead(&stored.subject).is_some()))
            }
            Dead::Of(filter) => state.next(from, &self.subjects.dead(filter.as_str())).await,
        }
    }

    fn letter(&self, stored: &StreamMessage) -> Option<DeadLetter> {
        let subject = self.subjects.of_dead(&stored.subject)?;
        let said: Value = serde_json::from_str(stored.headers.get(LETTER)?.as_str()).ok()?;
        let source = match said["job"].as_str() {
            Some(id) => DeadSource::Job(id.to_owned().into()),
            None => DeadSource::event(said["consumer"].as_str()?, said["sequence"].as_u64()?),
        };
        let mut letter = DeadLetter::new(stored.sequence, source, subject, said["reason"].as_str()?);
        letter.payload = stored.payload.clone();
        letter.headers = events::from_server(Some(&stored.headers));
        letter.attempts = u32::try_from(said["attempts"].as_u64()?).unwrap_or(u32::MAX);
        letter.failures = said["failures"].as_array()?.iter().filter_map(failure_of).collect();
        letter.created_at = DateTime::from_timestamp_millis(said["created"].as_i64()?)?;
        letter.died_at = DateTime::from_timestamp_millis(stored.time.timestamp_millis())?;
        Some(letter)
    }
}

fn describe(letter: &DeadLetter) -> Value {
    let failures: Vec<_> = letter
        .failures
        .iter()
        .map(|one| json!({ "attempt": one.attempt, "at": one.at.timestamp_millis(), "message": one.message }))
        .collect();
    let mut said = json!({
        "reason": letter.reason,
        "attempts": letter.attempts,
        "failures": failures,
        "created": letter.created_at.timestamp_millis(),
    });
    match &letter.source {
        DeadSource::Job(id) => said["job"] = id.as_str().into(),
        DeadSource::Event { consumer, sequence } => {
            said["consumer"] = consumer.as_str().into();
            said["sequence"] = (*sequence).into();
        }
    }
    said
}

fn failure_of(said: &Value) -> Option<Failure> {
    let attempt = u32::try_from(said["attempt"].as_u64()?).ok()?;
    let at = DateTime::<Utc>::from_timestamp_millis(said["at"].as_i64()?)?;
    Some(Failure::new(attempt, at, said["message"].as_str()?))
}

fn no_letter(id: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("no dead letter {id}: it was requeued or purged, or never was"))
}
