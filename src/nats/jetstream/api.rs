//! What is asked of JetStream's own interface, and how it answers.

use std::sync::Arc;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::consumer::{Config as ConsumerConfig, Info as ConsumerInfo};
use async_nats::jetstream::context::RequestError;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config as StreamConfig, Info as StreamInfo, RawMessageErrorKind};
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nats::events::Events;
use crate::nats::jetstream::failure;
use crate::nats::refusals::publish_to;

/// What the subjects begin with that the server answers on.
const INTERFACE: &str = "$JS.API";

/// One stream on the server, as its interface shows it.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) jetstream: JetStream,
    told: Arc<Events>,
    pub(super) stream: String,
}

/// Why the interface did not do what it was asked.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The server said no.
    Said(ServerError),
    /// The server did not answer.
    Silent(RequestError),
    /// This user may not ask for it: `NotPermitted`.
    Forbidden(Error),
}

impl Refusal {
    pub(super) fn is(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Said(error) if error.error_code() == code)
    }
}

/// What to do with a consumer that may exist.
#[derive(Clone, Copy, Debug)]
pub(super) enum Make {
    New,
    Changed,
}

impl Api {
    pub(super) fn new(jetstream: &JetStream, told: &Arc<Events>, stream: impl Into<String>) -> Self {
        Self { jetstream: jetstream.clone(), told: Arc::clone(told), stream: stream.into() }
    }

    pub(super) async fn info(&self) -> Result<StreamInfo, Refusal> {
        self.ask("STREAM.INFO", None, &json!({})).await
    }

    pub(super) async fn create(&self, config: &StreamConfig) -> Result<StreamInfo, Refusal> {
        self.ask("STREAM.CREATE", None, config).await
    }

    /// Makes a consumer, or changes it. To make one that exists with the very same settings is no error.
    pub(super) async fn consumer(
        &self,
        make: Make,
        config: &ConsumerConfig,
    ) -> Result<ConsumerInfo, Refusal> {
        let action = match make {
            Make::New => "create",
            Make::Changed => "update",
        };
        let name = config.name.as_deref().unwrap_or_default();
        let wanted = json!({ "stream_name": self.stream, "config": config, "action": action });
        self.ask("CONSUMER.CREATE", Some(name), &wanted).await
    }

    pub(super) async fn consumer_info(&self, name: &str) -> Result<ConsumerInfo, Refusal> {
        self.ask("CONSUMER.INFO", Some(name), &json!({})).await
    }

    pub(super) async fn delete_consumer(&self, name: &str) -> Result<(), Refusal> {
        let _: Value = self.ask("CONSUMER.DELETE", Some(name), &json!({})).await?;
        Ok(())
    }

    /// Has nothing delivered before this time, in the words of RFC 3339; `None` ends a pause.
    pub(super) async fn pause_consumer(&self, name: &str, until: Option<&str>) -> Result<(), Refusal> {
        let wanted = until.map_or_else(|| json!({}), |until| json!({ "pause_until": until }));
        let _: Value = self.ask("CONSUMER.PAUSE", Some(name), &wanted).await?;
        Ok(())
    }

    /// All consumers of the stream, page by page.
    pub(super) async fn consumers(&self) -> Result<Vec<ConsumerInfo>, Refusal> {
        let mut all = Vec::new();
        loop {
            let wanted = json!({ "offset": all.len() });
            let mut page: Value = self.ask("CONSUMER.LIST", None, &wanted).await?;
            let total = page["total"].as_u64().unwrap_or_default();
            let consumers = page["consumers"].take();
            let page: Vec<ConsumerInfo> = serde_json::from_value(consumers).unwrap_or_default();
            let is_last = page.is_empty();
            all.extend(page);
            if is_last || all.len() as u64 >= total {
                return Ok(all);
            }
        }
    }

    pub(super) async fn delete_message(&self, sequence: u64) -> Result<(), Refusal> {
        let _: Value = self.ask("STREAM.MSG.DELETE", None, &json!({ "seq": sequence })).await?;
        Ok(())
    }

    /// The message of this sequence.
    pub(super) async fn message(&self, sequence: u64) -> Result<Option<StreamMessage>> {
        let stream = self.handle().await?;
        found(stream.raw_message_builder().sequence(sequence).send().await)
    }

    /// The newest message whose subject this filter matches.
    pub(super) async fn last(&self, filter: &str) -> Result<Option<StreamMessage>> {
        let stream = self.handle().await?;
        found(stream.raw_message_builder().last_by_subject(filter).send().await)
    }

    /// The first message from this sequence on whose subject this filter matches.
    pub(super) async fn next(&self, sequence: u64, filter: &str) -> Result<Option<StreamMessage>> {
        let stream = self.handle().await?;
        found(stream.raw_message_builder().sequence(sequence).next_by_subject(filter).send().await)
    }

    async fn handle(&self) -> Result<async_nats::jetstream::stream::Stream<()>> {
        let named = self.jetstream.get_stream_no_info(&self.stream).await;
        named.map_err(|error| failure::of_stream(&self.stream, error))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        of: Option<&str>,
        wanted: &impl Serialize,
    ) -> Result<T, Refusal> {
        let subject = match of {
            Some(of) => format!("{verb}.{}.{of}", self.stream),
            None => format!("{verb}.{}", self.stream),
        };
        let (since, words) = (self.told.mark(), publish_to(&format!("{INTERFACE}.{subject}")));
        let answer = tokio::select! {
            answer = self.jetstream.request(subject, wanted) => answer.map_err(Refusal::Silent)?,
            forbidden = self.told.refused(since, &words) => return Err(Refusal::Forbidden(forbidden)),
        };
        match answer {
            Response::Ok(answer) => Ok(answer),
            Response::Err { error } => Err(Refusal::Said(error)),
        }
    }
}

fn found(
    message: Result<StreamMessage, async_nats::jetstream::stream::RawMessageError>,
) -> Result<Option<StreamMessage>> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failure::unreachable(error)),
    }
}
