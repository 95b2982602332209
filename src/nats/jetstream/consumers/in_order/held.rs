//! What a member may say of a delivery of a cumulative consumer.

use std::sync::Arc;
use std::time::Duration;

use super::seat::Seat;
use crate::delivery::{DeliveryControl, Settlement};
use crate::error::Result;
use crate::future::BoxFuture;
use crate::message::Message;
use crate::nats::jetstream::failure;

/// A delivery, as long as its member has the place in which it was handed over.
pub(super) struct Held {
    seat: Arc<Seat>,
    place: u64,
}

impl Held {
    pub(super) fn new(seat: &Arc<Seat>, place: u64) -> Self {
        Self { seat: Arc::clone(seat), place }
    }
}

impl DeliveryControl for Held {
    /// A task says it: if this future is dropped, it is said none the less.
    fn settle<'a>(
        &'a self,
        message: &'a Message,
        attempt: u32,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let pass = self.seat.streams.enter().await?;
            let (seat, place, message) = (Arc::clone(&self.seat), self.place, message.clone());
            let said = tokio::spawn(async move {
                let _pass = pass;
                seat.settle(&message, place, attempt, &settlement).await
            });
            said.await
                .unwrap_or_else(|error| Err(failure::unsure("it has heard how a delivery ended", error)))
        })
    }

    fn extend(&self, sequence: u64, attempt: u32, _by: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let _pass = self.seat.streams.enter().await?;
            self.seat.check(self.place, sequence, attempt).await
        })
    }
}
