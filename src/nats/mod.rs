//! The backend on a NATS server.

mod builder;
mod caller;
pub(crate) mod connection;
mod desk;
mod echo;
pub(crate) mod events;
mod failure;
pub(crate) mod headers;
mod inbox;
mod jetstream;
mod prefix;
pub(crate) mod refusals;
mod services;
mod subscriber;
mod tls;
pub(crate) mod url;

use std::fmt;
use std::sync::Arc;

use async_nats::message::OutboundMessage;

pub use self::builder::NatsBuilder;
use self::caller::Caller;
use self::connection::Connection;
pub use self::jetstream::EventStream;
use self::jetstream::{JetStreamBus, JobDesk, Streams};
use self::refusals::publish_to;
use self::services::Services;
use self::subscriber::Reader;
use crate::capabilities::Capabilities;
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply};
use crate::request::Request;
use crate::serve::{Serve, ServeParts, Service};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};

/// A bus on a NATS server: the way past one machine.
///
/// A clone is another handle of the same connection; the last one that is dropped ends it, without waiting for what is being
/// sent: [`close`](Messenger::close) does. The verbs are those of core NATS, and plain NATS clients and this bus understand each other:
/// an event is a message, a request is one with a reply subject, a service is in the queue group `q` as NATS' own services are.
///
/// # What it promises
/// - **`send`** returns when the server has taken the message in, after everything that this bus sent before. The server
///   keeps nothing: it has passed it on to whoever listened. The acknowledgement's sequence is 0, since no log has given it one,
///   and nothing keeps duplicates out. Where the connection is lost before, the error is
///   [`Indeterminate`](ErrorKind::Indeterminate); where there is none, `send` waits up to [`wait`](NatsBuilder::wait) and is
///   [`Disconnected`](ErrorKind::Disconnected) with nothing sent. What the server refuses, it says beside the confirmation, and the
///   client tells it by another task: `send` looks whether it has, which a runtime whose threads are blocked may hold up, so
///   [`NotPermitted`](ErrorKind::NotPermitted) is a best effort.
/// - **A line that was lost** is told by `tracing` under the target `rowbus::connection`, as a warning, and by `INFO` when there is one again.
/// - **A stream** gets an [`Overflow`](ErrorKind::Overflow) item where its reader was too slow for its buffer, and a `Disconnected` item
///   where the connection was lost and made anew: what was published in between is missing. A filter whose first token is a
///   wildcard does not meet subjects that begin with `$` or `_INBOX.`, which are the server's and its clients' own. A message's
///   time is when it arrived here.
/// - **A request** reaches one server, is dealt out when it is made, and waits there if all its places are taken. A server that
///   ends in good order gives back what it has not done, and the request is sent again, to another. From one that dies nothing is
///   heard: its requests are [`RequestTimeout`](ErrorKind::RequestTimeout). Nobody who serves is `NoResponders` at once; to NATS every
///   subscriber of the subject is somebody.
/// - **Headers** arrive in their order and as often as they were sent. Those named `Rowbus-…`, `Nats-Msg-Id`, `Nats-Service-Error` and
///   `Nats-Service-Error-Code` have a meaning of their own and are refused.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// use rowbus::{Messenger, MessengerExt, NatsBus};
///
/// let bus = NatsBus::connect("nats://127.0.0.1:4222").await?;
/// let mut orders = bus.stream("orders.>").await?;
/// bus.publish("orders.created", "one pizza").await?;
/// assert_eq!(orders.next().await.unwrap()?.text(), Some("one pizza"));
/// bus.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct NatsBus {
    handles: Arc<Handles>,
}

/// Streams and services hold the connection, handles hold this.
struct Handles {
    connection: Arc<Connection>,
    services: Services,
    /// Where the bus keeps what outlives it, if it does.
    streams: Option<Arc<Streams>>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        if let Some(streams) = &self.streams {
            streams.end();
        }
        self.services.end();
        self.connection.abort();
    }
}

impl NatsBus {
    /// Connects with the default options to `nats://host:4222`, `tls://user:password@one,two?name=x`, or what else
    /// [`connect`](crate::connect) understands of NATS.
    ///
    /// # Errors
    /// As [`NatsBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// Options of a bus on these servers; those in the URL hold as well.
    pub fn builder(url: &str) -> NatsBuilder {
        NatsBuilder::new(url)
    }

    fn over(connection: Arc<Connection>, streams: Option<Arc<Streams>>) -> Self {
        Self { handles: Arc::new(Handles { services: Services::default(), streams, connection }) }
    }

    /// The connection, for what is durable on it.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.handles.connection
    }

    /// A service, which takes jobs as well if it has a desk for them.
    async fn serve(
        &self,
        parts: ServeParts,
        handler: Arc<dyn Handler>,
        jobs: Option<Arc<JobDesk>>,
    ) -> Result<Service> {
        self.handles.services.open(self.connection(), parts, handler, jobs).await
    }

    async fn ask(&self, request: Request, parts: bool) -> Result<Caller> {
        let asked = request.into_parts()?;
        if let Some(streams) = &self.handles.streams {
            streams.check_request(&asked.subject)?;
        }
        Caller::open(Arc::clone(self.connection()), asked, parts).await
    }

    async fn send_confirmed(&self, publish: Publish) -> Result<PubAck> {
        let parts = publish.into_parts()?;
        let connection = self.connection();
        connection.check_not_closed()?;
        if parts.expect_last.is_some() {
            let message = "core NATS keeps no log, and so has no newest event to expect; JetStream has";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        parts.check_size(connection.max_payload())?;
        let mut map = headers::to_wire(&parts.headers)?;
        if let Some(id) = &parts.message_id {
            headers::append(&mut map, headers::MESSAGE_ID, id)?;
        }
        let map = (!map.is_empty()).then_some(map);
        connection.check_wire_size(&parts.payload, map.as_ref())?;
        connection.ready().await?;
        let subject = connection.wire(&parts.subject);
        let message = OutboundMessage {
            subject: subject.as_str().into(),
            reply: None,
            payload: parts.payload,
            headers: map,
        };
        let since = connection.events.mark();
        let number = connection.publish(message).await?;
        let confirmed = connection.confirm(number).await;
        match connection.events.refused_since(since, &publish_to(&subject)) {
            Some(refused) => Err(refused),
            None => confirmed.map(|()| PubAck::new(0, false)),
        }
    }
}

impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBus").field("connection", self.connection()).finish_non_exhaustive()
    }
}

impl Messenger for NatsBus {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        Box::pin(self.send_confirmed(publish))
    }

    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        Box::pin(async move {
            self.connection().check_not_closed()?;
            batch.into_iter().try_for_each(|publish| publish.into_parts().map(drop))?;
            let message = "core NATS has no batches that land whole or not at all; SQLite has";
            Err(Error::new(ErrorKind::Unsupported, message))
        })
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async move {
            let parts = subscribe.into_parts()?;
            Ok(Subscription::new(Reader::open(Arc::clone(self.connection()), parts).await?))
        })
    }

    fn last(&self, _subject: Subject) -> BoxFuture<'_, Result<Option<Message>>> {
        Box::pin(async move {
            self.connection().check_not_closed()?;
            Err(Error::new(ErrorKind::Unsupported, "core NATS keeps no log, and so no newest event"))
        })
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move { Replies::new(self.ask(request, false).await?).last().await })
    }

    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async move { Ok(Replies::new(self.ask(request, true).await?)) })
    }

    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>> {
        Box::pin(async move { self.serve(serve.into_parts()?, handler, None).await })
    }

    fn as_durable(&self) -> Result<Arc<dyn Durable>> {
        match &self.handles.streams {
            Some(streams) => Ok(Arc::new(JetStreamBus::new(self.clone(), Arc::clone(streams)))),
            None => {
                let message = "core NATS keeps neither jobs nor consumers: connect with a stream to keep them in, by \
                               NatsBuilder::stream or with stream=NAME&stream_subjects=orders.> in the URL";
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let connection = self.connection();
            connection.begin_closing();
            connection.events.end_streams();
            if let Some(streams) = &self.handles.streams {
                streams.end_reading();
            }
            self.handles.services.stop().await;
            if let Some(streams) = &self.handles.streams {
                streams.close().await;
            }
            connection.close().await;
            Ok(())
        })
    }

    fn capabilities(&self) -> Capabilities {
        let keeps = self.handles.streams.is_some();
        Capabilities { jobs: keeps, consumers: keeps, ..Capabilities::none() }
    }
}
