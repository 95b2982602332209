//! The way to the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;

use crate::error::Error;
use crate::nats::connection::Connection;
use crate::nats::events::Events;
use crate::nats::refusals::{Mark, publish_to};

/// More than any bridge has under way: what it has let go of still counts until its answer comes.
const ACKS: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct Link {
    client: Client,
    events: Arc<Events>,
    pub(super) jetstream: Context,
}

impl Link {
    /// A way on which an answer is waited for so long.
    pub(super) fn new(connection: &Connection, patience: Duration) -> Self {
        let (client, events) = (connection.client(), Arc::clone(&connection.events));
        let jetstream = ContextBuilder::new()
            .timeout(patience)
            .ack_timeout(patience)
            .max_ack_inflight(ACKS)
            .build(client.clone());
        Self { client, events, jetstream }
    }

    /// Which connection this is, counted from the first; `None` while there is none. What was sent on one that is gone may
    /// never be answered.
    pub(super) fn connection(&self) -> Option<u64> {
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        (self.client.connection_state() == State::Connected).then_some(connects)
    }

    /// Why something was not answered that has to do with a message on this subject: what the server refuses it does not answer, and
    /// the client waits in vain for it.
    pub(super) fn why_silent(&self, subject: Option<&str>) -> Option<Error> {
        if self.connection().is_none() {
            return self.events.unconnected();
        }
        let inbox = self.client.new_inbox();
        let inboxes = inbox.rsplit_once('.').map_or(inbox.as_str(), |(prefix, _)| prefix);
        let publish = subject.and_then(|subject| self.events.take_refusals(&publish_to(subject)));
        publish
            .or_else(|| self.events.take_refusals("Publish to \"$JS."))
            .or_else(|| self.events.refused_since(Mark::BEGINNING, &format!("Subscription to \"{inboxes}.")))
    }

    /// The largest message that the server takes, headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }
}
