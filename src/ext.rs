//! The verbs in one line.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::Call;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::handler::{HandlerError, handler_fn};
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply, Response};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};

/// The common case of each verb of [`Messenger`] as one line; every bus has it, `dyn Messenger` too.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// use rowbus::{InMemBus, MessengerExt};
///
/// let bus = InMemBus::new();
/// let mut orders = bus.stream("orders.>").await?;
/// let ack = bus.publish("orders.created", "one pizza").await?;
/// let message = orders.next().await.expect("the stream goes on")?;
/// assert_eq!((message.sequence(), message.text()), (ack.sequence, Some("one pizza")));
/// # Ok(()) }
/// ```
pub trait MessengerExt: Messenger {
    /// Publishes a payload under a subject.
    ///
    /// # Errors
    /// As [`Messenger::send`].
    fn publish<S>(&self, subject: S, payload: impl Into<Bytes>) -> impl Future<Output = Result<PubAck>> + Send
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        self.send(Publish::new(subject, payload))
    }

    /// Publishes all of them, next to each other and in this order, or none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # use rowbus::{InMemBus, MessengerExt, Publish};
    /// # let bus = InMemBus::new();
    /// let acks = bus.publish_all([Publish::new("a", "1"), Publish::new("b", "2")]).await?;
    /// assert_eq!((acks[0].sequence, acks[1].sequence), (1, 2));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Messenger::send_all`].
    fn publish_all(
        &self,
        batch: impl IntoIterator<Item = Publish>,
    ) -> impl Future<Output = Result<Vec<PubAck>>> + Send {
        self.send_all(batch.into_iter().collect())
    }

    /// Streams what a filter matches, from now on.
    ///
    /// # Errors
    /// As [`Messenger::subscribe`].
    fn stream<F>(&self, filter: F) -> impl Future<Output = Result<Subscription>> + Send
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        self.subscribe(Subscribe::to(filter))
    }

    /// Makes a request and waits up to 10 s for the reply.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # use rowbus::{Call, ErrorKind, InMemBus, MessengerExt};
    /// # let bus = InMemBus::new();
    /// let prices = bus.serve("price.*", |call: Call| async move {
    ///     let count: u32 = call.text().unwrap_or_default().parse()?;
    ///     Ok(format!("{} EUR", count * 9))
    /// }).await?;
    /// assert_eq!(bus.request("price.pizza", "2").await?.text(), Some("18 EUR"));
    /// assert_eq!(bus.request("price.pizza", "two").await.unwrap_err().kind(), ErrorKind::Handler);
    /// # prices.stop().await }
    /// ```
    ///
    /// # Errors
    /// As [`Messenger::call`].
    fn request<S>(&self, subject: S, payload: impl Into<Bytes>) -> impl Future<Output = Result<Reply>> + Send
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        self.call(Request::to(subject, payload))
    }

    /// Makes a request, and gives the parts of its reply as the server sends them, up to the final one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # use rowbus::{Call, InMemBus, MessengerExt};
    /// # let bus = InMemBus::new();
    /// let counting = bus.serve("count", |call: Call| async move {
    ///     for number in ["one", "two"] {
    ///         call.part(number).await?;
    ///     }
    ///     Ok("three")
    /// }).await?;
    /// let mut replies = bus.request_stream("count", "").await?;
    /// let mut heard = Vec::new();
    /// while let Some(reply) = replies.next().await {
    ///     heard.push(reply?.text().unwrap_or_default().to_owned());
    /// }
    /// assert_eq!(heard, ["one", "two", "three"]);
    /// # counting.stop().await }
    /// ```
    ///
    /// # Errors
    /// As [`Messenger::call_stream`].
    fn request_stream<S>(
        &self,
        subject: S,
        payload: impl Into<Bytes>,
    ) -> impl Future<Output = Result<Replies>> + Send
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        self.call_stream(Request::to(subject, payload))
    }

    /// Serves the requests and jobs that a filter matches, up to 16 at a time.
    ///
    /// # Errors
    /// As [`Messenger::serve_with`].
    fn serve<S, F, Fut, R>(&self, filter: S, handle: F) -> impl Future<Output = Result<Service>> + Send
    where
        S: TryInto<Filter>,
        Error: From<S::Error>,
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
        R: Into<Response> + 'static,
    {
        self.serve_with(Serve::on(filter), Arc::new(handler_fn(handle)))
    }
}

impl<M: Messenger + ?Sized> MessengerExt for M {}
