//! Batches, which the server keeps whole or not at all.

use async_nats::jetstream::message::PublishMessage;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::nats::jetstream::failure::{self, Unpublished};
use crate::nats::jetstream::publish::Ready;
use crate::nats::jetstream::streams::Streams;
use crate::publish::{PubAck, PublishParts};

/// The server takes no more in one batch.
pub(super) const LONGEST: usize = 1_000;

/// Why no message of a batch was written.
pub(super) enum Untaken {
    /// One of them.
    One(Unpublished),
    Error(Error),
}

impl Streams {
    pub(super) async fn send_all(
        self: &std::sync::Arc<Self>,
        batch: Vec<PublishParts>,
    ) -> Result<Vec<PubAck>> {
        if !self.config.allow_atomic_publish {
            let message = format!(
                "stream {:?} has no atomic batches: its allow_atomic is not set, or the server is older than 2.12",
                self.events.stream
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut ready = batch.into_iter().map(|parts| self.ready(parts)).collect::<Result<Vec<_>>>()?;
        let expected: Vec<_> = ready
            .iter()
            .filter_map(|one| one.expects.map(|expected| (one.subject.clone(), expected)))
            .collect();
        let _pass = self.enter().await?;
        let count = ready.len() as u64;
        match self.send_batch(std::mem::take(&mut ready)).await {
            Ok(last) => Ok((1..=count).map(|at| PubAck::new(last - count + at, false)).collect()),
            Err(Untaken::Error(error)) => Err(error),
            Err(Untaken::One(Unpublished::Other(error))) => Err(error),
            Err(Untaken::One(Unpublished::Duplicate)) => {
                let message = "the batch has a message whose id was published before, or has one twice: JetStream then \
                               refuses all of it; nothing was written";
                Err(Error::new(ErrorKind::Unsupported, message))
            }
            Err(Untaken::One(Unpublished::WrongSequence(_))) => {
                // Which of them it was the server does not say.
                for (subject, expected) in &expected {
                    let newest = self.events.last(&self.subjects.event(subject)).await?;
                    let newest = newest.map_or(0, |newest| newest.sequence);
                    if newest != *expected {
                        return Err(Error::wrong_sequence(subject, *expected, newest));
                    }
                }
                let message = "a message of the batch expects the newest event of a subject on which another one of the batch \
                               is published; nothing was written";
                let actual = 0;
                Err(Error::new(ErrorKind::WrongSequence { actual }, message))
            }
        }
    }

    /// Sends all of them as one batch; the sequence of the last.
    ///
    /// A task sends them: one that is sent in part would keep its place among the server's open batches for a while.
    pub(super) async fn send_batch(self: &std::sync::Arc<Self>, batch: Vec<Ready>) -> Result<u64, Untaken> {
        if batch.is_empty() {
            return Ok(0);
        }
        if batch.len() > LONGEST {
            let message =
                format!("a batch on JetStream has at most {LONGEST} messages; this one has {}", batch.len());
            return Err(Untaken::Error(Error::new(ErrorKind::InvalidOption, message)));
        }
        let streams = std::sync::Arc::clone(self);
        let sent = tokio::spawn(async move { streams.send_whole(batch).await }).await;
        sent.unwrap_or_else(|error| Err(Untaken::Error(failure::unsure("it keeps the batch", error))))
    }

    async fn send_whole(&self, batch: Vec<Ready>) -> Result<u64, Untaken> {
        let (id, last) = (Uuid::new_v4().simple().to_string(), batch.len());
        let client = self.jetstream.client();
        for (at, mut one) in batch.into_iter().enumerate() {
            one.headers.insert("Nats-Batch-Id", id.as_str());
            one.headers.insert("Nats-Batch-Sequence", (at + 1).to_string().as_str());
            if at + 1 < last {
                let sent = client.publish_with_headers(one.lies, one.headers, one.payload).await;
                sent.map_err(|error| Untaken::Error(failure::unreachable(error)))?;
                continue;
            }
            one.headers.insert("Nats-Batch-Commit", "1");
            let message = PublishMessage::build().payload(one.payload).headers(one.headers);
            let acknowledged = self.put(&one.subject, one.lies, message).await;
            return acknowledged.map(|ack| ack.sequence).map_err(Untaken::One);
        }
        Ok(0)
    }
}
