//! The inbox of a bus: one subscription for all that is sent to this bus alone, told apart by the last token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use async_nats::message::OutboundMessage;
use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::sync::oneshot;

use crate::nats::caller::Post;
use crate::nats::desk::ServiceDesk;
use crate::nats::headers;

/// Subjects are `_INBOX.<bus>.e7` for a confirmation, `.r7` for replies to a request, `.c7` for the cancellation of a call.
pub(super) struct Inbox {
    base: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    echo: Option<(u64, oneshot::Sender<()>)>,
    callers: HashMap<u64, Arc<Post>>,
    calls: HashMap<u64, Weak<ServiceDesk>>,
    closed: bool,
}

impl Inbox {
    pub(super) fn new(base: String) -> Self {
        Self { base, state: Mutex::default() }
    }

    pub(super) fn filter(&self) -> String {
        format!("{}.*", self.base)
    }

    /// What all of its subjects begin with.
    pub(super) fn start(&self) -> String {
        format!("{}.", self.base)
    }

    /// The subject of a message to ourselves, and what tells that it came back. Another before it counts no more.
    pub(super) fn expect_echo(&self) -> (String, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        let mut state = self.state();
        let number = state.next();
        state.echo = Some((number, tell));
        (format!("{}.e{number}", self.base), told)
    }

    /// Replies to this number are put into this post, until it is [forgotten](Self::forget_caller).
    pub(super) fn expect_replies(&self, post: Arc<Post>) -> u64 {
        let mut state = self.state();
        let number = state.next();
        if state.closed {
            drop(state);
            post.close().into_iter().for_each(Waker::wake);
        } else {
            state.callers.insert(number, post);
        }
        number
    }

    pub(super) fn forget_caller(&self, number: u64) {
        self.state().callers.remove(&number);
    }

    pub(super) fn reply_subject(&self, number: u64) -> String {
        format!("{}.r{number}", self.base)
    }

    /// The number of a call that this service has taken, which may be cancelled until it is
    /// [forgotten](Self::forget_call).
    pub(super) fn expect_cancel(&self, desk: Weak<ServiceDesk>) -> u64 {
        let mut state = self.state();
        let number = state.next();
        state.calls.insert(number, desk);
        number
    }

    pub(super) fn forget_call(&self, number: u64) {
        self.state().calls.remove(&number);
    }

    pub(super) fn cancel_subject(&self, number: u64) -> String {
        format!("{}.c{number}", self.base)
    }

    /// Whoever waits for a reply gets `Closed`.
    pub(super) fn close(&self) {
        let callers = {
            let mut state = self.state();
            state.closed = true;
            state.echo = None;
            state.calls.clear();
            std::mem::take(&mut state.callers)
        };
        callers.into_values().filter_map(|post| post.close()).for_each(Waker::wake);
    }

    /// Hands on what comes, as long as the connection lasts.
    pub(super) async fn run(self: Arc<Self>, mut inbox: Subscriber, post: impl Fn(OutboundMessage)) {
        while let Some(message) = inbox.next().await {
            let Some(token) = message.subject.strip_prefix(self.base.as_str()) else { continue };
            let Some((kind, number)) = token.strip_prefix('.').and_then(|token| token.split_at_checked(1))
            else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            match kind {
                "e" => self.echoed(number),
                "r" => {
                    if let Some(unwanted) = self.replied(number, message) {
                        post(unwanted);
                    }
                }
                "c" => self.cancelled(number),
                _ => {}
            }
        }
        // The client has ended: nothing comes any more.
        self.close();
    }

    fn echoed(&self, number: u64) {
        let mut state = self.state();
        if let Some((_, tell)) = state.echo.take_if(|(expected, _)| *expected == number) {
            let _ = tell.send(());
        }
    }

    /// Where nobody waits for the replies any more, the cancellation of what a server says to have taken.
    fn replied(&self, number: u64, message: Message) -> Option<OutboundMessage> {
        let post = self.state().callers.get(&number).map(Arc::clone);
        match post {
            Some(post) => {
                post.put(message).into_iter().for_each(Waker::wake);
                None
            }
            None => {
                let at = message.headers.as_ref().and_then(|map| headers::text(map, headers::CANCEL))?;
                Some(cancellation(at))
            }
        }
    }

    fn cancelled(&self, number: u64) {
        let desk = self.state().calls.get(&number).and_then(Weak::upgrade);
        if let Some(desk) = desk {
            desk.cancel(number);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// Tells a server that a call is wanted no more.
pub(super) fn cancellation(subject: &str) -> OutboundMessage {
    OutboundMessage { subject: subject.into(), reply: None, payload: bytes::Bytes::new(), headers: None }
}
