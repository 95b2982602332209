//! The caller of a request: what it sends, and what it makes of what comes back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, Message, StatusCode};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use uuid::Uuid;

use crate::defaults::{MEMORY_LOG, MEMORY_LOG_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::nats::connection::Connection;
use crate::nats::headers::{self, from_wire, number, text};
use crate::nats::inbox::cancellation;
use crate::nats::refusals::publish_to;
use crate::reply::{Reply, ReplySource, Response};
use crate::request::RequestParts;

/// Where replies lie until their caller reads them.
#[derive(Default)]
pub(super) struct Post {
    state: Mutex<Letters>,
}

#[derive(Default)]
struct Letters {
    arrived: VecDeque<Message>,
    bytes: usize,
    /// Parts that there was no room for.
    dropped: u64,
    closed: bool,
    waker: Option<Waker>,
}

enum Letter {
    Message(Message),
    Overflow(u64),
    Closed,
}

impl Post {
    #[must_use]
    pub(super) fn put(&self, message: Message) -> Option<Waker> {
        let mut state = self.state();
        state.bytes += message.length;
        if state.dropped > 0 || state.arrived.len() >= MEMORY_LOG || state.bytes > MEMORY_LOG_BYTES {
            state.dropped += 1;
        } else {
            state.arrived.push_back(message);
        }
        state.waker.take()
    }

    /// Nothing comes any more.
    #[must_use]
    pub(super) fn close(&self) -> Option<Waker> {
        let mut state = self.state();
        state.closed = true;
        state.waker.take()
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Letter> {
        let mut state = self.state();
        if let Some(message) = state.arrived.pop_front() {
            state.bytes = state.bytes.saturating_sub(message.length);
            return Poll::Ready(Letter::Message(message));
        }
        if state.dropped > 0 {
            return Poll::Ready(Letter::Overflow(state.dropped));
        }
        if state.closed {
            return Poll::Ready(Letter::Closed);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, Letters> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped before the final reply, it tells the server that the answer is wanted no more.
pub(super) struct Caller {
    connection: Arc<Connection>,
    post: Arc<Post>,
    number: u64,
    request: RequestParts,
    /// The same in each attempt.
    id: String,
    wants_parts: bool,
    attempt: u32,
    /// How many of this attempt came.
    parts: u64,
    until: Instant,
    timeout: Pin<Box<Sleep>>,
    /// The server refuses the request.
    refused: Option<BoxFuture<'static, Error>>,
    /// The request is given to another server.
    sending: Option<BoxFuture<'static, Result<()>>>,
    /// Where the server that has it wants to be told.
    cancel_at: Option<String>,
    ended: bool,
}

impl Caller {
    /// Sends the request.
    pub(super) async fn open(
        connection: Arc<Connection>,
        request: RequestParts,
        wants_parts: bool,
    ) -> Result<Self> {
        connection.check_open()?;
        connection.check_size(&request.payload, &request.headers)?;
        let until = Instant::now() + request.timeout;
        let post = Arc::new(Post::default());
        let number = connection.inbox.expect_replies(Arc::clone(&post));
        let mut caller = Self {
            connection,
            post,
            number,
            request,
            id: Uuid::now_v7().to_string(),
            wants_parts,
            attempt: 1,
            parts: 0,
            until,
            timeout: Box::pin(sleep_until(until)),
            refused: None,
            sending: None,
            cancel_at: None,
            ended: false,
        };
        let message = caller.message()?;
        caller.connection.check_wire_size(&message.payload, message.headers.as_ref())?;
        tokio::select! {
            ready = caller.connection.ready() => ready?,
            () = &mut caller.timeout => return Err(caller.too_late()),
        }
        caller.refused = Some(caller.refusal());
        caller.connection.publish(message).await?;
        Ok(caller)
    }

    /// Done when the server refuses what is sent from now on.
    fn refusal(&self) -> BoxFuture<'static, Error> {
        let events = Arc::clone(&self.connection.events);
        let (since, words) = (events.mark(), publish_to(&self.connection.wire(&self.request.subject)));
        Box::pin(async move { events.refused(since, &words).await })
    }

    /// The request as it is sent in this attempt.
    fn message(&self) -> Result<OutboundMessage> {
        let mut map = headers::to_wire(&self.request.headers)?;
        let left = self.until.saturating_duration_since(Instant::now()).as_millis();
        headers::append(&mut map, headers::REQUEST, &self.id)?;
        headers::append(&mut map, headers::TIMEOUT, &left.to_string())?;
        if self.attempt > 1 {
            headers::append(&mut map, headers::ATTEMPT, &self.attempt.to_string())?;
        }
        if self.wants_parts {
            headers::append(&mut map, headers::PARTS, "wanted")?;
        }
        Ok(OutboundMessage {
            subject: self.connection.wire(&self.request.subject).into(),
            reply: Some(self.connection.inbox.reply_subject(self.number).into()),
            payload: self.request.payload.clone(),
            headers: Some(map),
        })
    }

    /// What a message means for the caller; `None` if it goes on waiting.
    fn open_letter(&mut self, message: Message) -> Option<Result<Reply>> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let text = format!("nobody serves {:?}", self.request.subject);
            return Some(Err(Error::new(ErrorKind::NoResponders, text)));
        }
        let empty = HeaderMap::new();
        let map = message.headers.as_ref().unwrap_or(&empty);
        if let Some(at) = text(map, headers::CANCEL) {
            self.cancel_at = Some(at.to_owned());
            return None;
        }
        if map.get(headers::RELEASED).is_some() {
            return self.released().err().map(Err);
        }
        let response = Response::new(message.payload.clone()).with_headers(from_wire(Some(map)));
        // They are numbered from 1: whoever writes 0 means something else.
        if let Some(part) = number(map, headers::PART).filter(|part| *part > 0) {
            self.parts += 1;
            return Some(match part == self.parts {
                true => Ok(Reply::part(response, self.attempt)),
                false => Err(missing(self.parts, part - 1)),
            });
        }
        if let Some(error) = handler_error(map, response.payload().clone()) {
            return Some(Err(error));
        }
        match number(map, headers::PARTS) {
            Some(sent) if self.wants_parts && sent != self.parts => Some(Err(missing(self.parts + 1, sent))),
            _ => Some(Ok(Reply::last(response, self.attempt))),
        }
    }

    /// A server gives it back: it is sent again, for another one.
    fn released(&mut self) -> Result<()> {
        self.connection.check_open()?;
        if !self.request.redeliver {
            let message =
                "the server ended before it had answered, and the request was not to be given to another";
            return Err(Error::new(ErrorKind::ServerLost, message));
        }
        self.cancel_at = None;
        self.parts = 0;
        self.attempt += 1;
        let message = self.message()?;
        let pause = again_after(self.attempt);
        let connection = Arc::clone(&self.connection);
        self.sending = Some(Box::pin(async move {
            sleep(pause).await;
            connection.ready().await?;
            connection.publish(message).await.map(drop)
        }));
        Ok(())
    }

    fn too_late(&self) -> Error {
        let message = format!(
            "no answer to the request on {:?} within {:?}",
            self.request.subject, self.request.timeout
        );
        Error::new(ErrorKind::RequestTimeout, message)
    }

    /// Nothing comes any more.
    fn closed(&self) -> Error {
        self.connection.given_up().unwrap_or_else(Error::closed)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        loop {
            if let Some(sending) = &mut self.sending
                && let Poll::Ready(sent) = sending.as_mut().poll(cx)
            {
                self.sending = None;
                sent?;
            }
            match self.post.poll(cx) {
                Poll::Ready(Letter::Message(message)) => {
                    if let Some(reply) = self.open_letter(message) {
                        return Poll::Ready(reply);
                    }
                }
                Poll::Ready(Letter::Overflow(dropped)) => return Poll::Ready(Err(Error::overflow(dropped))),
                Poll::Ready(Letter::Closed) => return Poll::Ready(Err(self.closed())),
                Poll::Pending => {
                    if let Some(refused) = &mut self.refused
                        && let Poll::Ready(error) = refused.as_mut().poll(cx)
                    {
                        self.refused = None;
                        return Poll::Ready(Err(error));
                    }
                    return self.timeout.as_mut().poll(cx).map(|()| Err(self.too_late()));
                }
            }
        }
    }
}

impl ReplySource for Caller {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        let polled = self.poll(cx);
        if let Poll::Ready(reply) = &polled {
            // An error ends it as well, and the server may not know yet.
            self.ended = matches!(reply, Ok(reply) if reply.is_final());
        }
        polled.map(Some)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.connection.inbox.forget_caller(self.number);
        // A server that tells of itself later is told then.
        if let Some(at) = self.cancel_at.take().filter(|_| !self.ended) {
            self.connection.post(cancellation(&at));
        }
    }
}

/// What a handler said when it failed, a server of ours or any other.
fn handler_error(map: &HeaderMap, body: bytes::Bytes) -> Option<Error> {
    if let Some(said) = text(map, headers::SAID) {
        let code = text(map, headers::SAID_CODE).map(|code| headers::decode(code).into());
        return Some(Error::handler(headers::decode(said), code, body));
    }
    let said = text(map, headers::ERROR)?;
    Some(Error::handler(said, text(map, headers::ERROR_CODE).map(Into::into), body))
}

fn missing(first: u64, last: u64) -> Error {
    let message = format!("parts {first} to {last} of the reply were lost with the connection");
    Error::new(ErrorKind::Disconnected, message)
}

/// The pause before it is sent again: none at first, when a server has ended; then longer ones, for those that take no more may
/// be the only ones.
fn again_after(attempt: u32) -> Duration {
    match attempt {
        0..=2 => Duration::ZERO,
        more => Duration::from_millis(10 << (more - 3).min(6)),
    }
}
