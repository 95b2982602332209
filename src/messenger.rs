//! The contract that every backend keeps.

use std::fmt::Debug;
use std::sync::Arc;

use crate::capabilities::Capabilities;
use crate::durable::Durable;
use crate::error::Result;
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::message::Message;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};

/// A bus: publish and subscribe, request and serve, on whatever is underneath.
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
/// - **4** When `subscribe` has returned, an event published after is delivered; the same for servers and requests.
/// - **5** A subscriber that does not read never blocks or slows a publisher or another subscriber. Where the backend is
///   [lossless](Capabilities::lossless) it falls behind and catches up from the log; elsewhere overflow of its bounded
///   buffer is an error item in that stream, never silent.
/// - **6** Unsubscribing, or dropping the subscription, stops delivery; where the backend is lossless, `unsubscribe` first hands
///   over what was already published.
/// - **7** A request is answered by exactly one server: parts in order, then one final reply. Servers of a subject share its
///   load.
/// - **8** A handler's error is [`Handler`](crate::ErrorKind::Handler) with its message, distinct from every transport error; a
///   handler's panic is the same, and its service goes on.
/// - **9** No answer in time is [`RequestTimeout`](crate::ErrorKind::RequestTimeout). With no server a request waits until its deadline, so
///   that a server that starts late still answers, unless it was to fail at once ([`Request::if_served`]): then, and
///   where the backend cannot [wait for servers](Capabilities::waits_for_servers), it is [`NoResponders`](crate::ErrorKind::NoResponders).
/// - **10** Dropping the future of a request cancels it: an unclaimed one is withdrawn, a claimed one's handler sees
///   [`cancelled`](crate::Call::cancelled), a late reply is discarded. Dropping any future leaves its operation wholly done or
///   wholly not.
/// - **11** Payload bytes and headers arrive as sent, empty and 1 MiB (with headers) included; more is
///   [`PayloadTooLarge`](crate::ErrorKind::PayloadTooLarge) before anything is written.
/// - **12** An invalid subject is [`InvalidSubject`](crate::ErrorKind::InvalidSubject), naming the offending token.
/// - **13** `close` ends every subscription and service, waits for running handlers up to a grace period, can be called
///   twice, and returns while callers still hold subscriptions; afterwards every verb is [`Closed`](crate::ErrorKind::Closed).
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

    /// Makes a request, and waits for the final reply; see [`Request`] for its options.
    ///
    /// # Errors
    /// Every mistake of [`Request`], `PayloadTooLarge`; [`Handler`](crate::ErrorKind::Handler), [`RequestTimeout`](crate::ErrorKind::RequestTimeout),
    /// [`NoResponders`](crate::ErrorKind::NoResponders), [`ServerLost`](crate::ErrorKind::ServerLost); and what the backend meets.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply>>;

    /// Makes a request, and gives its parts as the server sends them, and then the final reply. The timeout is that of the
    /// final reply.
    ///
    /// # Errors
    /// As [`call`](Self::call), here or as the last item.
    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>>;

    /// Serves requests and jobs; see [`Serve`] for its options. The handlers run as tasks of the caller's tokio runtime.
    ///
    /// # Errors
    /// A mistake of [`Serve`]; what the backend meets.
    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>>;

    /// The same bus as one that keeps jobs.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where it keeps none.
    fn as_durable(&self) -> Result<Arc<dyn Durable>>;

    /// Ends every subscription and service, and waits until handlers have finished, up to the grace period of their services,
    /// and what was being written is written. Every handle of this bus is
    /// closed with it. Calling it again is no error.
    ///
    /// # Errors
    /// What the backend meets while it finishes.
    fn close(&self) -> BoxFuture<'_, Result<()>>;

    /// What this backend has beyond the contract.
    fn capabilities(&self) -> Capabilities;
}
