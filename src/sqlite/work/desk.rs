//! The bus as its services see it, and what is read of a job that somebody asks for.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::future::BoxFuture;
use crate::reply::{Reply, ReplySource, Response};
use crate::serve::ServeParts;
use crate::service::{Desk, Finished, Settled, Ticket};
use crate::sqlite::work::Work;
use crate::sqlite::work::callers::Waiter;
use crate::sqlite::work::settle::{Extend, SendPart, Settle};

impl Desk for Work {
    fn settle(
        &self,
        service: &Arc<ServeParts>,
        finished: Arc<Vec<Finished>>,
        most: usize,
    ) -> BoxFuture<'_, Result<Settled>> {
        let serve = Arc::clone(service);
        Box::pin(async move {
            let writer = self.last_writer()?;
            writer.run(Settle::new(self.me()?, serve, finished, most)).await
        })
    }

    fn part(&self, ticket: Ticket, number: u32, part: Response) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let writer = self.last_writer()?;
            writer.run(SendPart { work: self.me()?, ticket, number, part }).await
        })
    }

    fn extend(&self, ticket: Ticket, until: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let writer = self.last_writer()?;
            writer.run(Extend { ticket, until }).await
        })
    }

    fn awake_millis(&self) -> i64 {
        self.options.clock.awake_millis()
    }

    fn max_payload(&self) -> usize {
        self.options.max_payload
    }
}

/// A job that somebody asks for; it goes on without.
pub(crate) struct Following {
    work: Arc<Work>,
    waiter: Arc<Waiter>,
}

impl Following {
    pub(crate) fn new(work: Arc<Work>, waiter: Arc<Waiter>) -> Self {
        Self { work, waiter }
    }
}

impl ReplySource for Following {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        let (polled, more) = self.waiter.poll(cx);
        if more {
            self.work.look_for_replies();
        }
        polled.map(Some)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.work.callers.abandon(&self.waiter);
    }
}
