//! Who waits in this process for replies: callers of requests, and whoever asks for a job.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rusqlite::Connection;

use crate::defaults::PARTS_BUFFER;
use crate::error::{Error, ErrorKind, Result};
use crate::reply::{Reply, Response};
use crate::sqlite::tables::replies;
use crate::sqlite::tables::requests::look::{self, Ended};
use crate::sqlite::wake::WakeBits;

/// By the sequence of what they wait for.
#[derive(Default)]
pub(crate) struct Callers {
    waiting: Mutex<HashMap<i64, Vec<Arc<Waiter>>>>,
    count: AtomicUsize,
    /// Whether there ever was a call. The bell is kept armed for replies from then on: the next call need not wake anybody
    /// to have it armed.
    has_called: AtomicBool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The final reply of a request.
    Reply,
    /// The parts as well.
    Parts,
    /// Those of a job, which may end without a reply.
    Job,
}

/// One who waits.
pub(crate) struct Waiter {
    wanted: Wanted,
    /// Of the request or job: until its transaction is committed, a sequence may become another's.
    id: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// 0 until the request has one.
    sequence: i64,
    /// Nobody waits any more.
    abandoned: bool,
    arrived: VecDeque<Result<Reply>>,
    /// The last part that arrived: its attempt and number.
    seen: (i64, i64),
    /// The last item has arrived.
    ended: bool,
    /// There may be parts that found no room.
    more: bool,
    waker: Option<Waker>,
}

impl Callers {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Whether there is or was anybody, so that the bell is to be kept armed.
    pub(crate) fn has_called(&self) -> bool {
        self.has_called.load(Ordering::SeqCst)
    }

    /// A call is made; whether it is the first.
    pub(crate) fn is_first_call(&self) -> bool {
        !self.has_called.swap(true, Ordering::SeqCst)
    }

    /// Whom the bell is to be armed for, beside the peer itself.
    pub(crate) fn interest(&self) -> WakeBits {
        let mut bits = WakeBits::NOTHING;
        if !self.is_empty() {
            let waiting = self.waiting();
            let jobs = waiting.iter().filter(|(_, waiters)| waiters.iter().any(|w| w.wanted == Wanted::Job));
            jobs.for_each(|(sequence, _)| bits.add(WakeBits::job(*sequence)));
        }
        bits
    }

    /// Adds one who waits for this; under the write lock for a request, so that its reply cannot come before.
    pub(crate) fn add(&self, sequence: i64, waiter: &Arc<Waiter>) {
        let before = std::mem::replace(&mut waiter.state().sequence, sequence);
        let mut waiting = self.waiting();
        // A transaction that was rolled back is done again, with another sequence perhaps.
        if before != 0 {
            remove(&mut waiting, before, waiter);
        }
        waiting.entry(sequence).or_default().push(Arc::clone(waiter));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Takes one out who waits no more; its sequence, if there is something to take back.
    pub(crate) fn abandon(&self, waiter: &Arc<Waiter>) -> Option<i64> {
        let (sequence, ended) = {
            let mut state = waiter.state();
            state.abandoned = true;
            (state.sequence, state.ended)
        };
        if sequence == 0 {
            return None;
        }
        let mut waiting = self.waiting();
        remove(&mut waiting, sequence, waiter);
        self.count.store(waiting.len(), Ordering::SeqCst);
        (!ended).then_some(sequence)
    }

    /// Hands over the final reply to a request or job that this process has just committed.
    pub(crate) fn deliver(&self, sequence: i64, reply: impl Fn() -> Result<Reply>) -> bool {
        let mut wakers = Vec::new();
        let mut complete = true;
        {
            let mut waiting = self.waiting();
            let Some(waiters) = waiting.get_mut(&sequence) else { return true };
            waiters.retain(|waiter| {
                // Parts come before it, and are read in their order.
                if waiter.wanted != Wanted::Reply {
                    complete = false;
                    return true;
                }
                wakers.extend(waiter.end(reply()));
                false
            });
            if waiters.is_empty() {
                waiting.remove(&sequence);
            }
            self.count.store(waiting.len(), Ordering::SeqCst);
        }
        wakers.into_iter().for_each(Waker::wake);
        complete
    }

    /// Looks for what has arrived; whether anything has.
    pub(crate) fn look(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let all: Vec<_> = {
            let waiting = self.waiting();
            waiting.iter().flat_map(|(at, waiters)| waiters.iter().map(|w| (*at, Arc::clone(w)))).collect()
        };
        let mut wakers = Vec::new();
        let mut over = Vec::new();
        for (sequence, waiter) in all {
            wakers.extend(waiter.look(conn, sequence)?);
            if waiter.state().ended {
                over.push((sequence, waiter));
            }
        }
        if !over.is_empty() {
            let mut waiting = self.waiting();
            over.iter().for_each(|(sequence, waiter)| remove(&mut waiting, *sequence, waiter));
            self.count.store(waiting.len(), Ordering::SeqCst);
        }
        let any = !wakers.is_empty();
        wakers.into_iter().for_each(Waker::wake);
        Ok(any)
    }

    /// Ends everybody's wait with this error.
    pub(crate) fn fail(&self, error: &Error) {
        let all = std::mem::take(&mut *self.waiting());
        self.count.store(0, Ordering::SeqCst);
        let wakers: Vec<_> =
            all.into_values().flatten().filter_map(|waiter| waiter.end(Err(error.clone()))).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<i64, Vec<Arc<Waiter>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(waiting: &mut HashMap<i64, Vec<Arc<Waiter>>>, sequence: i64, waiter: &Arc<Waiter>) {
    if let Some(waiters) = waiting.get_mut(&sequence) {
        waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        if waiters.is_empty() {
            waiting.remove(&sequence);
        }
    }
}

impl Waiter {
    pub(crate) fn new(wanted: Wanted, id: String) -> Arc<Self> {
        Arc::new(Self { wanted, id, state: Mutex::default() })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    pub(crate) fn sequence(&self) -> i64 {
        self.state().sequence
    }

    /// The next item; and whether room was made for parts that found none.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> (Poll<Result<Reply>>, bool) {
        let mut state = self.state();
        match state.arrived.pop_front() {
            Some(item) => {
                let more = state.arrived.is_empty() && std::mem::take(&mut state.more);
                (Poll::Ready(item), more)
            }
            None => {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                (Poll::Pending, false)
            }
        }
    }

    fn look(&self, conn: &Connection, sequence: i64) -> rusqlite::Result<Option<Waker>> {
        let (seen, room) = {
            let mut state = self.state();
            let room = PARTS_BUFFER.saturating_sub(state.arrived.len());
            if state.ended || room == 0 {
                state.more |= !state.ended;
                return Ok(None);
            }
            (state.seen, room)
        };
        // The end is looked for first: what is not among the parts then never will be.
        let ended = look::ended(conn, sequence, &self.id)?;
        let parts = if self.wanted == Wanted::Reply {
            Vec::new()
        } else {
            replies::after(conn, sequence, seen, room)?
        };
        let gone = self.wanted == Wanted::Job && ended.is_none() && !look::exists(conn, sequence)?;
        let mut state = self.state();
        let found = parts.len();
        for part in parts {
            state.seen = (part.attempt, part.number);
            let response = Response::new(part.data).with_headers(part.headers);
            state.arrived.push_back(Ok(Reply::part(response, attempt(part.attempt))));
        }
        if found == room {
            state.more = true;
        } else if let Some(ended) = ended {
            state.ended = true;
            state.arrived.push_back(reply(ended));
        } else if gone {
            state.ended = true;
            state.arrived.push_back(Err(Error::new(ErrorKind::NotFound, "the job is no longer kept")));
        } else if found == 0 {
            return Ok(None);
        }
        Ok(state.waker.take())
    }

    fn end(&self, item: Result<Reply>) -> Option<Waker> {
        let mut state = self.state();
        if state.ended {
            return None;
        }
        state.ended = true;
        state.arrived.push_back(item);
        state.waker.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the row of something that has ended means to who asked.
fn reply(ended: Ended) -> Result<Reply> {
    let Ended { outcome, attempt: number, error, code, reply, headers } = ended;
    let message = |or: &str| error.clone().unwrap_or_else(|| or.to_owned());
    match outcome.as_str() {
        "done" => Ok(Reply::last(Response::new(reply).with_headers(headers), attempt(number))),
        "cancelled" => Err(Error::new(ErrorKind::Cancelled, "the job was cancelled before it was done")),
        "lost" => Err(Error::new(ErrorKind::ServerLost, message("the server died"))),
        _ => Err(Error::handler(message("the handler failed"), code.map(Into::into), reply)),
    }
}

pub(crate) fn attempt(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
