//! The jobs of one service: those that wait for a place, and those that it holds.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_nats::Subject as Reply;
use async_nats::jetstream::message::Message as Arrived;
use chrono::DateTime;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::feed::feed;
use super::letter::Terms;
use crate::defaults::LEASE;
use crate::filter::Filter;
use crate::future::join_all;
use crate::message::Message;
use crate::nats::jetstream::answer::{Answer, tell};
use crate::nats::jetstream::events::{self, from_server};
use crate::nats::jetstream::streams::Streams;
use crate::serve::ServeParts;
use crate::service::{Claimed, Pump, Ticket, Traits, millis};

/// The server is told so often that a job is still in hand.
const RENEWED_EVERY: Duration = Duration::from_secs(LEASE.as_secs() / 3);

pub(in crate::nats) struct JobDesk {
    pub(super) streams: Arc<Streams>,
    pump: OnceLock<Weak<Pump>>,
    state: Mutex<State>,
    began: Instant,
    max_run: i64,
    /// There may be room for more.
    room: Notify,
    end: watch::Sender<End>,
}

/// How far it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Nothing new is to be taken.
    Leaving,
    Left,
}

/// Nobody waits for a desk whose task has ended with the connection.
struct Over(Arc<JobDesk>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end.send_replace(End::Left);
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Job>>,
    held: HashMap<u64, Arc<Job>>,
    /// Places of the service that nobody has, as far as it has told.
    free: usize,
}

/// A job that the server has delivered here.
pub(super) struct Job {
    pub(super) id: Arc<str>,
    pub(super) message: Message,
    pub(super) attempt: u32,
    pub(super) terms: Terms,
    pub(super) reply: Reply,
    /// How many parts were sent: held while one is being sent, since they go in their order.
    pub(super) parts: tokio::sync::Mutex<u32>,
    /// Until when its handler may run, in awake milliseconds; set when it begins.
    run_until: Mutex<i64>,
    /// Its end could not be written: it takes a place, so that no more are begun than can be ended.
    pub(super) unwritten: AtomicBool,
}

impl JobDesk {
    pub(in crate::nats::jetstream) fn new(streams: Arc<Streams>, serve: &ServeParts) -> Arc<Self> {
        Arc::new(Self {
            streams,
            pump: OnceLock::new(),
            state: Mutex::default(),
            began: Instant::now(),
            max_run: millis(serve.max_run),
            room: Notify::new(),
            end: watch::Sender::new(End::Open),
        })
    }

    /// Takes jobs for this pump until it ends.
    pub(in crate::nats) fn begin(self: &Arc<Self>, pump: &Arc<Pump>, filter: Filter) {
        let _ = self.pump.set(Arc::downgrade(pump));
        let (desk, pump) = (Arc::clone(self), Arc::clone(pump));
        let over = Over(Arc::clone(self));
        self.streams.connection.spawn(async move {
            let _over = over;
            let renews = async {
                tokio::select! {
                    () = desk.renew() => {}
                    _ = pump.ended() => {}
                }
                // Also where nobody has said so before.
                desk.leave();
            };
            tokio::join!(desk.bring(filter), renews);
        });
    }

    /// Has jobs brought until the service leaves, and gives back what has not begun.
    async fn bring(self: &Arc<Self>, filter: Filter) {
        feed(self, filter).await;
        let _pass = self.streams.gate.enter().await;
        let waiting = std::mem::take(&mut self.state().waiting);
        join_all(waiting.into_iter().map(async |job| self.tell(&job, Answer::Again(Duration::ZERO)).await))
            .await;
        self.end.send_replace(End::Left);
    }

    /// Takes nothing new.
    pub(in crate::nats) fn leave(&self) {
        self.end.send_if_modified(|end| {
            let leaves = *end == End::Open;
            if leaves {
                *end = End::Leaving;
            }
            leaves
        });
    }

    /// Returns when nothing comes any more, and what has not begun is given back.
    pub(in crate::nats) async fn left(&self) {
        let _ = self.end.subscribe().wait_for(|end| *end == End::Left).await;
    }

    /// Returns when nothing is to be brought any more.
    pub(super) async fn leaving(&self) {
        let _ = self.end.subscribe().wait_for(|end| *end != End::Open).await;
    }

    pub(super) fn awake_millis(&self) -> i64 {
        millis(self.began.elapsed())
    }

    /// Returns when a place is free for one more than wait.
    pub(super) async fn room(&self) {
        loop {
            let changed = self.room.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state();
                let unwritten = state.held.values().filter(|job| job.unwritten.load(Ordering::Relaxed));
                if state.free > state.waiting.len() + unwritten.count() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// A job has come.
    pub(super) fn take(self: &Arc<Self>, arrived: &Arrived) {
        let Some(job) = self.read(arrived) else {
            tracing::warn!(
                subject = %arrived.message.subject, sequence = events::place(arrived).map(|place| place.sequence),
                "what lies in the stream of jobs is none, and is removed"
            );
            let (jetstream, reply) = (self.streams.jetstream.clone(), arrived.message.reply.clone());
            if let Some(reply) = reply {
                tokio::spawn(
                    async move { tell(&jetstream, &reply, Answer::Never("it cannot be read")).await },
                );
            }
            return;
        };
        if job.attempt > job.terms.max_attempts {
            // Whoever had it last has died with it.
            let desk = Arc::clone(self);
            tokio::spawn(async move { desk.give_up(&job).await });
            return;
        }
        self.state().waiting.push_back(job);
        if let Some(pump) = self.pump.get().and_then(Weak::upgrade) {
            pump.look();
        }
    }

    fn read(&self, arrived: &Arrived) -> Option<Arc<Job>> {
        let place = events::place(arrived)?;
        let (id, subject) = self.streams.subjects.of_job(&arrived.message.subject)?;
        let map = arrived.message.headers.as_ref();
        let stored_at = DateTime::from_timestamp_millis(place.unix_millis)?;
        let payload = arrived.message.payload.clone();
        Some(Arc::new(Job {
            id: id.into(),
            message: Message::new(subject, payload, from_server(map), place.sequence, place.unix_millis),
            attempt: place.attempt,
            terms: Terms::read(map, stored_at),
            reply: arrived.message.reply.clone()?,
            parts: tokio::sync::Mutex::new(0),
            run_until: Mutex::new(i64::MAX),
            unwritten: AtomicBool::new(false),
        }))
    }

    /// Takes up to so many of those that wait.
    pub(super) fn claim(&self, most: usize) -> Vec<Claimed> {
        let now = self.awake_millis();
        let mut state = self.state();
        let mut claimed = Vec::new();
        while claimed.len() < most
            && let Some(job) = state.waiting.pop_front()
        {
            *job.run_until() = now.saturating_add(self.max_run);
            claimed.push(Claimed {
                ticket: ticket(&job),
                id: Arc::clone(&job.id),
                message: job.message.clone(),
                taken_at: now,
                // The server is told by ourselves that it is in hand.
                lease: i64::MAX,
                traits: Traits::default(),
            });
            state.held.insert(job.message.sequence(), job);
        }
        claimed
    }

    /// The service has so many places left, or so many more.
    pub(super) fn has_places(&self, free: impl FnOnce(usize) -> usize) {
        {
            let mut state = self.state();
            state.free = free(state.free);
        }
        self.room.notify_waiters();
    }

    pub(super) fn waits(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// The job of this ticket, if it is still held.
    pub(super) fn held(&self, ticket: Ticket) -> Option<Arc<Job>> {
        let job = self.state().held.get(&number(ticket)).cloned();
        job.filter(|job| i64::from(job.attempt) == ticket.attempt)
    }

    pub(super) fn forget(&self, ticket: Ticket) {
        self.state().held.remove(&number(ticket));
    }

    pub(super) fn extend(&self, job: &Job, until: i64) {
        let mut run_until = job.run_until();
        *run_until = (*run_until).max(until);
    }

    /// Tells the server of what is in hand, and gives to others what has run for as long as it may.
    async fn renew(self: &Arc<Self>) {
        let mut renewed = Instant::now();
        loop {
            let (now, mut lapsed) = (self.awake_millis(), Vec::new());
            let due = renewed.elapsed() >= RENEWED_EVERY;
            let (mut jobs, mut next) = (Vec::new(), self.awake_millis() + millis(RENEWED_EVERY));
            {
                let mut state = self.state();
                state.held.retain(|_, job| {
                    let until = *job.run_until();
                    if until <= now {
                        lapsed.push(Arc::clone(job));
                        return false;
                    }
                    next = next.min(until);
                    true
                });
                if due {
                    jobs.extend(state.held.values().chain(&state.waiting).cloned());
                }
            }
            if due {
                renewed = Instant::now();
            }
            for job in jobs {
                self.answer(job, Answer::InProgress);
            }
            for job in lapsed {
                if let Some(pump) = self.pump.get().and_then(Weak::upgrade) {
                    pump.cancel(ticket(&job));
                }
                self.answer(job, Answer::Again(Duration::ZERO));
            }
            let wait = Duration::from_millis((next - now).clamp(1, 1_000).unsigned_abs());
            tokio::select! {
                () = sleep(wait) => {}
                () = self.room.notified() => {}
            }
        }
    }

    /// Tells the server without waiting.
    fn answer(self: &Arc<Self>, job: Arc<Job>, answer: Answer<'static>) {
        let desk = Arc::clone(self);
        tokio::spawn(async move { desk.tell(&job, answer).await });
    }

    /// What is not heard, the server does by itself when the job's time is over.
    async fn tell(&self, job: &Job, answer: Answer<'_>) {
        if let Err(error) = tell(&self.streams.jetstream, &job.reply, answer).await {
            tracing::debug!(%error, id = %job.id, "the server was not told of a job");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn run_until(&self) -> MutexGuard<'_, i64> {
        self.run_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tickets of jobs are negative: those of requests are not.
fn ticket(job: &Job) -> Ticket {
    let sequence = i64::try_from(job.message.sequence()).unwrap_or(i64::MAX);
    Ticket { sequence: -sequence, attempt: job.attempt.into() }
}

fn number(ticket: Ticket) -> u64 {
    ticket.sequence.unsigned_abs()
}
