//! The verbs in one line.

use std::future::Future;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
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
}

impl<M: Messenger + ?Sized> MessengerExt for M {}
