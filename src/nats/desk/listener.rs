//! The task that listens: what arrives, what is due, and the end of the subscription.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::time::sleep_until;

use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::future::BoxFuture;
use crate::message::Message;
use crate::nats::desk::ServiceDesk;
use crate::nats::desk::answer::{Caller, reply_with};
use crate::nats::desk::state::Asked;
use crate::nats::headers::{self, from_wire, number, text};
use crate::service::Desk;

/// A server of NATS reads no number of more than nine digits here, and ends the subscription at once, whereas the client goes on
/// handing over what was on its way. (Its own `drain` forgets the subscription as soon as it has written this, and
/// so loses requests that the server has sent meanwhile. Servers that would count as far are told again when it is dropped.)
pub(in crate::nats) const AT_ONCE: u64 = 10_000_000_000;

impl ServiceDesk {
    /// Takes requests as long as the service lasts.
    pub(in crate::nats) fn listen(
        self: Arc<Self>,
        subscriber: Subscriber,
    ) -> impl Future<Output = ()> + Send {
        let over = Over(Arc::clone(&self));
        async move {
            self.take_all(subscriber).await;
            // A service that leaves ends its subscription itself.
            let is_leaving = self.state().leaving;
            let error = if is_leaving {
                self.connection.events.ended().flatten()
            } else {
                self.connection.given_up()
            };
            drop(over);
            if let (Some(error), Some(pump)) = (error, self.pump()) {
                pump.end(Some(error));
            }
        }
    }

    async fn take_all(self: &Arc<Self>, mut subscriber: Subscriber) {
        // Done when the server sends nothing any more; it begins when the service leaves.
        let mut leaving: Option<BoxFuture<'static, Result<()>>> = None;
        loop {
            let due = self.state().next_due();
            let due = due.map(|at| self.began + Duration::from_millis(at.max(0).unsigned_abs()));
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let left = async {
                match &mut leaving {
                    Some(leaving) => leaving.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = subscriber.next() => match message {
                    Some(message) => self.take(message).await,
                    None => break,
                },
                () = self.changed.notified() => {
                    if self.state().leaving && leaving.is_none() {
                        let _ = subscriber.unsubscribe_after(AT_ONCE).await;
                        let connection = Arc::clone(&self.connection);
                        leaving = Some(Box::pin(async move { connection.subscribed().await }));
                    }
                }
                _ = left => {
                    // What the server has sent before is there by now, and is given back.
                    while let Some(Some(message)) = subscriber.next().now_or_never() {
                        self.take(message).await;
                    }
                    break;
                }
                () = timer => self.expire(),
            }
        }
    }

    async fn take(self: &Arc<Self>, message: async_nats::Message) {
        // A message without a reply subject is an event, and nobody waits for an answer.
        let Some(reply) = message.reply else { return };
        let Some(subject) = self.connection.prefix.subject(&message.subject, self.wildcard) else { return };
        let empty = HeaderMap::new();
        let map = message.headers.as_ref().unwrap_or(&empty);
        let asked_as = text(map, headers::REQUEST);
        let caller = Caller {
            subject: reply.to_string(),
            is_ours: asked_as.is_some(),
            wants_parts: map.get(headers::PARTS).is_some(),
            parts: Arc::default(),
        };
        let id: Arc<str> = asked_as.unwrap_or(&reply).into();
        let now = self.awake_millis();
        let deadline = number(map, headers::TIMEOUT).and_then(|left| i64::try_from(left).ok());
        let message =
            Message::new(subject, message.payload, from_wire(Some(map)), 0, SystemClock.unix_millis());
        let asked = Asked {
            number: self.connection.inbox.expect_cancel(Arc::downgrade(self)),
            id,
            message,
            attempt: number(map, headers::ATTEMPT)
                .and_then(|attempt| i64::try_from(attempt).ok())
                .unwrap_or(1),
            deadline: deadline.map_or(i64::MAX, |left| now.saturating_add(left)),
            caller,
        };
        let (number, caller) = (asked.number, asked.caller.clone());
        if !self.state().enqueue(asked) {
            self.connection.inbox.forget_call(number);
            return self.give_back(&caller);
        }
        if caller.is_ours {
            let at = self.connection.inbox.cancel_subject(number);
            let taken = reply_with(&caller, headers::CANCEL, &at);
            // The bus has ended if the client takes no more.
            let _ = self.connection.publish(taken).await;
        }
        if let Some(pump) = self.pump() {
            pump.look();
        }
    }

    fn expire(&self) {
        let now = self.awake_millis();
        let over = self.state().take_due(now);
        over.into_iter().for_each(|number| self.cancel(number));
    }
}

/// Who has listened does so no more, also where its task is ended with the connection.
struct Over(Arc<ServiceDesk>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.over.notify_waiters();
    }
}
