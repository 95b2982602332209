//! An event as a member of a consumer gets it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::future::{BoxFuture, join_all};
use crate::handler::HandlerError;
use crate::message::Message;

/// An event that was delivered to this member of a consumer. It derefs to the [`Message`]: subject, payload, headers.
///
/// Dropping it says nothing: it comes again when its `ack_wait` is over. Cheap to clone; a clone stands for the same delivery.
#[derive(Clone)]
#[must_use = "what is not acknowledged comes again"]
pub struct Delivery {
    message: Message,
    attempt: u32,
    control: Arc<dyn DeliveryControl>,
}

/// What a backend does for the [`Delivery`]s of an inbox.
pub trait DeliveryControl: Send + Sync + 'static {
    /// Notes how this delivery ended. An attempt that is not the latest is [`LeaseLost`](crate::ErrorKind::LeaseLost).
    fn settle<'a>(
        &'a self,
        message: &'a Message,
        attempt: u32,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<()>>;
    /// Has this delivery held at least this long from now.
    fn extend(&self, sequence: u64, attempt: u32, by: Duration) -> BoxFuture<'_, Result<()>>;
}

/// How a delivery ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Settlement {
    /// It was handled.
    Ack,
    /// It is to come again: after this time, or after the consumer's backoff.
    Nack(Option<Duration>),
    /// Its handler failed; the error may say when it is to come again, or that it never is.
    Failed(HandlerError),
    /// It is given up on, for this reason.
    Term(String),
    /// It was not handled, and the delivery is not to count.
    Release,
}

impl Delivery {
    /// A delivery as a backend makes it.
    pub fn new(message: Message, attempt: u32, control: Arc<dyn DeliveryControl>) -> Self {
        Self { message, attempt, control }
    }

    /// The event, without the rest.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Which delivery of this event this is, from 1. Of a cumulative consumer, those that failed are counted, and not what
    /// comes again after a member has died.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it was delivered before, perhaps to another member.
    pub fn is_redelivered(&self) -> bool {
        self.attempt > 1
    }

    /// It was handled. A [cumulative](crate::AckPolicy::Cumulative) consumer's position moves here, so that everything before counts
    /// as handled too; to say so of one before is no error.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if it is no longer this member's: its `ack_wait` is over and it comes again,
    /// or came; the member has lost its place; the consumer was moved, deleted or has acknowledged it before. As any
    /// writing verb.
    pub async fn ack(&self) -> Result<()> {
        self.settle(Settlement::Ack).await
    }

    /// It is to come again, after this delay, or with `None` after the consumer's backoff; the delivery counts. What came
    /// with no delay at all would spin: it comes after 10 ms at the earliest. (NATS redelivers without a delay at
    /// once.)
    ///
    /// A cumulative consumer goes back to it, and delivers nothing else meanwhile; what it delivered behind it is this member's
    /// no more.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn nack(&self, delay: impl Into<Option<Duration>>) -> Result<()> {
        self.settle(Settlement::Nack(delay.into())).await
    }

    /// It was not handled, and nothing speaks against it: it comes again at once, to any member, and this delivery does not count. For
    /// a member that ends with deliveries in its hands, as a service gives back its requests; one that goes on may be given it
    /// again at once.
    ///
    /// A cumulative consumer delivers it to whoever has the place next, once this member has left.
    ///
    /// # Errors
    /// As [`ack`](Self::ack). `Unsupported` where the backend has no [releases](crate::Capabilities::releases).
    pub async fn release(&self) -> Result<()> {
        self.settle(Settlement::Release).await
    }

    /// Handling it has failed: as [`nack`](Self::nack), and the message of the error is kept for its dead letter, as the line of this
    /// attempt (that of a nack is `nacked`, and one that was not acknowledged in time has a line as well). The error may say
    /// when it is to [come again](HandlerError::retry_at), or that it [never is](HandlerError::fatal).
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn fail(&self, error: impl Into<HandlerError>) -> Result<()> {
        self.settle(Settlement::Failed(error.into())).await
    }

    /// It never can be handled: a copy goes to the [dead letters](crate::Durable::dead_letters) with this reason; or, if
    /// the consumer was told to [stop](crate::OnFailure::Stop), it stops here.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn term(&self, reason: impl Into<String>) -> Result<()> {
        self.settle(Settlement::Term(reason.into())).await
    }

    /// Has it held at least this long from now, beyond the consumer's `ack_wait` if need be.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn extend(&self, by: Duration) -> Result<()> {
        self.control.extend(self.message.sequence(), self.attempt, by).await
    }

    /// Acknowledges all of these, which costs little more than one. All are tried, and the first error is told.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn ack_all(deliveries: impl IntoIterator<Item = &Delivery>) -> Result<()> {
        let acks = deliveries.into_iter().map(|delivery| delivery.settle(Settlement::Ack));
        join_all(acks).await.into_iter().collect()
    }

    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<(), Error>> {
        self.control.settle(&self.message, self.attempt, settlement)
    }
}

impl Deref for Delivery {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("attempt", &self.attempt)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
