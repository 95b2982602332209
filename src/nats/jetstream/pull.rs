//! Pulls: asking a consumer on the server for messages, and what the server says in place of them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::message::Message as Arrived;
use async_nats::{StatusCode, Subscriber};
use futures_core::Stream;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, Sleep, sleep};

use crate::error::Result;
use crate::nats::connection::Connection;
use crate::nats::desk::AT_ONCE;
use crate::nats::jetstream::failure;

/// A pull ends by itself after this time, and is made again.
const EXPIRES: Duration = Duration::from_secs(30);
/// The server says that often that the pull is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A server that said nothing for this long has lost the pull, as one does that was restarted.
const SILENCE: Duration = Duration::from_secs(11);

/// A place to which a consumer on the server delivers what is asked for.
///
/// What was asked for and has arrived is kept until it is polled, whatever becomes of the futures in between.
pub(super) struct Puller {
    jetstream: JetStream,
    inbox: String,
    next: String,
    arrives: Subscriber,
    /// What the server may still send of the last pull.
    outstanding: usize,
    silence: Pin<Box<Sleep>>,
    asking: Option<crate::future::BoxFuture<'static, Result<()>>>,
}

/// What comes of a pull.
pub(super) enum Pulled {
    Message(Box<Arrived>),
    /// It is over, and can be made again.
    Over,
    /// It was lost, perhaps with messages that were on their way.
    Lost,
    /// The server has no such consumer any more, or none yet after a restart.
    Gone,
}

impl Puller {
    pub(super) async fn new(jetstream: &JetStream, stream: &str, consumer: &str) -> Result<Self> {
        let client = jetstream.client();
        let inbox = client.new_inbox();
        let arrives = client.subscribe(inbox.clone()).await.map_err(failure::unreachable)?;
        Ok(Self {
            jetstream: jetstream.clone(),
            inbox,
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            arrives,
            outstanding: 0,
            silence: Box::pin(sleep(SILENCE)),
            asking: None,
        })
    }

    /// Whether nothing is asked for that has not come.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding == 0
    }

    /// Asks for this many messages; they are polled.
    pub(super) fn ask(&mut self, most: usize) {
        let (client, next, inbox) = (self.jetstream.client(), self.next.clone(), self.inbox.clone());
        let wanted = format!(
            r#"{{"batch":{most},"expires":{},"idle_heartbeat":{}}}"#,
            EXPIRES.as_nanos(),
            HEARTBEAT.as_nanos()
        );
        self.outstanding = most;
        self.hears();
        self.asking = Some(Box::pin(async move {
            client.publish_with_reply(next, inbox, wanted.into()).await.map_err(failure::unreachable)
        }));
    }

    /// The next of what was asked for; only where something was.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Pulled>> {
        if let Some(asking) = &mut self.asking {
            match asking.as_mut().poll(cx) {
                Poll::Ready(asked) => {
                    self.asking = None;
                    asked?;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        loop {
            let message = match Pin::new(&mut self.arrives).poll_next(cx) {
                Poll::Ready(Some(message)) => message,
                Poll::Ready(None) => return Poll::Ready(Err(crate::error::Error::closed())),
                Poll::Pending if self.silence.as_mut().poll(cx).is_ready() => {
                    return Poll::Ready(Ok(self.over(Pulled::Lost)));
                }
                Poll::Pending => return Poll::Pending,
            };
            self.hears();
            let Some(status) = message.status else {
                self.outstanding = self.outstanding.saturating_sub(1);
                return Poll::Ready(Ok(Pulled::Message(Box::new(self.deliver(message)))));
            };
            let said = message.description.as_deref().unwrap_or_default();
            let over = match status {
                StatusCode::IDLE_HEARTBEAT => continue,
                StatusCode::NOT_FOUND | StatusCode::TIMEOUT => Pulled::Over,
                StatusCode::NO_RESPONDERS => Pulled::Gone,
                _ if said.contains("Consumer Deleted") => Pulled::Gone,
                // A leader that changed or a server that ends says so.
                _ => Pulled::Lost,
            };
            return Poll::Ready(Ok(self.over(over)));
        }
    }

    /// Ends the pull, and tells what the server has sent that was not polled.
    pub(super) async fn end(mut self, connection: &Connection) -> Vec<Arrived> {
        let mut arrived = Vec::new();
        if self.is_idle() {
            return arrived;
        }
        // The asking may be under way.
        if let Some(asking) = self.asking.take() {
            let _ = asking.await;
        }
        // When the server has heard it, what it has sent before is here. Without it, nothing comes.
        let _ = self.arrives.unsubscribe_after(AT_ONCE).await;
        let _ = connection.subscribed().await;
        while let Some(Some(message)) = self.arrives.next().now_or_never() {
            if message.status.is_none() {
                arrived.push(self.deliver(message));
            }
        }
        arrived
    }

    fn deliver(&self, message: async_nats::Message) -> Arrived {
        Arrived { message, context: self.jetstream.clone() }
    }

    fn over(&mut self, how: Pulled) -> Pulled {
        self.outstanding = 0;
        how
    }

    fn hears(&mut self) {
        self.silence.as_mut().reset(Instant::now() + SILENCE);
    }
}
