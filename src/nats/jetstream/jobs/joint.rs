//! A service that takes requests and jobs: they share its places.

use std::sync::Arc;

use super::desk::JobDesk;
use crate::error::{Error, Result};
use crate::future::{BoxFuture, join_all};
use crate::reply::Response;
use crate::serve::ServeParts;
use crate::service::{Desk, Finished, Settled, Ticket};

pub(in crate::nats) struct JointDesk {
    requests: Arc<dyn Desk>,
    jobs: Arc<JobDesk>,
}

impl JointDesk {
    pub(in crate::nats) fn new(requests: Arc<dyn Desk>, jobs: Arc<JobDesk>) -> Self {
        Self { requests, jobs }
    }
}

impl Desk for JointDesk {
    fn settle(
        &self,
        service: &Arc<ServeParts>,
        finished: Arc<Vec<Finished>>,
        most: usize,
    ) -> BoxFuture<'_, Result<Settled>> {
        let service = Arc::clone(service);
        Box::pin(async move {
            let jobs = finished.iter().filter(|one| is_job(one.ticket));
            let jobs = jobs.map(async |one| (one.ticket, self.jobs.finish(one).await));
            let requests = Arc::new(finished.iter().filter(|one| !is_job(one.ticket)).cloned().collect());
            // Requests do not wait for the streams of jobs.
            let (settled, ended) =
                tokio::join!(self.requests.settle(&service, requests, most), join_all(jobs));
            let mut settled = settled?;
            for (ticket, ended) in ended {
                match ended {
                    Ok(true) => {}
                    Ok(false) => settled.stale.push(ticket),
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => {
                        tracing::warn!(%error, filter = %service.filter, "a job's end could not be written; it is tried again");
                        settled.again.push(ticket);
                    }
                }
            }
            let left = most.saturating_sub(settled.claimed.len());
            settled.claimed.extend(self.jobs.claim(left));
            settled.more |= self.jobs.waits();
            let (freed, taken) = (finished.len() - settled.again.len(), settled.claimed.len());
            // What it has left is told only when it looks.
            self.jobs.has_places(|free| if most > 0 { most - taken.min(most) } else { free + freed });
            Ok(settled)
        })
    }

    fn part(&self, ticket: Ticket, number: u32, part: Response) -> BoxFuture<'_, Result<()>> {
        if !is_job(ticket) {
            return self.requests.part(ticket, number, part);
        }
        Box::pin(async move {
            let job = self.jobs.held(ticket).ok_or_else(Error::lease_lost)?;
            self.jobs.part(&job, &part).await
        })
    }

    fn extend(&self, ticket: Ticket, until: i64) -> BoxFuture<'_, Result<()>> {
        if !is_job(ticket) {
            return self.requests.extend(ticket, until);
        }
        Box::pin(async move {
            let job = self.jobs.held(ticket).ok_or_else(Error::lease_lost)?;
            // The two clocks began at different times.
            let left = until.saturating_sub(self.requests.awake_millis());
            self.jobs.extend(&job, self.jobs.awake_millis().saturating_add(left));
            Ok(())
        })
    }

    fn awake_millis(&self) -> i64 {
        self.requests.awake_millis()
    }

    fn max_payload(&self) -> usize {
        self.requests.max_payload()
    }
}

/// Tickets of jobs are negative.
fn is_job(ticket: Ticket) -> bool {
    ticket.sequence < 0
}
