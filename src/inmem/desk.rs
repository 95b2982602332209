//! The broker as one service sees it.

use std::sync::Arc;

use crate::error::Result;
use crate::future::BoxFuture;
use crate::inmem::broker::Broker;
use crate::inmem::requests::Taker;
use crate::reply::Response;
use crate::serve::ServeParts;
use crate::service::{Desk, Finished, Settled, Ticket, millis};

/// A lease is held as long as its handler runs, up to `max_run`: who could fail to renew it has died with the bus.
pub(super) struct ServiceDesk {
    broker: Arc<Broker>,
    service: u64,
}

impl ServiceDesk {
    pub(super) fn new(broker: Arc<Broker>, service: u64) -> Self {
        Self { broker, service }
    }

    fn settle_now(&self, serve: &ServeParts, finished: &[Finished], most: usize) -> Result<Settled> {
        self.broker.step(|state, now| {
            state.not_closed()?;
            let mut settled = Settled::default();
            for finished in finished {
                if !state.requests.finish(finished, now) {
                    settled.stale.push(finished.ticket);
                }
            }
            if most > 0
                && let Some((requests, seat)) = state.taking(self.service)
            {
                let taker = Taker {
                    service: self.service,
                    filter: &serve.filter,
                    last: &mut seat.last,
                    lease: millis(serve.lease),
                    run_until: now.awake.saturating_add(millis(serve.max_run)),
                };
                (settled.claimed, settled.more) = requests.claim(taker, most);
            }
            Ok(settled)
        })
    }
}

impl Desk for ServiceDesk {
    fn settle(
        &self,
        service: &Arc<ServeParts>,
        finished: Arc<Vec<Finished>>,
        most: usize,
    ) -> BoxFuture<'_, Result<Settled>> {
        let serve = Arc::clone(service);
        Box::pin(async move { self.settle_now(&serve, &finished, most) })
    }

    fn part(&self, ticket: Ticket, _number: u32, part: Response) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.broker.step(|state, _| {
                state.not_closed()?;
                state.requests.part(ticket, part)
            })
        })
    }

    fn extend(&self, ticket: Ticket, until: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.broker.step(|state, _| {
                state.not_closed()?;
                state.requests.extend(ticket, until)
            })
        })
    }

    fn awake_millis(&self) -> i64 {
        self.broker.now().awake
    }

    fn max_payload(&self) -> usize {
        self.broker.max_payload
    }
}
