//! What a member of a consumer holds: its deliveries, as a stream.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::delivery::Delivery;
use crate::error::Result;
use crate::future::BoxFuture;

/// The deliveries of a consumer to one of its members; from [`Durable::consumer`](crate::Durable::consumer).
///
/// An item is a delivery, or an error. After [`ErrorKind::Gap`](crate::ErrorKind::Gap), which says that events may have been removed
/// before the consumer got them, it goes on; any other error is the last item. At the end of the bus comes `None`.
///
/// Dropping it gives back what was not handed over. Of an explicit consumer, deliveries that were handed over can still be
/// acknowledged. The active member of a cumulative one loses its place, and with it what it holds.
#[must_use = "dropping an inbox leaves the consumer"]
pub struct Inbox {
    name: String,
    source: Box<dyn InboxSource>,
    /// An error that came while a batch was gathered.
    held_back: Option<Result<Delivery>>,
    /// How many it still hands over, if that was said.
    left: Option<u64>,
    ended: bool,
}

/// What a backend gives for an [`Inbox`].
///
/// # Contract
/// Dropping a source gives back what it has not handed over. After `Ready(None)` it is not polled again.
pub trait InboxSource: Send + 'static {
    /// The next item, as [`Stream::poll_next`].
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>>;

    /// Has it take no more deliveries than this from here on. One that takes none before it is polled needs to do nothing.
    fn limit(&mut self, most: u64) {
        let _ = most;
    }

    /// Leaves the consumer; returns when what was not handed over is given back, and the place to others.
    fn leave(&mut self) -> BoxFuture<'_, Result<()>>;
}

impl Inbox {
    /// An inbox over a backend's source.
    pub fn new(name: impl Into<String>, source: impl InboxSource) -> Self {
        Self { name: name.into(), source: Box::new(source), held_back: None, left: None, ended: false }
    }

    /// The consumer's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands over this many deliveries at most from here on, and is at its end behind them. What is beyond is left to others: an
    /// inbox takes some ahead of being asked otherwise.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// use rowbus::{Consumer, Durable, InMemBus, MessengerExt};
    ///
    /// let bus = InMemBus::new();
    /// for order in ["one", "two", "three"] {
    ///     bus.publish("orders.created", order).await?;
    /// }
    /// let mut inbox = bus.consumer(Consumer::durable("indexer").filter("orders.>")).await?;
    /// inbox.limit(2);
    /// assert_eq!(inbox.batch(100).await?.len(), 2);
    /// assert!(inbox.next().await.is_none());
    /// assert_eq!(bus.consumer_info("indexer").await?.num_pending, 1);
    /// # inbox.leave().await }
    /// ```
    pub fn limit(&mut self, most: u64) {
        self.left = Some(most);
        self.source.limit(most);
    }

    /// The next item, or `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Delivery>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// Waits for a delivery, and gives it with those that are at hand by then, at most this many, and at least one; an empty batch is the end.
    /// An error that comes behind deliveries is told by the next call. Dropping the future loses nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// use rowbus::{Consumer, Delivery, Durable, InMemBus, MessengerExt};
    ///
    /// let bus = InMemBus::new();
    /// for order in ["one", "two", "three"] {
    ///     bus.publish("orders.created", order).await?;
    /// }
    /// let mut inbox = bus.consumer(Consumer::durable("indexer").filter("orders.>")).await?;
    /// let batch = inbox.batch(100).await?;
    /// Delivery::ack_all(&batch).await?;
    /// # assert_eq!(batch[0].text(), Some("one"));
    /// # inbox.leave().await }
    /// ```
    ///
    /// # Errors
    /// What [`next`](Self::next) gives as an item.
    pub async fn batch(&mut self, most: usize) -> Result<Vec<Delivery>> {
        let mut batch = Vec::new();
        poll_fn(|cx| {
            while batch.len() < most.max(1) {
                match self.poll_item(cx) {
                    Poll::Ready(Some(Ok(delivery))) => batch.push(delivery),
                    Poll::Ready(Some(Err(error))) if batch.is_empty() => return Poll::Ready(Err(error)),
                    Poll::Ready(Some(Err(error))) => {
                        self.held_back = Some(Err(error));
                        break;
                    }
                    Poll::Ready(None) => break,
                    Poll::Pending if batch.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        Ok(batch)
    }

    /// Leaves the consumer in good order: when this returns, what was not handed over is given back, and a cumulative
    /// consumer's place is free. The same as dropping it, but for the wait.
    ///
    /// # Errors
    /// As any writing verb; it has left none the less.
    pub async fn leave(mut self) -> Result<()> {
        self.source.leave().await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        if let Some(item) = self.held_back.take() {
            return Poll::Ready(Some(item));
        }
        if self.ended || self.left == Some(0) {
            return Poll::Ready(None);
        }
        let polled = self.source.poll_next(cx);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.left = self.left.map(|left| left - 1);
        }
        self.ended = matches!(polled, Poll::Ready(None));
        polled
    }
}

impl Stream for Inbox {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("name", &self.name).finish_non_exhaustive()
    }
}
