//! The steps of a service, and the tasks that take them: what has finished is written down and what is next is taken in one
//! step, and each request that was taken has a task.
//!
//! Who finishes, settles: the task of a handler that has returned takes the step itself, unless another is at it, and
//! goes on with what it has taken. So a service that is asked one thing after the other wakes nobody in between. While a
//! step is being written, more handlers finish, and go with the next: company makes batches by itself.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::call::Call;
use crate::error::ErrorKind;
use crate::future::{BoxFuture, yield_to_all};
use crate::handler::HandlerError;
use crate::service::call_state::CallState;
use crate::service::catch::catch_unwind;
use crate::service::desk::{Claimed, Finished, Settled, Verdict, millis, renew_after};
use crate::service::pump::{Phase, Pump, Running, State};

struct Step {
    finished: Vec<Finished>,
    most: usize,
}

/// The right to take the next step: one task has it.
struct Turn(Option<Arc<Pump>>);

impl Turn {
    /// The step is done.
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Turn {
    /// Its task was dropped, and the runtime with it.
    fn drop(&mut self) {
        if let Some(pump) = self.0.take() {
            pump.end(None);
        }
    }
}

/// A request whose handler is to be called.
struct Begun {
    call: Arc<CallState>,
    given: Call,
}

/// Requests that are taken in one step, at most: others write in between, and handlers run while the next are taken. So few
/// are no matter for a runtime's thread.
const AT_ONCE: usize = 64;

/// Between tries to write what could not be written.
const AGAIN: Duration = Duration::from_millis(100);

impl Pump {
    /// Has a task take the next step, if there is one and nobody is at it.
    pub(super) fn kick(self: &Arc<Self>) {
        if self.has_step() {
            let pump = Arc::clone(self);
            // The turn is taken by the task: until it runs, any other may.
            self.runtime.spawn(async move {
                if let Some((turn, step)) = pump.next_step() {
                    let begun = pump.settle(turn, step).await;
                    pump.work(begun).await;
                }
            });
        }
    }

    /// Whether there is a step to take, or the end to be told.
    fn has_step(&self) -> bool {
        let state = self.state();
        let takes = state.look && state.phase == Phase::Open && state.running.len() < self.serve.concurrency;
        let ends = state.phase == Phase::Draining && state.running.is_empty() && state.again.is_empty();
        !state.settling && (takes || ends || !state.finished.is_empty())
    }

    /// The same with a type that has a name, since one task begins others.
    fn task(self: Arc<Self>, call: Begun) -> BoxFuture<'static, ()> {
        Box::pin(self.work(Some(call)))
    }

    /// A task: calls the handler, takes the next step if nobody else is at it, and goes on with what that gives.
    async fn work(self: Arc<Self>, mut begun: Option<Begun>) {
        while let Some(call) = begun.take() {
            self.call(call).await;
            // What was begun beside it may be done by the time that everybody else has had a turn.
            if self.is_busy() {
                yield_to_all().await;
            }
            if let Some((turn, step)) = self.next_step() {
                begun = self.settle(turn, step).await;
            }
        }
    }

    /// The next step, with the right to take it; ends the service if there is none and never will be.
    fn next_step(self: &Arc<Self>) -> Option<(Turn, Step)> {
        let mut state = self.state();
        if state.settling {
            return None;
        }
        let free = self.serve.concurrency.saturating_sub(state.running.len()).min(AT_ONCE);
        let most = if state.look && state.phase == Phase::Open { free } else { 0 };
        if most > 0 || !state.finished.is_empty() {
            if most > 0 {
                state.look = false;
            }
            state.settling = true;
            let step = Step { finished: std::mem::take(&mut state.finished), most };
            return Some((Turn(Some(Arc::clone(self))), step));
        }
        if state.phase == Phase::Draining && state.running.is_empty() && state.again.is_empty() {
            state.phase = Phase::Ended;
            drop(state);
            self.progress.notify_waiters();
            self.over.notify_waiters();
        }
        None
    }

    /// Takes steps as long as there are any; gives the one request to go on with, if it is alone.
    async fn settle(self: &Arc<Self>, mut turn: Turn, mut step: Step) -> Option<Begun> {
        // Whoever was told of what had finished is woken on this thread, and waits for it until it gives way.
        let mut told = false;
        loop {
            let finished = Arc::new(step.finished);
            told |= !finished.is_empty();
            let settled = loop {
                match self.desk.settle(&self.serve, Arc::clone(&finished), step.most).await {
                    Ok(settled) => break settled,
                    Err(error) if error.kind() == ErrorKind::Database && !finished.is_empty() => {
                        break self.settle_one_by_one(&finished).await;
                    }
                    Err(error) if error.is_final() => {
                        turn.done();
                        self.end((error.kind() != ErrorKind::Closed).then_some(error));
                        return None;
                    }
                    Err(error) => {
                        tracing::warn!(%error, filter = %self.serve.filter, "a service could not write; it tries again");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            };
            turn.done();
            let mut begun = self.settled(&finished, settled);
            if begun.len() == 1 {
                let Some(next) = self.next_step() else {
                    // The handler may not give way.
                    if told {
                        yield_to_all().await;
                    }
                    return begun.pop();
                };
                // Whoever has the turn calls no handler: it may block.
                begun.drain(..).for_each(|call| drop(self.runtime.spawn(Arc::clone(self).task(call))));
                (turn, step) = next;
                continue;
            }
            // Each on its own: one that blocks its thread is not to hold up those behind it in its queue.
            for call in begun {
                self.runtime.spawn(Arc::clone(self).task(call));
            }
            if self.is_busy() {
                yield_to_all().await;
                told = false;
            }
            (turn, step) = self.next_step()?;
        }
    }

    /// What cannot be written for the sake of one row is written without it: its lease runs out.
    async fn settle_one_by_one(&self, finished: &[Finished]) -> Settled {
        let mut stale = Vec::new();
        for finished in finished {
            let (ticket, alone) = (finished.ticket, Arc::new(vec![finished.clone()]));
            match self.desk.settle(&self.serve, alone, 0).await {
                Ok(settled) => stale.extend(settled.stale),
                Err(error) => {
                    tracing::warn!(%error, sequence = ticket.sequence, "a request could not be ended");
                    stale.push(ticket);
                }
            }
        }
        Settled { stale, more: true, ..Settled::default() }
    }

    /// Notes what became of a step, and gives what is to be begun.
    fn settled(self: &Arc<Self>, finished: &[Finished], settled: Settled) -> Vec<Begun> {
        for ticket in &settled.stale {
            tracing::debug!(
                sequence = ticket.sequence,
                attempt = ticket.attempt,
                "a lease had ended before its handler did; what it did changed nothing"
            );
        }
        let now = self.desk.awake_millis();
        let (mut told, mut begun) = (Vec::new(), Vec::with_capacity(settled.claimed.len()));
        let mut state = self.state();
        state.settling = false;
        if !settled.again.is_empty() && state.phase != Phase::Ended {
            let is_first = state.again.is_empty();
            let later = finished.iter().filter(|finished| settled.again.contains(&finished.ticket));
            state.again.extend(later.cloned());
            if is_first {
                self.runtime.spawn(Arc::clone(self).finish_again());
            }
        }
        if !state.told.is_empty() {
            for finished in finished.iter().filter(|one| !settled.again.contains(&one.ticket)) {
                if let Some(teller) = state.told.remove(&finished.ticket) {
                    told.push((teller, !settled.stale.contains(&finished.ticket)));
                }
            }
        }
        state.look |= settled.more;
        let unwanted = std::mem::take(&mut state.unwanted);
        let open = state.phase == Phase::Open;
        for claimed in settled.claimed {
            // A process that was stopped in between does not begin what another may have by now.
            let held = now < claimed.taken_at.saturating_add(claimed.lease);
            if open && held {
                let wanted = !unwanted.contains(&claimed.ticket);
                begun.push(self.begin(&mut state, claimed, wanted));
            } else {
                // It was taken too late.
                let (ticket, traits) = (claimed.ticket, claimed.traits);
                state.finished.push(Finished { ticket, traits, verdict: Verdict::Released });
            }
        }
        drop(state);
        for (teller, counted) in told {
            let _ = teller.send(counted);
        }
        self.progress.notify_waiters();
        begun
    }

    /// After a while, has what could not be written down be tried again.
    async fn finish_again(self: Arc<Self>) {
        tokio::time::sleep(AGAIN).await;
        {
            let mut state = self.state();
            let again = std::mem::take(&mut state.again);
            state.finished.extend(again);
        }
        self.kick();
    }

    /// Notes that it runs from here on; with the lock held, so that it can be cancelled before it is called.
    fn begin(self: &Arc<Self>, state: &mut State, claimed: Claimed, wanted: bool) -> Begun {
        let Claimed { ticket, id, message, taken_at, lease, traits } = claimed;
        let call = Arc::new(CallState::new(ticket, traits, self));
        if !wanted {
            call.cancel();
        }
        let running = Running {
            call: Arc::clone(&call),
            answered: false,
            lapsed: false,
            lease,
            renew_at: taken_at.saturating_add(renew_after(lease)),
            run_until: taken_at.saturating_add(millis(self.serve.max_run)),
        };
        state.running.insert(ticket, running);
        let attempt = u32::try_from(ticket.attempt).unwrap_or(u32::MAX);
        let given = Call::new(message, id, attempt, Arc::clone(&call) as _);
        Begun { call, given }
    }

    /// Calls the handler, and notes how it ended. It is dropped where it stands if nobody wants it to end any more.
    async fn call(&self, begun: Begun) {
        let Begun { call, given } = begun;
        let handler = Arc::clone(&self.handler);
        // Making the future is the handler's own code as well.
        let mut handled = pin!(catch_unwind(async move { handler.handle(given).await }));
        let mut abandoned = pin!(call.abandoned());
        // First of all whether it is to be called: it may have been given away before.
        let ended = poll_fn(|cx| match abandoned.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => handled.as_mut().poll(cx).map(Some),
        });
        let verdict = match ended.await {
            Some(Ok(Ok(response))) => match response.check_size(self.desk.max_payload()) {
                Ok(()) => Verdict::Answered(response),
                Err(error) => Verdict::Failed(HandlerError::from(error).with_code("payload_too_large")),
            },
            Some(Ok(Err(error))) => Verdict::Failed(error),
            Some(Err(panic)) => Verdict::Failed(HandlerError::new(panic).with_code("panic")),
            None => return,
        };
        self.returned(Finished { ticket: call.ticket, traits: call.traits, verdict });
    }
}
