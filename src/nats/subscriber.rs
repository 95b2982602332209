//! A stream of a bus: a subscription of the client, and the bounded mailbox that it is emptied into.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_nats::Subscriber;
use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::clock::{Clock, SystemClock};
use crate::defaults::STREAM_BUFFER_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::mailbox::{Letter, Mailbox};
use crate::message::Message;
use crate::nats::connection::Connection;
use crate::nats::failure;
use crate::nats::headers::{self, from_wire, text};
use crate::nats::prefix::begins_with_wildcard;
use crate::nats::refusals::subscription_to;
use crate::subscribe::{Source, StartAt, SubscribeParts};

/// Dropped, it ends the subscription.
pub(super) struct Reader {
    connection: Arc<Connection>,
    mailbox: Arc<Mailbox>,
    number: u64,
    stop: Arc<Notify>,
}

impl Reader {
    /// Returns when the server knows of the subscription.
    pub(super) async fn open(connection: Arc<Connection>, parts: SubscribeParts) -> Result<Self> {
        connection.check_open()?;
        if parts.start != StartAt::New {
            let message =
                "core NATS keeps no log: a stream begins with what is new; a stream of JetStream has a past";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        connection.ready().await?;
        let filter = connection.wire(parts.filter.as_str());
        let mailbox = Arc::new(Mailbox::new(parts.buffer, STREAM_BUFFER_BYTES));
        let number = connection.events.join(filter.clone(), Arc::clone(&mailbox));
        let reader = Self { connection, mailbox, number, stop: Arc::new(Notify::new()) };
        let since = reader.connection.events.mark();
        let made_on = reader.connection.number();
        let subscriber = reader.connection.client().subscribe(filter.clone()).await;
        let emptier = Emptier {
            subscriber: subscriber.map_err(|_| failure::gone())?,
            connection: Arc::clone(&reader.connection),
            mailbox: Arc::clone(&reader.mailbox),
            wildcard: begins_with_wildcard(parts.filter.as_str()),
            told_of: made_on,
        };
        reader.connection.spawn(emptier.run(Arc::clone(&reader.stop)));
        reader.connection.subscribed().await?;
        match reader.connection.events.refused_since(since, &subscription_to(&filter)) {
            Some(refused) => Err(refused),
            None => Ok(reader),
        }
    }
}

impl Source for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        self.mailbox.poll(cx).map(|letter| match letter? {
            Letter::Message(message) => Some(Ok(message)),
            Letter::Overflow(dropped) => Some(Err(Error::overflow(dropped))),
            Letter::Told(error) | Letter::Failed(error) => Some(Err(error)),
            // Nobody leads this mailbox to a log.
            Letter::Behind(_) => None,
        })
    }

    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.connection.check_not_closed()?;
            self.stop.notify_one();
            // Whoever waits for the stream holds it, and is the one who calls this.
            let _ = self.mailbox.seal();
            Ok(())
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.connection.events.leave(self.number);
        self.stop.notify_one();
    }
}

/// Moves what arrives into the mailbox, which is bounded in bytes as well and counts what it has no room for.
struct Emptier {
    subscriber: Subscriber,
    connection: Arc<Connection>,
    mailbox: Arc<Mailbox>,
    wildcard: bool,
    /// The connection that the reader knows of.
    told_of: u64,
}

impl Emptier {
    async fn run(mut self, stop: Arc<Notify>) {
        let connection = Arc::clone(&self.connection);
        loop {
            let changed = connection.events.changed();
            tokio::select! {
                biased;
                () = stop.notified() => return,
                message = self.subscriber.next() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                () = changed => self.tell_of_a_new_connection(),
            }
        }
        let woken = match connection.given_up() {
            Some(error) => self.mailbox.fail(error),
            None => self.mailbox.seal(),
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn take(&mut self, message: async_nats::Message) {
        // Before what comes by the new connection there may be something missing.
        self.tell_of_a_new_connection();
        let is_request = message.headers.as_ref().is_some_and(|map| map.get(headers::REQUEST).is_some());
        if is_request {
            return;
        }
        let Some(subject) = self.connection.prefix.subject(&message.subject, self.wildcard) else {
            if !self.wildcard {
                tracing::warn!(subject = %message.subject, "a message was passed over: no rowbus subject is like this");
            }
            return;
        };
        let headers = message.headers.as_ref();
        let id = headers.and_then(|map| text(map, headers::MESSAGE_ID)).map(Into::into);
        let message =
            Message::new(subject, message.payload, from_wire(headers), 0, SystemClock.unix_millis())
                .with_message_id(id);
        self.mailbox.deliver(&message).into_iter().for_each(Waker::wake);
    }

    fn tell_of_a_new_connection(&mut self) {
        let now = self.connection.number();
        if now != self.told_of {
            self.told_of = now;
            self.mailbox.tell(failure::interrupted()).into_iter().for_each(Waker::wake);
        }
    }
}
