//! The step of a service: what has finished is written down, and what is next is taken, in one transaction.

use std::sync::Arc;

use crate::error::Error;
use crate::publish::Durability;
use crate::reply::{Reply, Response};
use crate::serve::ServeParts;
use crate::service::{Finished, Settled, Ticket, Verdict};
use crate::sqlite::tables::replies;
use crate::sqlite::tables::requests::{claim, finish, keep};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::work::callers::attempt;
use crate::sqlite::work::claim::Claim;
use crate::sqlite::work::{Work, fate};
use crate::sqlite::writer::{Failure, Operation, Tx};

/// Finished attempts above which a step is no matter for a runtime's thread.
const LONG: usize = 64;

/// Rows that are removed for each job that is done; above 1, so that the table shrinks.
const REMOVE_PER_JOB: usize = 2;

pub(crate) struct Settle {
    pub(crate) work: Arc<Work>,
    pub(crate) serve: Arc<ServeParts>,
    pub(crate) finished: Arc<Vec<Finished>>,
    pub(crate) most: usize,
    pub(crate) durability: Durability,
}

impl Settle {
    pub(crate) fn new(
        work: Arc<Work>,
        serve: Arc<ServeParts>,
        finished: Arc<Vec<Finished>>,
        most: usize,
    ) -> Self {
        // A job that is done is acknowledged to nobody, but is not to be done again either. What a waiting request, a claim
        // and a release lose with the power is lost with the processes that they are for.
        let flush = finished.iter().any(|f| !f.traits.is_request && !matches!(f.verdict, Verdict::Released));
        let durability = if flush { work.options().durability } else { Durability::Relaxed };
        Self { work, serve, finished, most, durability }
    }

    fn settle(&self, tx: &mut Tx<'_>, finished: &Finished) -> rusqlite::Result<bool> {
        let Finished { ticket, traits, verdict } = finished;
        let held_by = (ticket.sequence, ticket.attempt);
        match verdict {
            Verdict::Answered(response) if traits.is_request => {
                if finish::answer_request(tx.conn, held_by, response, tx.now)? == 0 {
                    fate::drop_cancelled(tx, *ticket)?;
                    return Ok(false);
                }
                tx.wrote(response.payload().len() + response.headers().encoded_len());
                tx.changed_requests(traits.caller.map_or(WakeBits::NOTHING, WakeBits::peer));
            }
            Verdict::Answered(response) => {
                if finish::answer_job(tx.conn, held_by, response, tx.now)? == 0 {
                    return Ok(false);
                }
                tx.wrote(response.payload().len() + response.headers().encoded_len());
                fate::make_way(tx, ticket.sequence, traits.has_key, traits.is_unique)?;
                tx.changed_requests(WakeBits::job(ticket.sequence));
            }
            Verdict::Failed(error) => return fate::failed(tx, *ticket, *traits, error),
            Verdict::Released => {
                if finish::release(tx.conn, held_by)? == 0 {
                    // Cancelled meanwhile, to be given to no other, or not held any more.
                    return fate::lost(tx, *ticket, fate::Lost::Died);
                }
                tx.changed_requests(WakeBits::served(&self.serve.filter));
            }
        }
        Ok(true)
    }
}

impl Operation for Settle {
    type Output = Settled;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn is_long(&self) -> bool {
        self.finished.len() > LONG
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Settled, Failure> {
        let mut stale = Vec::new();
        let mut jobs = 0;
        for finished in self.finished.iter() {
            if !self.settle(tx, finished)? {
                stale.push(finished.ticket);
            }
            jobs += usize::from(!finished.traits.is_request);
        }
        if jobs > 0 {
            for past in keep::remove_past(tx.conn, tx.now, REMOVE_PER_JOB * jobs)? {
                replies::remove(tx.conn, past)?;
            }
        }
        let (serve, peer, most) = (&*self.serve, self.work.slot(), self.most);
        let mut claim = Claim { serve, peer, most, taken: Vec::new(), in_vain: 0 };
        let more = self.work.in_round(&serve.filter, |round, wakes| claim.run(tx, round, wakes))?;
        tx.changed_requests(WakeBits::NOTHING);
        Ok(Settled { stale, again: Vec::new(), claimed: claim.taken, more })
    }

    /// Who waits in this process need not wait for the file to be read.
    fn committed(&self, settled: &Settled) {
        if self.work.callers.is_empty() {
            return;
        }
        let mut complete = true;
        for Finished { ticket, traits, verdict } in
            self.finished.iter().filter(|f| !settled.stale.contains(&f.ticket))
        {
            let sequence = ticket.sequence;
            complete &= match verdict {
                Verdict::Answered(response) => self
                    .work
                    .callers
                    .deliver(sequence, || Ok(Reply::last(response.clone(), attempt(ticket.attempt)))),
                Verdict::Failed(error) if traits.is_request => self.work.callers.deliver(sequence, || {
                    Err(Error::handler(error.message(), error.code().map(Into::into), error.body().clone()))
                }),
                Verdict::Failed(_) => false,
                Verdict::Released => true,
            };
        }
        if !complete {
            self.work.look_for_replies();
        }
    }
}

/// Writes a part of a reply.
pub(crate) struct SendPart {
    pub(crate) work: Arc<Work>,
    pub(crate) ticket: Ticket,
    pub(crate) number: u32,
    pub(crate) part: Response,
}

impl Operation for SendPart {
    type Output = ();

    // It is worth no more than the reply that it belongs to.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let Ticket { sequence, attempt } = self.ticket;
        if !claim::is_held(tx.conn, sequence, attempt)? {
            return Err(Failure::Refused(Error::lease_lost()));
        }
        replies::add(tx.conn, sequence, attempt, self.number, &self.part, tx.now)?;
        tx.wrote(self.part.payload().len() + self.part.headers().encoded_len());
        tx.changed_requests(WakeBits::job(sequence));
        if let Some(caller) = claim::caller(tx.conn, sequence)? {
            tx.changed_requests(WakeBits::peer(caller));
        }
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        self.work.look_for_replies();
    }
}

/// Makes a lease last longer.
pub(crate) struct Extend {
    pub(crate) ticket: Ticket,
    pub(crate) until: i64,
}

impl Operation for Extend {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let Ticket { sequence, attempt } = self.ticket;
        if claim::renew(tx.conn, sequence, attempt, self.until)? == 0 {
            return Err(Failure::Refused(Error::lease_lost()));
        }
        tx.changed_requests(WakeBits::NOTHING);
        Ok(())
    }
}
