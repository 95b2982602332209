//! The backend in memory: one process, no disk, the same contract.

mod builder;
mod dedup;
mod log;
mod reader;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use self::builder::InMemBuilder;
use self::shared::Shared;
use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::future::BoxFuture;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};

/// A bus in memory: what the unit tests of an app use in place of a file.
///
/// A clone is another handle of the same bus; the last one that is dropped closes it. All subscribers see one
/// total order, sequences begin at 1, and the newest events are kept for replay: 65,536 of them or 64 MiB,
/// unless [configured](InMemBuilder).
///
/// It keeps the whole contract of [`Messenger`], and differs from SQLite in what its [`Capabilities`] say:
/// nothing outlives the process, and a stream whose reader is too slow for its buffer gets an
/// [`Overflow`](crate::ErrorKind::Overflow) item, where SQLite lets it catch up.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// use rowbus::{InMemBus, Messenger, MessengerExt, StartAt, Subscribe};
///
/// let bus = InMemBus::new();
/// bus.publish("orders.created", "one pizza").await?;
///
/// let mut orders = bus.clone().subscribe(Subscribe::to("orders.>").from(StartAt::Oldest)).await?;
/// bus.publish("orders.paid", "cash").await?;
/// assert_eq!(orders.next().await.unwrap()?.text(), Some("one pizza"));
/// assert_eq!(orders.next().await.unwrap()?.text(), Some("cash"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct InMemBus {
    handles: Arc<Handles>,
}

/// Streams hold what is inside, handles hold this: without a handle nobody can publish any more.
struct Handles {
    shared: Arc<Shared>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl InMemBus {
    /// A new, empty bus with the default options.
    pub fn new() -> Self {
        Self::builder().build_unchecked()
    }

    /// Options for a new bus.
    pub fn builder() -> InMemBuilder {
        InMemBuilder::default()
    }

    /// Takes every event up to this sequence out of the log, as retention does on other backends: to test
    /// what a program does with a [`Gap`](crate::ErrorKind::Gap). Streams that have begun are not concerned.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// use rowbus::{ErrorKind, InMemBus, Messenger, MessengerExt, StartAt, Subscribe};
    ///
    /// let bus = InMemBus::new();
    /// let gone = bus.publish("orders.created", "one pizza").await?;
    /// bus.forget_through(gone.sequence);
    ///
    /// let mut orders = bus.subscribe(Subscribe::to("orders.>").from(StartAt::Sequence(1))).await?;
    /// let gap = orders.next().await.unwrap().unwrap_err();
    /// assert!(matches!(gap.kind(), ErrorKind::Gap { first: 1, last: 1, .. }));
    /// # Ok(()) }
    /// ```
    pub fn forget_through(&self, sequence: u64) {
        self.handles.shared.forget_through(sequence);
    }

    fn over(shared: Shared) -> Self {
        Self { handles: Arc::new(Handles { shared: Arc::new(shared) }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handles.shared
    }
}

impl Default for InMemBus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemBus").finish_non_exhaustive()
    }
}

/// Each future is done at its first poll; dropped before, it has done nothing.
impl Messenger for InMemBus {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        Box::pin(async { self.shared().send(publish.into_parts()?) })
    }

    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        Box::pin(async {
            let batch = batch.into_iter().map(Publish::into_parts).collect::<Result<_>>()?;
            self.shared().send_all(batch)
        })
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async { Ok(Subscription::new(self.shared().subscribe(subscribe.into_parts()?)?)) })
    }

    fn last(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Message>>> {
        Box::pin(async move { self.shared().last(&subject) })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.shared().close();
            Ok(())
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            replay: true,
            total_order: true,
            lossless: false,
            atomic_batches: true,
            deduplication: true,
            expect_last: true,
        }
    }
}
