//! The connection to the servers, which everything of one bus shares.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::message::OutboundMessage;
use async_nats::{Client, HeaderMap, Statistics};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;
use crate::nats::builder::Options;
use crate::nats::echo::Echo;
use crate::nats::events::Events;
use crate::nats::failure;
use crate::nats::headers::wire_len;
use crate::nats::inbox::Inbox;
use crate::nats::prefix::Prefix;
use crate::nats::refusals::{Mark, subscription_to};

/// One connection of the client, with what `async-nats` does not give: a confirmation by the server of what was sent
/// ([`confirm`](Self::confirm)), subjects under the bus's prefix, limits that are checked before anything is sent, an inbox of
/// its own, tasks that end with it, and the states open, closing and closed.
///
/// Core NATS and JetStream both go through it: [`client`](Self::client) is cheap to clone, and
/// `async_nats::jetstream::new(connection.client())` is a context on it.
pub(crate) struct Connection {
    client: Client,
    statistics: Arc<Statistics>,
    pub(crate) events: Arc<Events>,
    pub(super) inbox: Arc<Inbox>,
    echo: Arc<Echo>,
    pub(super) prefix: Prefix,
    max_payload: usize,
    wait: Duration,
    phase: AtomicU8,
    pub(super) runtime: Handle,
    tasks: Mutex<JoinSet<()>>,
    outbox: UnboundedSender<Errand>,
}

/// What the courier is to do.
enum Errand {
    Send(OutboundMessage),
    /// Everything before it was handed to the client.
    Tell(oneshot::Sender<()>),
}

const OPEN: u8 = 0;
/// Handlers that run may finish, and use the bus for it; nothing new begins.
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

impl Connection {
    pub(super) async fn open(options: Options) -> Result<Arc<Self>> {
        let runtime = Handle::try_current().map_err(|error| {
            let message = "a NATS bus needs a tokio runtime: this was called outside of one";
            Error::with_source(ErrorKind::Unsupported, message, error)
        })?;
        let events = Arc::new(Events::default());
        let told = Arc::clone(&events);
        let connecting = options.connect_options().await?.event_callback(move |event| {
            told.on(event);
            std::future::ready(())
        });
        let client = connecting.connect(&options.servers[..]).await.map_err(failure::connect)?;
        let (outbox, outgoing) = unbounded_channel();
        let connection = Arc::new(Self {
            statistics: client.statistics(),
            events,
            inbox: Arc::new(Inbox::new(client.new_inbox())),
            echo: Arc::new(Echo::default()),
            prefix: Prefix::new(options.prefix),
            max_payload: options.max_payload,
            wait: options.wait,
            phase: AtomicU8::new(OPEN),
            runtime,
            tasks: Mutex::default(),
            outbox,
            client,
        });
        let inbox =
            connection.client.subscribe(connection.inbox.filter()).await.map_err(|_| failure::gone())?;
        let outbox = connection.outbox.clone();
        let post = move |message| drop(outbox.send(Errand::Send(message)));
        connection.spawn(Arc::clone(&connection.inbox).run(inbox, post));
        connection.spawn(courier(connection.client.clone(), outgoing));
        let echo = Arc::clone(&connection.echo).run(
            connection.client.clone(),
            Arc::clone(&connection.inbox),
            Arc::clone(&connection.events),
            connection.wait,
        );
        connection.spawn(echo);
        if !options.retry_first {
            connection.subscribed().await?;
        }
        Ok(connection)
    }

    /// The client, for whatever else it can do. What is sent by it is not confirmed.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// A subject or filter as the server knows it.
    pub(crate) fn wire(&self, subject: &str) -> String {
        self.prefix.wire(subject)
    }

    /// How long a verb waits for a connection and for a confirmation.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// The largest payload with headers, as rowbus counts them.
    pub(crate) fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// For what begins something.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.phase.load(Ordering::SeqCst) == OPEN { Ok(()) } else { Err(Error::closed()) }
    }

    /// For what a handler may need to finish.
    pub(crate) fn check_not_closed(&self) -> Result<()> {
        if self.phase.load(Ordering::SeqCst) == CLOSED { Err(Error::closed()) } else { Ok(()) }
    }

    /// Refuses what the server would refuse: it counts headers as they are written, and its own limit may be lower than ours.
    pub(crate) fn check_wire_size(&self, payload: &Bytes, headers: Option<&HeaderMap>) -> Result<()> {
        let size = payload.len() + headers.map_or(0, wire_len);
        let limit = self.client.max_payload();
        if size <= limit {
            return Ok(());
        }
        let kind = ErrorKind::PayloadTooLarge { size: size as u64, limit: limit as u64 };
        let message =
            format!("the message has {size} bytes with its headers, and the server takes at most {limit}");
        Err(Error::new(kind, message))
    }

    /// The same for our own limit, which counts headers as every backend does.
    pub(crate) fn check_size(&self, payload: &Bytes, headers: &Headers) -> Result<()> {
        let size = payload.len() + headers.encoded_len();
        if size <= self.max_payload {
            return Ok(());
        }
        let kind = ErrorKind::PayloadTooLarge { size: size as u64, limit: self.max_payload as u64 };
        let limit = self.max_payload;
        let message =
            format!("the message has {size} bytes with its headers, and at most {limit} are allowed");
        Err(Error::new(kind, message))
    }

    /// Returns when there is a connection; `Disconnected` if there is none within the time that a verb waits, or ever again.
    pub(crate) async fn ready(&self) -> Result<()> {
        if self.client.connection_state() == State::Connected && self.events.ended().is_none() {
            return Ok(());
        }
        let deadline = Instant::now() + self.wait();
        loop {
            let changed = self.events.changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match self.events.ended() {
                Some(Some(error)) => return Err(error),
                Some(None) => return Err(Error::closed()),
                None if self.client.connection_state() == State::Connected => return Ok(()),
                None => {}
            }
            // The client tells of a connection a moment before it counts as one.
            let soon = deadline.min(Instant::now() + Duration::from_millis(20));
            if timeout_at(soon, changed).await.is_err() && Instant::now() >= deadline {
                return Err(failure::disconnected());
            }
        }
    }

    /// Why the client has ended, for who gets nothing any more; `None` if this bus was closed. What the client tells of itself may come
    /// later than the end of all that it held.
    pub(super) fn given_up(&self) -> Option<Error> {
        match self.events.ended() {
            _ if self.phase.load(Ordering::SeqCst) == CLOSED => None,
            Some(Some(error)) => Some(error),
            _ => Some(failure::given_up()),
        }
    }

    /// Which connection this is, counted from the first: what was handed to the client is lost if it changes before it is
    /// confirmed.
    pub(crate) fn number(&self) -> u64 {
        self.statistics.connects.load(Ordering::SeqCst)
    }

    /// Hands a message to the client, on which connection it tells.
    pub(crate) async fn publish(&self, message: OutboundMessage) -> Result<u64> {
        let number = self.number();
        publish(&self.client, message).await?;
        Ok(number)
    }

    /// Returns when the server has everything that was handed to the client before, if that was on the connection of this
    /// number: by a message to ourselves, which comes back after all of it was taken in. Those who wait at the same time share
    /// one such message.
    ///
    /// `Indeterminate` if the connection was lost in between, or nothing came back in time.
    pub(crate) async fn confirm(&self, number: u64) -> Result<()> {
        self.echo.confirm(number).await.map_err(|_| self.unconfirmed())
    }

    fn unconfirmed(&self) -> Error {
        match self.check_not_closed() {
            Ok(()) => failure::unconfirmed(),
            Err(closed) => closed,
        }
    }

    /// Returns when the server knows of every subscription that was made before. `NotPermitted` if it refuses the inbox, by which
    /// nothing would ever be confirmed.
    pub(crate) async fn subscribed(&self) -> Result<()> {
        let (since, sends) = (self.events.mark(), format!("Publish to \"{}", self.inbox.start()));
        let hears = subscription_to(&self.inbox.filter());
        tokio::select! {
            known = self.known() => known,
            refused = self.events.refused(Mark::BEGINNING, &hears) => Err(failure::no_inbox(&refused)),
            refused = self.events.refused(since, &sends) => Err(failure::no_inbox(&refused)),
        }
    }

    async fn known(&self) -> Result<()> {
        let deadline = Instant::now() + self.wait();
        loop {
            self.ready().await?;
            match self.confirm(self.number()).await {
                Ok(()) => return Ok(()),
                // The client subscribes again by itself on the next connection.
                Err(error) if error.kind() == ErrorKind::Indeterminate && Instant::now() < deadline => {}
                Err(error) if error.kind() == ErrorKind::Indeterminate => return Err(failure::disconnected()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a message that nobody waits for.
    pub(super) fn post(&self, message: OutboundMessage) {
        // A connection that has ended has nobody to send to.
        let _ = self.outbox.send(Errand::Send(message));
    }

    /// Runs until it is done or the connection is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        if self.phase.load(Ordering::SeqCst) != CLOSED {
            tasks.spawn_on(task, &self.runtime);
        }
    }

    /// Nothing new begins.
    pub(super) fn begin_closing(&self) {
        let _ = self.phase.compare_exchange(OPEN, CLOSING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Hands over what was sent, and ends the client and all tasks.
    pub(super) async fn close(&self) {
        if self.phase.load(Ordering::SeqCst) == CLOSED {
            return;
        }
        if self.client.connection_state() == State::Connected {
            // Answers and cancellations of the last moment.
            let _ = timeout(self.wait, self.posted()).await;
            let _ = timeout(self.wait, self.confirm(self.number())).await;
        }
        self.phase.store(CLOSED, Ordering::SeqCst);
        if self.events.ended().is_none() && self.client.drain().await.is_ok() {
            // It returns before it is done; without a connection it is never done.
            let _ = timeout(self.wait, self.until_ended()).await;
        }
        self.abort();
    }

    /// Returns when everything that was posted before has been handed to the client.
    async fn posted(&self) {
        let (tell, told) = oneshot::channel();
        let _ = self.outbox.send(Errand::Tell(tell));
        let _ = told.await;
    }

    async fn until_ended(&self) {
        loop {
            let changed = self.events.changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.events.ended().is_some() || self.client.connection_state() != State::Connected {
                return;
            }
            changed.await;
        }
    }

    /// Ends all tasks where they stand.
    pub(super) fn abort(&self) {
        self.phase.store(CLOSED, Ordering::SeqCst);
        self.events.end_streams();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.echo.close();
        self.inbox.close();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("state", &self.client.connection_state())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Hands messages to the client, for those who cannot wait until it takes them.
async fn courier(client: Client, mut outgoing: UnboundedReceiver<Errand>) {
    while let Some(errand) = outgoing.recv().await {
        match errand {
            // A client that has ended takes nothing, and nobody minds.
            Errand::Send(message) => drop(publish(&client, message).await),
            Errand::Tell(tell) => drop(tell.send(())),
        }
    }
}

pub(super) async fn publish(client: &Client, message: OutboundMessage) -> Result<()> {
    use async_nats::client::traits::Publisher;
    let taken = client.publish_message(message).await;
    taken.map_err(|error| match error.kind() {
        async_nats::PublishErrorKind::Send => failure::gone(),
        _ => Error::with_source(ErrorKind::InvalidOption, "the client refuses the message", error),
    })
}
