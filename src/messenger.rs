//! The contract that every backend keeps.

use std::fmt::Debug;

use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::future::BoxFuture;
use crate::message::Message;
use crate::publish::{PubAck, Publish};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};

/// A bus: publish and subscribe, on whatever is underneath.
///
/// A program holds an `Arc<dyn Messenger>` and picks the backend at run time; the one-line verbs are in
/// [`MessengerExt`](crate::MessengerExt).
///
/// # Contract
/// Each line is a case of the `conformance` module, named like the line, and every backend passes it.
///
/// - **1** A published event reaches every live subscriber whose filter matches, and no other.
/// - **2** Events of one publisher arrive in the order published; with a [log](Capabilities::total_order) all subscribers see
///   one total order.
/// - **3** Publishing with nobody listening succeeds.
/// - **4** When `subscribe` has returned, an event published after is delivered.
/// - **5** A subscriber that does not read never blocks or slows a publisher or another subscriber. Where the backend is
///   [lossless](Capabilities::lossless) it falls behind and catches up from the log; elsewhere overflow of its bounded
///   buffer is an error item in that stream, never silent.
/// - **6** Unsubscribing, or dropping the subscription, stops delivery; where the backend is lossless, `unsubscribe` first hands
///   over what was already published.
/// - **10** Dropping any future leaves its operation wholly done or wholly not.
/// - **11** Payload bytes and headers arrive as sent, empty and 1 MiB (with headers) included; more is
///   [`PayloadTooLarge`](crate::ErrorKind::PayloadTooLarge) before anything is written.
/// - **12** An invalid subject is [`InvalidSubject`](crate::ErrorKind::InvalidSubject), naming the offending token.
/// - **13** `close` ends every subscription, can be called twice, and returns while callers still hold
///   subscriptions; afterwards every verb is [`Closed`](crate::ErrorKind::Closed).
///
/// (The numbers are those of `DESIGN.md`; 7 to 9 are those of requests, which this version does not have yet.)
pub trait Messenger: Debug + Send + Sync + 'static {
    /// Publishes one message; see [`Publish`] for its options.
    ///
    /// # Errors
    /// Every mistake of [`Publish`], [`PayloadTooLarge`](crate::ErrorKind::PayloadTooLarge),
    /// [`WrongSequence`](crate::ErrorKind::WrongSequence), [`Unsupported`](crate::ErrorKind::Unsupported) for `expect_last` where
    /// the backend does not [check](Capabilities::expect_last) it, and what the backend meets: `Busy`, `DiskFull`, `Indeterminate`, …
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>>;

    /// Publishes all of them, next to each other and in this order, or none.
    ///
    /// # Errors
    /// As [`send`](Self::send), for the first that fails; [`Unsupported`](crate::ErrorKind::Unsupported) where the backend
    /// has no [atomic batches](Capabilities::atomic_batches).
    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>>;

    /// Makes a subscription; see [`Subscribe`] for its options.
    ///
    /// # Errors
    /// A mistake of [`Subscribe`]; [`CursorAhead`](crate::ErrorKind::CursorAhead); [`Unsupported`](crate::ErrorKind::Unsupported)
    /// for a start in the past where the backend has no [replay](Capabilities::replay).
    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>>;

    /// The newest event of a subject, if the log holds one.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the backend has no [replay](Capabilities::replay).
    fn last(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Message>>>;

    /// Ends every subscription and waits until what was being written is written. Every handle of this bus is
    /// closed with it. Calling it again is no error.
    ///
    /// # Errors
    /// What the backend meets while it finishes.
    fn close(&self) -> BoxFuture<'_, Result<()>>;

    /// What this backend has beyond the contract.
    fn capabilities(&self) -> Capabilities;
}
