//! One service: its subscription in the group of servers, the requests that wait for a place, and those that it holds.

mod answer;
mod listener;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use async_nats::Subscriber;
use async_nats::message::OutboundMessage;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::answer::{Caller, answered, failed, given_back, message, unsendable};
pub(super) use self::listener::AT_ONCE;
use self::state::{State, ticket};
use crate::error::{Error, Result};
use crate::future::{BoxFuture, yield_to_all};
use crate::nats::connection::Connection;
use crate::nats::failure;
use crate::nats::headers;
use crate::nats::prefix::begins_with_wildcard;
use crate::reply::Response;
use crate::serve::ServeParts;
use crate::service::{Desk, Finished, Pump, Settled, Ticket, Verdict, millis};

/// The group that servers of a subject are in, so that each request reaches one: that of NATS' own services, with which ours
/// share the load.
const GROUP: &str = "q";

pub(super) struct ServiceDesk {
    connection: Arc<Connection>,
    wildcard: bool,
    pump: OnceLock<Weak<Pump>>,
    state: Mutex<State>,
    began: Instant,
    max_run: i64,
    /// Something is due earlier, or it takes no more.
    changed: Notify,
    /// Nothing comes any more.
    over: Notify,
}

impl ServiceDesk {
    /// Subscribes; the requests wait until there is a [pump](Self::attach).
    pub(super) async fn open(
        connection: Arc<Connection>,
        serve: &ServeParts,
    ) -> Result<(Arc<Self>, Subscriber)> {
        let filter = connection.wire(serve.filter.as_str());
        let subscriber = connection.client().queue_subscribe(filter, GROUP.to_owned()).await;
        let subscriber = subscriber.map_err(|_| failure::gone())?;
        let desk = Self {
            connection,
            wildcard: begins_with_wildcard(serve.filter.as_str()),
            pump: OnceLock::new(),
            state: Mutex::default(),
            began: Instant::now(),
            max_run: millis(serve.max_run),
            changed: Notify::new(),
            over: Notify::new(),
        };
        Ok((Arc::new(desk), subscriber))
    }

    pub(super) fn attach(&self, pump: &Arc<Pump>) {
        let _ = self.pump.set(Arc::downgrade(pump));
    }

    pub(super) fn pump(&self) -> Option<Arc<Pump>> {
        self.pump.get()?.upgrade()
    }

    /// Takes nothing new, and gives back what has not begun.
    pub(super) fn leave(&self) {
        let waiting = self.state().leave();
        for asked in waiting {
            self.connection.inbox.forget_call(asked.number);
            self.give_back(&asked.caller);
        }
        self.changed.notify_one();
    }

    /// Returns when the server sends nothing any more.
    pub(super) async fn left(&self) {
        loop {
            let over = self.over.notified();
            let mut over = std::pin::pin!(over);
            over.as_mut().enable();
            if self.state().over {
                return;
            }
            over.await;
        }
    }

    /// What its caller says, or the time: the answer is wanted no more.
    pub(super) fn cancel(&self, number: u64) {
        let attempt = self.state().remove(number);
        self.connection.inbox.forget_call(number);
        if let (Some(attempt), Some(pump)) = (attempt, self.pump()) {
            pump.cancel(ticket(number, attempt));
        }
    }

    /// Has the caller send the request again, to another server.
    fn give_back(&self, caller: &Caller) {
        self.connection.post(given_back(caller));
    }

    /// Sends the answer, if it still counts.
    async fn finish(&self, finished: &Finished) -> Result<bool> {
        let number = finished.ticket.sequence.unsigned_abs();
        let Some(held) = self.state().held.remove(&number) else { return Ok(false) };
        self.connection.inbox.forget_call(number);
        let caller = &held.caller;
        let answer = match &finished.verdict {
            Verdict::Answered(response) => answered(caller, response).await,
            Verdict::Failed(error) => Ok(failed(caller, error)),
            Verdict::Released => Ok(given_back(caller)),
        };
        // What cannot be sent is told in place of it.
        let fits = |message: OutboundMessage| {
            self.connection.check_wire_size(&message.payload, message.headers.as_ref()).map(|()| message)
        };
        let answer = answer.and_then(fits).unwrap_or_else(|error| failed(caller, &unsendable(error)));
        self.connection.publish(answer).await.map_err(|_| Error::closed())?;
        Ok(true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk for ServiceDesk {
    fn settle(
        &self,
        _service: &Arc<ServeParts>,
        finished: Arc<Vec<Finished>>,
        most: usize,
    ) -> BoxFuture<'_, Result<Settled>> {
        Box::pin(async move {
            self.connection.check_not_closed()?;
            let mut settled = Settled::default();
            for finished in finished.iter() {
                if !self.finish(finished).await? {
                    settled.stale.push(finished.ticket);
                }
            }
            let now = self.awake_millis();
            let (claimed, earlier) = self.state().claim(now, self.max_run, most);
            settled.claimed = claimed;
            if earlier {
                self.changed.notify_one();
                // Whoever was woken waits for this thread, which the handler may block.
                yield_to_all().await;
            }
            settled.more = self.state().has_waiting();
            Ok(settled)
        })
    }

    fn part(&self, ticket: Ticket, _number: u32, part: Response) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.connection.check_not_closed()?;
            let held = self.state().held.get(&ticket.sequence.unsigned_abs()).map(|held| held.caller.clone());
            let caller = held.ok_or_else(Error::lease_lost)?;
            if !caller.wants_parts {
                return Ok(());
            }
            let mut parts = caller.parts.lock().await;
            let mut map = headers::to_wire(part.headers())?;
            headers::append(&mut map, headers::PART, &(*parts + 1).to_string())?;
            self.connection.check_wire_size(part.payload(), Some(&map))?;
            self.connection.publish(message(&caller, part.payload().clone(), map)).await?;
            *parts += 1;
            Ok(())
        })
    }

    fn extend(&self, ticket: Ticket, until: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut state = self.state();
            let held = state.held.get_mut(&ticket.sequence.unsigned_abs()).ok_or_else(Error::lease_lost)?;
            held.run_until = held.run_until.max(until);
            Ok(())
        })
    }

    fn awake_millis(&self) -> i64 {
        millis(self.began.elapsed())
    }

    fn max_payload(&self) -> usize {
        self.connection.max_payload()
    }
}
