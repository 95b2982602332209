//! A member as its inbox and its deliveries know it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Handed, Seat};
use crate::delivery::{Delivery, DeliveryControl, Settlement};
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::inbox::InboxSource;
use crate::inmem::broker::Broker;
use crate::inmem::shared::Shared;
use crate::message::Message;

/// Dropped, it leaves its consumer.
pub(in crate::inmem) struct Member {
    bus: Arc<Ends>,
    seat: Seat,
    name: Arc<str>,
    /// Its last item was given.
    ended: bool,
}

/// Where consumers are, and the log. The lock of the first is taken before that of the second, and never the other way.
struct Ends {
    broker: Arc<Broker>,
    shared: Arc<Shared>,
}

/// What a member may say of one delivery.
struct Held {
    bus: Arc<Ends>,
    seat: Seat,
    handed: Handed,
}

impl Member {
    pub(in crate::inmem) fn new(broker: Arc<Broker>, shared: Arc<Shared>, seat: Seat, name: &str) -> Self {
        Self { bus: Arc::new(Ends { broker, shared }), seat, name: name.into(), ended: false }
    }

    /// Gives its seat back.
    fn vacate(&self) {
        self.bus.broker.step(|state, now| state.consumers.leave(self.seat, now));
    }
}

impl InboxSource for Member {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Self { bus, seat, name, .. } = self;
        let polled = bus.broker.step(|state, now| {
            state.open()?;
            let polled = bus.shared.read(|log| state.consumers.poll(*seat, cx.waker(), log, now));
            Ok::<_, Error>(polled.unwrap_or_else(|| Poll::Ready(Err(Error::no_such_consumer(name)))))
        });
        let item = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(item)) => Some(item),
            // The bus ends.
            Err(_) => None,
        };
        let goes_on = match &item {
            Some(Ok(_)) => true,
            Some(Err(error)) => matches!(error.kind(), ErrorKind::Gap { .. }),
            None => false,
        };
        self.ended = !goes_on;
        Poll::Ready(item.map(|item| {
            let handed = item?;
            let (message, attempt) = (handed.message.clone(), handed.attempt);
            let held = Held { bus: Arc::clone(&self.bus), seat: self.seat, handed };
            Ok(Delivery::new(message, attempt, Arc::new(held)))
        }))
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.ended = true;
            self.vacate();
            Ok(())
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.vacate();
    }
}

/// Each of these is fenced by its own token, so the sequence and the attempt that are told say nothing new.
impl DeliveryControl for Held {
    fn settle<'a>(&'a self, _: &'a Message, _: u32, settlement: Settlement) -> BoxFuture<'a, Result<()>> {
        let Self { bus, seat, handed } = self;
        Box::pin(async move {
            bus.broker.step(|state, now| {
                state.not_closed()?;
                bus.shared.read(|log| state.consumers.settle(*seat, handed, &settlement, log, now))
            })
        })
    }

    fn extend(&self, _: u64, _: u32, by: Duration) -> BoxFuture<'_, Result<()>> {
        let Self { bus, seat, handed } = self;
        Box::pin(async move {
            bus.broker.step(|state, now| {
                state.not_closed()?;
                state.consumers.extend(*seat, handed, by, now)
            })
        })
    }
}
