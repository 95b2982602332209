//! Publishing: a message is acknowledged when the server has said that its stream keeps it.

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::nats::jetstream::events;
use crate::nats::jetstream::failure::{Unpublished, unpublished};
use crate::nats::jetstream::streams::Streams;
use crate::nats::refusals::publish_to;
use crate::publish::{Durability, PubAck, PublishParts};
use crate::subject::Subject;

/// A checked message, as the server takes it.
pub(super) struct Ready {
    pub(super) subject: Subject,
    pub(super) lies: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    pub(super) expects: Option<u64>,
}

impl Streams {
    pub(super) async fn send(&self, parts: PublishParts) -> Result<PubAck> {
        let ready = self.ready(parts)?;
        let _pass = self.enter().await?;
        let message = PublishMessage::build().payload(ready.payload).headers(ready.headers);
        match self.put(&ready.subject, ready.lies, message).await {
            Ok(ack) => Ok(PubAck::new(ack.sequence, ack.duplicate)),
            Err(Unpublished::WrongSequence(newest)) => {
                Err(self.wrong_sequence(&ready.subject, ready.expects, newest).await)
            }
            Err(Unpublished::Duplicate) => {
                let message = "a message with this id is being published; nothing was written";
                Err(Error::new(ErrorKind::Busy, message))
            }
            Err(Unpublished::Other(error)) => Err(error),
        }
    }

    /// Sends what is about this to where it lies, and waits for the server's word that it is kept. A server says beside it
    /// what a user may not publish, and the client would wait in vain.
    pub(super) async fn put(
        &self,
        about: &str,
        lies: String,
        message: PublishMessage,
    ) -> Result<PublishAck, Unpublished> {
        let events = &self.connection.events;
        let (since, words) = (events.mark(), publish_to(&lies));
        let acknowledged = async { self.jetstream.send_publish(lies, message).await?.await };
        tokio::select! {
            acknowledged = acknowledged => acknowledged.map_err(|error| unpublished(about, error)),
            refused = events.refused(since, &words) => Err(Unpublished::Other(refused)),
        }
    }

    /// Checks what can be before anything is sent.
    pub(super) fn ready(&self, parts: PublishParts) -> Result<Ready> {
        parts.check_size(self.connection.max_payload())?;
        check_durability(parts.durability)?;
        let mut headers = events::to_server(&parts.headers)?;
        if let Some(id) = parts.message_id.as_deref() {
            headers.insert("Nats-Msg-Id", id);
        }
        if let Some(sequence) = parts.expect_last {
            headers.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string().as_str());
        }
        headers.insert("Nats-Expected-Stream", self.events.stream.as_str());
        let lies = self.subjects.event(&parts.subject);
        self.connection.check_wire_size(&parts.payload, Some(&headers))?;
        Ok(Ready {
            subject: parts.subject,
            lies,
            headers,
            payload: parts.payload,
            expects: parts.expect_last,
        })
    }

    /// The server does not always say which the newest is.
    pub(super) async fn wrong_sequence(
        &self,
        subject: &Subject,
        expected: Option<u64>,
        newest: Option<u64>,
    ) -> Error {
        let newest = match newest {
            Some(newest) => newest,
            None => match self.events.last(&self.subjects.event(subject)).await {
                Ok(last) => last.map_or(0, |last| last.sequence),
                Err(error) => return error,
            },
        };
        Error::wrong_sequence(subject, expected.unwrap_or_default(), newest)
    }
}

/// A server of NATS flushes by its own clock, and does not say when.
pub(super) fn check_durability(durability: Option<Durability>) -> Result<()> {
    if durability == Some(Durability::Full) {
        let message = "Durability::Full: a NATS server flushes as it is configured (sync_interval), and acknowledges before";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}
