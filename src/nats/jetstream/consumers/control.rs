//! What a member holds, and how it says what became of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use chrono::Utc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::consumer_settings::ConsumerSettings;
use crate::dead_letter::{DeadLetter, DeadSource};
use crate::defaults::NACK_AT_LEAST;
use crate::delivery::{DeliveryControl, Settlement};
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::job_handle::Failure;
use crate::message::Message;
use crate::nats::jetstream::answer::{Answer, held, one_line, tell};
use crate::nats::jetstream::failure;
use crate::nats::jetstream::streams::Streams;
use crate::retry::pause;

/// The deliveries of one inbox.
pub(super) struct Control {
    streams: Arc<Streams>,
    name: String,
    held: Mutex<HashMap<u64, Arc<Held>>>,
}

/// One delivery. What is said of it is said under the lock, once.
struct Held {
    attempt: u32,
    reply: Subject,
    settings: ConsumerSettings,
    state: Arc<tokio::sync::Mutex<State>>,
}

struct State {
    /// Until when it is this member's for certain.
    until: Instant,
    settled: bool,
}

/// The server counts from when it has sent a delivery, and we from when it has come. So what is ours for certain ends a
/// little earlier.
fn certain(wait: Duration) -> Duration {
    wait - (wait / 10).min(Duration::from_secs(1))
}

impl Control {
    pub(super) fn new(streams: Arc<Streams>, name: &str) -> Self {
        Self { streams, name: name.to_owned(), held: Mutex::default() }
    }

    /// Notes a delivery that is to be handed over. One that will not come again is given up on if nobody says anything of it.
    pub(super) fn hold(
        self: &Arc<Self>,
        message: &Message,
        attempt: u32,
        reply: Subject,
        settings: &ConsumerSettings,
    ) {
        let until = Instant::now() + certain(settings.ack_wait);
        let state = Arc::new(tokio::sync::Mutex::new(State { until, settled: false }));
        let held = Arc::new(Held { attempt, reply, settings: settings.clone(), state });
        let mut all = self.all();
        all.retain(|_, held| held.state.try_lock().map_or(true, |state| !state.is_over()));
        all.insert(message.sequence(), Arc::clone(&held));
        drop(all);
        if attempt >= settings.max_deliver {
            tokio::spawn(Arc::clone(self).give_up_if_forgotten(message.clone(), held));
        }
    }

    /// The member is told that its consumer is no more.
    pub(super) fn lose_all(&self) {
        self.all().clear();
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, sequence: u64, attempt: u32) -> Result<Arc<Held>> {
        let found = self.all().get(&sequence).filter(|held| held.attempt == attempt).cloned();
        found.ok_or_else(|| Error::delivery_lost(sequence))
    }

    async fn give_up_if_forgotten(self: Arc<Self>, message: Message, held: Arc<Held>) {
        loop {
            let until = {
                let state = held.state.lock().await;
                if state.settled || self.streams.gate.is_ending() {
                    return;
                }
                state.until
            };
            if Instant::now() < until {
                sleep_until(until).await;
                continue;
            }
            let mut state = held.state.lock().await;
            if !state.is_over() {
                continue;
            }
            let lapsed = Failure::new(held.attempt, Utc::now(), "not acknowledged in time");
            let end = End::GivenUp("exhausted".to_owned(), vec![lapsed]);
            match self.end(&message, &held, end).await {
                Ok(()) => state.settled = true,
                Err(error) => tracing::debug!(%error, "an event that is given up on comes once more"),
            }
            return;
        }
    }

    /// Says how it ended: first the dead letter, and then that it is not to come again.
    async fn end(&self, message: &Message, held: &Held, end: End) -> Result<()> {
        let (jetstream, sequence) = (&self.streams.jetstream, message.sequence());
        match end {
            End::Done => held_by(tell(jetstream, &held.reply, Answer::Done).await, sequence),
            End::Again(delay) => held_by(tell(jetstream, &held.reply, Answer::Again(delay)).await, sequence),
            End::GivenUp(reason, failures) => {
                self.bury(message, held.attempt, failures, &reason).await?;
                held_by(tell(jetstream, &held.reply, Answer::Never(&reason)).await, sequence)
            }
        }
    }

    /// Keeps a whole copy of what was given up on.
    pub(super) async fn bury(
        &self,
        message: &Message,
        attempts: u32,
        failures: Vec<Failure>,
        reason: &str,
    ) -> Result<()> {
        let source = DeadSource::event(self.name.as_str(), message.sequence());
        let mut letter = DeadLetter::new(0, source, message.subject().clone(), reason);
        letter.payload = message.payload().clone();
        letter.headers = message.headers().clone();
        letter.attempts = attempts;
        letter.failures = failures;
        letter.created_at = message.time();
        let once = format!("event:{}:{}:{attempts}", self.name, message.sequence());
        self.streams.bury(letter, &once).await
    }
}

fn held_by(told: Result<Option<()>>, sequence: u64) -> Result<()> {
    held(told?, sequence)
}

impl State {
    fn is_over(&self) -> bool {
        self.settled || Instant::now() >= self.until
    }
}

/// What is said of a delivery.
enum End {
    Done,
    Again(Duration),
    GivenUp(String, Vec<Failure>),
}

/// # Errors
/// `Unsupported` if the server has no word for it.
fn end_of(held: &Held, settlement: Settlement) -> Result<End> {
    let failed = |message: &str| vec![Failure::new(held.attempt, Utc::now(), one_line(message))];
    let (wanted, failures) = match settlement {
        Settlement::Ack => return Ok(End::Done),
        // The reason says it all.
        Settlement::Term(reason) => return Ok(End::GivenUp(reason, Vec::new())),
        Settlement::Nack(delay) => (delay, failed("nacked")),
        Settlement::Failed(error) if error.is_fatal() => {
            return Ok(End::GivenUp("failed".to_owned(), failed(error.message())));
        }
        Settlement::Release => {
            let message = "JetStream counts each delivery: nack what was not handled";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Settlement::Failed(error) => (error.retry_time().map(until), failed(error.message())),
    };
    if held.attempt >= held.settings.max_deliver {
        return Ok(End::GivenUp("exhausted".to_owned(), failures));
    }
    let backoff = held.settings.backoff;
    let pause =
        || millis(pause(backoff.first_millis(), backoff.longest_millis(), held.attempt.into(), chance()));
    Ok(End::Again(wanted.unwrap_or_else(pause).max(NACK_AT_LEAST)))
}

/// The time until then, of which no part is cut off.
fn until(time: chrono::DateTime<Utc>) -> Duration {
    let left = time - Utc::now() + chrono::TimeDelta::milliseconds(1);
    left.to_std().unwrap_or_default()
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

fn chance() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

impl DeliveryControl for Control {
    /// A task says it: if this future is dropped, it is said none the less.
    fn settle<'a>(
        &'a self,
        message: &'a Message,
        attempt: u32,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let pass = self.streams.enter().await?;
            let held = self.find(message.sequence(), attempt)?;
            let mut state = Arc::clone(&held.state).lock_owned().await;
            if state.is_over() {
                return Err(Error::delivery_lost(message.sequence()));
            }
            let control =
                Self { streams: Arc::clone(&self.streams), name: self.name.clone(), held: Mutex::default() };
            let message = message.clone();
            let said = tokio::spawn(async move {
                let _pass = pass;
                let end = end_of(&held, settlement)?;
                let told = control.end(&message, &held, end).await;
                // Where nobody has answered it can be said again.
                state.settled = told.as_ref().map_or_else(Error::is_lost, |()| true);
                told
            });
            said.await
                .unwrap_or_else(|error| Err(failure::unsure("it has heard how a delivery ended", error)))
        })
    }

    fn extend(&self, sequence: u64, attempt: u32, by: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let _pass = self.streams.enter().await?;
            let held = self.find(sequence, attempt)?;
            let mut state = held.state.lock().await;
            if state.is_over() {
                return Err(Error::delivery_lost(sequence));
            }
            let until = Instant::now() + by;
            if until <= state.until {
                return Ok(());
            }
            held_by(tell(&self.streams.jetstream, &held.reply, Answer::InProgress).await, sequence)?;
            let wait = held.settings.ack_wait;
            let once = Instant::now() + certain(wait);
            state.until = until.max(once);
            drop(state);
            if until > once {
                tokio::spawn(renew(Arc::clone(&self.streams), held, wait / 3));
            }
            Ok(())
        })
    }
}

/// Has the server hold it for longer than it does at once.
async fn renew(streams: Arc<Streams>, held: Arc<Held>, every: Duration) {
    loop {
        sleep(every).await;
        if held.state.lock().await.is_over() || streams.gate.is_ending() {
            return;
        }
        if let Ok(None) = tell(&streams.jetstream, &held.reply, Answer::InProgress).await {
            return;
        }
    }
}
