//! What the client tells out of band: connections that come and go, and what the server refuses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use async_nats::{ClientError, Event, ServerError};
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};
use crate::mailbox::Mailbox;
use crate::nats::failure;
use crate::nats::refusals::{Mark, Refusals, subscription_to};

/// What connections that come and go are told under by `tracing`, for programs that show it to somebody.
const TARGET: &str = "rowbus::connection";

/// What is known of the connection beside the client's own state, and the streams that have to be told.
#[derive(Debug, Default)]
pub(crate) struct Events {
    state: Mutex<State>,
    /// Something has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<u64, Listener>,
    last: u64,
    /// The client has ended, with this error if it was not asked to.
    ended: Option<Option<Error>>,
    refused: Refusals,
    /// Why there is no connection.
    unconnected: Option<Error>,
    /// A connection was lost, and there is none since.
    is_lost: bool,
}

#[derive(Debug)]
struct Listener {
    /// The filter as the server knows it.
    filter: String,
    mailbox: Arc<Mailbox>,
}

impl Events {
    /// Adds a stream, and gives its number.
    pub(super) fn join(&self, filter: String, mailbox: Arc<Mailbox>) -> u64 {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.streams.insert(number, Listener { filter, mailbox });
        number
    }

    pub(super) fn leave(&self, number: u64) {
        self.state().streams.remove(&number);
    }

    /// Ends every stream.
    pub(super) fn end_streams(&self) {
        let streams = std::mem::take(&mut self.state().streams);
        streams.into_values().filter_map(|listener| listener.mailbox.seal()).for_each(Waker::wake);
    }

    /// For the client's callback.
    pub(super) fn on(&self, event: Event) {
        let wakers = match event {
            Event::Closed => self.end(None),
            Event::ClientError(ClientError::MaxReconnects) => self.end(Some(failure::given_up())),
            Event::ClientError(ClientError::Other(words)) => {
                self.state().unconnected = Some(failure::unconnected(&words));
                Vec::new()
            }
            Event::Connected => {
                let mut state = self.state();
                state.unconnected = None;
                // Another connection may have other rights.
                state.refused.clear();
                if std::mem::take(&mut state.is_lost) {
                    drop(state);
                    tracing::info!(target: TARGET, "there is a connection to the NATS server again");
                }
                Vec::new()
            }
            Event::SlowConsumer(_) => self.dropped(),
            Event::ServerError(ServerError::Other(text)) => self.refuse(text),
            Event::Disconnected => {
                self.state().is_lost = true;
                tracing::warn!(target: TARGET, "the connection to the NATS server was lost; another is tried");
                Vec::new()
            }
            _ => Vec::new(),
        };
        wakers.into_iter().for_each(Waker::wake);
        self.changed.notify_waiters();
    }

    /// Whether the client has ended, and why.
    pub(super) fn ended(&self) -> Option<Option<Error>> {
        self.state().ended.clone()
    }

    /// This moment, for who wants to hear of what is refused from now on.
    pub(crate) fn mark(&self) -> Mark {
        self.state().refused.mark()
    }

    /// What the server has refused since then with these words.
    pub(crate) fn refused_since(&self, mark: Mark, words: &str) -> Option<Error> {
        self.state().refused.since(mark, words).map(denied)
    }

    /// Returns when the server has refused something with these words since then.
    pub(crate) async fn refused(&self, since: Mark, words: &str) -> Error {
        loop {
            let changed = self.changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(refused) = self.refused_since(since, words) {
                return refused;
            }
            changed.await;
        }
    }

    /// Every refusal with these words is forgotten; the newest of them, if there is one.
    pub(crate) fn take_refusals(&self, words: &str) -> Option<Error> {
        self.state().refused.take(words).as_deref().map(denied)
    }

    /// Why the last attempt to connect has failed, if there was none that did not.
    pub(crate) fn unconnected(&self) -> Option<Error> {
        self.state().unconnected.clone()
    }

    /// Returns when something changes after this was called first polled.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn end(&self, error: Option<Error>) -> Vec<Waker> {
        let mut state = self.state();
        if state.ended.is_none() {
            state.ended = Some(error.clone());
        }
        let streams = std::mem::take(&mut state.streams);
        drop(state);
        let end = |listener: Listener| match &error {
            Some(error) => listener.mailbox.fail(error.clone()),
            None => listener.mailbox.seal(),
        };
        streams.into_values().filter_map(end).collect()
    }

    /// The client has dropped a message of one subscription, and does not tell of which: each may lack it.
    fn dropped(&self) -> Vec<Waker> {
        self.state().streams.values().filter_map(|listener| listener.mailbox.overflow(1)).collect()
    }

    fn refuse(&self, text: String) -> Vec<Waker> {
        let mut state = self.state();
        let concerns = |listener: &Listener| text.contains(&subscription_to(&listener.filter));
        let numbers: Vec<u64> = state
            .streams
            .iter()
            .filter(|(_, listener)| concerns(listener))
            .map(|(number, _)| *number)
            .collect();
        let ended: Vec<Listener> = numbers.iter().filter_map(|number| state.streams.remove(number)).collect();
        state.refused.add(text.clone());
        drop(state);
        tracing::warn!(refusal = %text, "the NATS server has refused something");
        ended.iter().filter_map(|listener| listener.mailbox.fail(denied(&text))).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn denied(text: &str) -> Error {
    Error::new(ErrorKind::NotPermitted, format!("the server refuses it: {text}"))
}
