//! What a subscriber asks for, and the stream it gets.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use chrono::{DateTime, Utc};
use futures_core::Stream;

use crate::defaults::STREAM_BUFFER;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::future::BoxFuture;
use crate::message::Message;

/// Where in the log a stream begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartAt {
    /// With the first event published after the subscription was made.
    #[default]
    New,
    /// With the oldest event that the log holds.
    Oldest,
    /// With this sequence, or the next one there is. One that lies more than one beyond the newest is
    /// [`ErrorKind::CursorAhead`].
    Sequence(u64),
    /// With the first event published at this time or later, by the publishers' wall clocks. Found by
    /// bisection: where a clock went back, it is one of the places where the time was passed.
    Time(DateTime<Utc>),
    /// With the newest event of each subject, in the order of the log, and then what is new.
    LastPerSubject,
}

/// A subscription to make: a filter and options.
///
/// ```
/// use rowbus::{StartAt, Subscribe};
///
/// let replay = Subscribe::to("orders.>").from(StartAt::Oldest);
/// assert!(replay.into_parts().is_ok());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a subscription is made by passing this to `subscribe`"]
pub struct Subscribe {
    parts: Result<SubscribeParts>,
}

/// A checked [`Subscribe`], as a backend takes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscribeParts {
    /// What to deliver.
    pub filter: Filter,
    /// Where to begin.
    pub start: StartAt,
    /// How many messages wait in memory for a slow reader.
    pub buffer: usize,
    /// Which log the start was kept of; a backend refuses it of another as [`ErrorKind::OtherIncarnation`].
    pub incarnation: Option<Box<str>>,
}

impl Subscribe {
    /// A subscription to what this filter matches, from now on.
    pub fn to<F>(filter: F) -> Self
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        let parts = filter.try_into().map_err(Error::from);
        Self {
            parts: parts.map(|filter| SubscribeParts {
                filter,
                start: StartAt::New,
                buffer: STREAM_BUFFER,
                incarnation: None,
            }),
        }
    }

    /// Where to begin.
    pub fn from(mut self, start: StartAt) -> Self {
        if let Ok(parts) = &mut self.parts {
            parts.start = start;
        }
        self
    }

    /// The log that the start is of, by what `incarnation` of the bus said when the position was kept: in another, as in a file
    /// that was restored from a backup, the same sequences are given to other events, and it is refused as
    /// [`ErrorKind::OtherIncarnation`]. Without it only a position beyond the end is told.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// use rowbus::{ErrorKind, InMemBus, Messenger, StartAt, Subscribe};
    ///
    /// let (bus, other) = (InMemBus::new(), InMemBus::new());
    /// let kept = (bus.incarnation(), 1);
    /// let replay = || Subscribe::to("orders.>").from(StartAt::Sequence(kept.1)).of_incarnation(&*kept.0);
    /// assert!(bus.subscribe(replay()).await.is_ok());
    /// let error = other.subscribe(replay()).await.err().unwrap();
    /// assert_eq!(error.kind(), ErrorKind::OtherIncarnation);
    /// # Ok(()) }
    /// ```
    pub fn of_incarnation(mut self, incarnation: impl Into<Box<str>>) -> Self {
        if let Ok(parts) = &mut self.parts {
            parts.incarnation = Some(incarnation.into());
        }
        self
    }

    /// How many messages wait in memory for a slow reader, 1,024 unless set. What does not fit is read
    /// from the log later, where there is one; else it is dropped, and an [`ErrorKind::Overflow`] item says so.
    pub fn buffer(mut self, messages: usize) -> Self {
        if let Ok(parts) = &mut self.parts {
            parts.buffer = messages;
            if messages == 0 {
                let message = "a stream's buffer holds at least 1 message; got 0";
                self.parts = Err(Error::new(ErrorKind::InvalidOption, message));
            }
        }
        self
    }

    /// The checked parts, for a backend.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn into_parts(self) -> Result<SubscribeParts> {
        self.parts
    }
}

impl SubscribeParts {
    /// For a backend: whether the start may be of the log that this incarnation names.
    ///
    /// # Errors
    /// `OtherIncarnation`.
    pub fn check_incarnation(&self, there: &str) -> Result<()> {
        match &self.incarnation {
            Some(asked) if **asked != *there => Err(Error::other_incarnation(asked, there)),
            _ => Ok(()),
        }
    }
}

/// A stream of messages; dropping it stops the delivery.
///
/// An item is a message, or an error that the stream survives: after [`ErrorKind::Gap`] and [`ErrorKind::Overflow`] it goes
/// on. Any other error is the last item.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    source: Box<dyn Source>,
}

/// What a backend gives for a [`Subscription`].
///
/// # Contract
/// Dropping a source stops its delivery. After `Ready(None)` it is not polled again.
pub trait Source: Send + 'static {
    /// The next item, as [`Stream::poll_next`].
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>>;

    /// Stops taking new messages; [`poll_next`](Self::poll_next) then gives what is still to be handed over, and the end.
    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<()>>;
}

impl Subscription {
    /// A subscription over a backend's source.
    pub fn new(source: impl Source) -> Self {
        Self { source: Box::new(source) }
    }

    /// The next item, or `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Message>> {
        std::future::poll_fn(|cx| self.source.poll_next(cx)).await
    }

    /// Ends the subscription in good order: what had been published when this was called is still handed
    /// over by [`next`](Self::next) (on SQLite all of it, elsewhere what is in the buffer), and then comes the end. To stop at
    /// once, drop it.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the bus was closed before.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        self.source.unsubscribe().await
    }
}

impl Stream for Subscription {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.source.poll_next(cx)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
