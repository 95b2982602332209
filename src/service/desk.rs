//! What a service needs of the backend that it runs on.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::future::BoxFuture;
use crate::handler::HandlerError;
use crate::message::Message;
use crate::reply::Response;
use crate::serve::ServeParts;

/// The backend as its services see it.
pub(crate) trait Desk: Send + Sync + 'static {
    /// In one step: writes down what has finished, and takes up to `most` requests that the service's filter matches. What cannot
    /// be written is to be tried again, all of it.
    fn settle(
        &self,
        service: &Arc<ServeParts>,
        finished: Arc<Vec<Finished>>,
        most: usize,
    ) -> BoxFuture<'_, Result<Settled>>;

    /// Writes a part of a reply down; `LeaseLost` if the ticket has run out.
    fn part(&self, ticket: Ticket, number: u32, part: Response) -> BoxFuture<'_, Result<()>>;

    /// Makes the lease last until then, in awake milliseconds; `LeaseLost` if the ticket has run out.
    fn extend(&self, ticket: Ticket, until: i64) -> BoxFuture<'_, Result<()>>;

    /// The time awake, in milliseconds.
    fn awake_millis(&self) -> i64;

    /// The largest reply, in bytes with its headers.
    fn max_payload(&self) -> usize;
}

/// A hold on a request: its attempt is the fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    pub(crate) sequence: i64,
    pub(crate) attempt: i64,
}

/// A request that was taken.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) ticket: Ticket,
    pub(crate) id: Arc<str>,
    pub(crate) message: Message,
    /// When it was taken, in awake milliseconds.
    pub(crate) taken_at: i64,
    /// How long it is held from then on without being renewed, in milliseconds.
    pub(crate) lease: i64,
    /// What the backend wants to know again when it has finished.
    pub(crate) traits: Traits,
}

/// What a request is, as far as finishing it depends on that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// A request, whose caller waits; else a job.
    pub(crate) is_request: bool,
    /// Who waits, as the backend knows it.
    pub(crate) caller: Option<i64>,
    pub(crate) has_key: bool,
    pub(crate) is_unique: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Answered(Response),
    Failed(HandlerError),
    /// Given back for another server to take; the attempt does not count.
    Released,
}

#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) ticket: Ticket,
    pub(crate) traits: Traits,
    pub(crate) verdict: Verdict,
}

/// What became of a [`Desk::settle`].
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Of those that had finished, the tickets that had run out: they have changed nothing.
    pub(crate) stale: Vec<Ticket>,
    /// Of those that had finished, the tickets that alone could not be written down: they are to be tried again a while later.
    pub(crate) again: Vec<Ticket>,
    pub(crate) claimed: Vec<Claimed>,
    /// There may be more to take.
    pub(crate) more: bool,
}

/// The time that a lease of this length has before it is renewed.
pub(crate) fn renew_after(lease: i64) -> i64 {
    (lease / 3).max(1)
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    crate::retry::millis(duration)
}
