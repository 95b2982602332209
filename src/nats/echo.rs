//! Confirmations: a message to ourselves, which comes back when the server has taken in all that was sent before it.
//!
//! The client does not expose the protocol's ping, and its `flush` does not wait for the server. Those who wait at the same
//! time share a message: while one is on its way, the next ones gather.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as Connected;
use async_nats::message::OutboundMessage;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::future::yield_to_all;
use crate::nats::connection::publish;
use crate::nats::events::Events;
use crate::nats::inbox::Inbox;

#[derive(Default)]
pub(super) struct Echo {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    closed: bool,
}

/// Who wants to know that what it sent has arrived.
struct Waiting {
    /// The connection that it was sent on.
    number: u64,
    tell: oneshot::Sender<bool>,
}

/// It did not come back, or by another connection.
pub(super) struct Lost;

impl Echo {
    /// Returns when the server has all that was handed to the client before, if that was on this connection.
    pub(super) async fn confirm(&self, number: u64) -> Result<(), Lost> {
        let (tell, told) = oneshot::channel();
        {
            let mut state = self.state();
            if state.closed {
                return Err(Lost);
            }
            state.waiting.push(Waiting { number, tell });
        }
        self.wake.notify_one();
        if told.await == Ok(true) { Ok(()) } else { Err(Lost) }
    }

    /// Sends messages to ourselves as long as somebody waits for them.
    pub(super) async fn run(
        self: Arc<Self>,
        client: Client,
        inbox: Arc<Inbox>,
        events: Arc<Events>,
        wait: Duration,
    ) {
        let statistics = client.statistics();
        let number = || statistics.connects.load(Ordering::SeqCst);
        loop {
            self.wake.notified().await;
            let waiting = std::mem::take(&mut self.state().waiting);
            if waiting.is_empty() {
                continue;
            }
            let before = number();
            let returned = timeout(wait, async {
                tokio::select! {
                    returned = round_trip(&client, &inbox) => returned,
                    () = lost(&client, &events, || number() == before) => false,
                }
            });
            let returned = returned.await == Ok(true);
            // What the server refuses is told before it, and noted by a task of the client.
            yield_to_all().await;
            yield_to_all().await;
            let now = number();
            for waiting in waiting {
                // Whoever has gone does not mind.
                let _ = waiting.tell.send(returned && waiting.number == now);
            }
        }
    }

    /// Nothing comes back any more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn round_trip(client: &Client, inbox: &Inbox) -> bool {
    let (subject, returned) = inbox.expect_echo();
    let message =
        OutboundMessage { subject: subject.into(), reply: None, payload: bytes::Bytes::new(), headers: None };
    publish(client, message).await.is_ok() && returned.await.is_ok()
}

/// Returns when the connection is no longer the same.
async fn lost(client: &Client, events: &Events, same: impl Fn() -> bool) {
    loop {
        let changed = events.changed();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        if !same() || client.connection_state() != Connected::Connected || events.ended().is_some() {
            return;
        }
        changed.await;
    }
}
