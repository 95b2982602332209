//! Exactly once: a handler's writes and the acknowledgement are one transaction.

mod batch;
mod driver;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::consumer::Consumer;
use crate::delivery::Delivery;
use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::handler::HandlerError;
use crate::serve::{Service, ServiceControl};
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::member::Member;
use crate::sqlite::{SqliteBus, Transaction};
use driver::Driver;

/// A host's handler, as it is kept.
type Handle = dyn Fn(&mut Transaction<'_, '_>, &Delivery) -> Result<(), HandlerError> + Send + Sync;

impl SqliteBus {
    /// Handles the events of a consumer in transactions: what the handler writes to the file through `tx`, publishes and
    /// enqueues, and the acknowledgement, are there together or not at all. So an event's effect in this file happens exactly
    /// once, however often the process is killed.
    ///
    /// The handler runs on a thread of the bus and blocks all writes of the file meanwhile; it has the durability of the bus. Several
    /// events may share a transaction: each has a savepoint of its own, so that one that fails undoes its own writes alone. It
    /// comes again by the consumer's policy, as the [`HandlerError`] says; a cumulative consumer stops in front of it, or
    /// goes on, as it was told. A panic is a failure like any other. (One that kills the process with it is not counted: nothing
    /// of it was written.)
    ///
    /// It runs until the service is stopped or dropped, the bus is closed, or the consumer stops or is deleted, which
    /// [`Service::ended`] tells. Events that may have been removed before they were handled are logged as a warning.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// use rowbus::{Consumer, MessengerExt, SqliteBus};
    ///
    /// let bus = SqliteBus::open(&path).await?;
    /// bus.transaction(|tx| Ok(tx.execute_batch("CREATE TABLE total (cents INTEGER); INSERT INTO total VALUES (0)")?)).await?;
    /// let total = bus.handle_in(Consumer::durable("total").filter("orders.paid"), |tx, order| {
    ///     let cents: i64 = order.text().unwrap_or_default().parse()?;
    ///     tx.execute("UPDATE total SET cents = cents + ?1", [cents])?;
    ///     Ok(())
    /// }).await?;
    /// for cents in ["250", "1200"] {
    ///     bus.publish("orders.paid", cents).await?;
    /// }
    /// # use rowbus::Durable;
    /// # while bus.consumer_info("total").await?.ack_floor < 2 { tokio::task::yield_now().await; }
    /// total.stop().await?;
    /// let sum: i64 = bus.transaction(|tx| Ok(tx.query_row("SELECT cents FROM total", [], |row| row.get(0))?)).await?;
    /// assert_eq!(sum, 1450);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Durable::consumer`](crate::Durable::consumer).
    pub async fn handle_in<F>(&self, consumer: Consumer, handle: F) -> Result<Service>
    where
        F: Fn(&mut Transaction<'_, '_>, &Delivery) -> Result<(), HandlerError> + Send + Sync + 'static,
    {
        self.core().check_process()?;
        self.core().consumers().handle_in(consumer, Arc::new(handle)).await
    }
}

impl Consumers {
    async fn handle_in(&self, consumer: Consumer, handle: Arc<Handle>) -> Result<Service> {
        let (seat, consumer) = self.sit_down(consumer.into_parts()?).await?;
        let ending = Arc::new(Ending::default());
        let handling = Handling { ending: Arc::clone(&ending), member: Arc::clone(&seat.member) };
        tokio::spawn(Driver::new(seat, consumer, handle, ending).run());
        Ok(Service::new(handling))
    }
}

/// How what handles events comes to its end.
#[derive(Default)]
struct Ending {
    state: Mutex<EndingState>,
    over: Notify,
}

#[derive(Default)]
struct EndingState {
    /// It is to end.
    stop: bool,
    /// It has ended, with this.
    ended: Option<Option<Error>>,
}

impl Ending {
    fn is_to_stop(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
    }

    /// The first word counts.
    fn end(&self, error: Option<Error>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended.get_or_insert(error);
        self.over.notify_waiters();
    }

    async fn ended(&self) -> Result<()> {
        loop {
            let over = self.over.notified();
            let mut over = std::pin::pin!(over);
            over.as_mut().enable();
            if let Some(ended) = &self.state.lock().unwrap_or_else(PoisonError::into_inner).ended {
                return ended.clone().map_or(Ok(()), Err);
            }
            over.await;
        }
    }
}

/// What the program holds of it.
struct Handling {
    ending: Arc<Ending>,
    member: Arc<Member>,
}

impl Handling {
    fn stop_soon(&self) {
        self.ending.stop();
        self.member.look();
    }
}

impl ServiceControl for Handling {
    fn stop(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.stop_soon();
            self.ending.ended().await
        })
    }

    fn ended(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ending.ended())
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.stop_soon();
    }
}
