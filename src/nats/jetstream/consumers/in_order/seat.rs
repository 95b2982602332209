//! What a member knows of its consumer's record, and the only way in which it changes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use chrono::Utc;
use tokio::time::Instant;

use super::course::{Course, Reading, Said};
use super::record::Record;
use super::store::Kept;
use crate::dead_letter::{DeadLetter, DeadSource};
use crate::delivery::Settlement;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::job_handle::Failure;
use crate::message::Message;
use crate::nats::jetstream::position::Missing;
use crate::nats::jetstream::streams::Streams;

/// So often is it tried again when others change the same record.
const TRIES: usize = 16;

pub(super) struct Seat {
    pub(super) streams: Arc<Streams>,
    pub(super) name: String,
    pub(super) id: String,
    /// Held by whoever changes the record or looks at it.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    kept: Kept,
    kept_at: Instant,
    /// It may have been changed.
    stale: bool,
    reading: Reading,
    /// How often what was read is to be read again.
    backs: u64,
    left: bool,
    /// What the member is told at last.
    last: Option<Error>,
    waker: Option<Waker>,
}

/// What a member is to do.
pub(super) enum View {
    Look,
    Gone,
    /// Nothing, until the record changes.
    Wait,
    Take,
    StandBy(String),
    /// Nothing before this wall time.
    WaitUntil(i64),
    Read {
        backs: u64,
        from: u64,
        filters: Vec<Filter>,
    },
}

impl Seat {
    pub(super) fn new(streams: Arc<Streams>, name: &str, id: String, kept: Kept) -> Self {
        let state = State {
            kept,
            kept_at: Instant::now(),
            stale: false,
            reading: Reading::default(),
            backs: 0,
            left: false,
            last: None,
            waker: None,
        };
        Self {
            streams,
            name: name.to_owned(),
            id,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn view(&self) -> View {
        let state = self.state();
        let Some(record) = &state.kept.record else {
            return if state.stale { View::Look } else { View::Gone };
        };
        if state.stale {
            return View::Look;
        }
        match record.holder.as_deref() {
            _ if record.stopped.is_some() => View::Wait,
            None => View::Take,
            Some(holder) if holder != self.id => View::StandBy(holder.to_owned()),
            Some(_) if record.paused => View::Wait,
            Some(_) => match record.again_at.filter(|at| *at > Utc::now().timestamp_millis()) {
                Some(at) => View::WaitUntil(at),
                None => View::Read {
                    backs: state.backs,
                    from: state.reading.read + 1,
                    filters: record.settings.filters.clone(),
                },
            },
        }
    }

    /// Notes an event that was read; the place and the attempt with which it is handed over, if it is.
    pub(super) fn hand(&self, backs: u64, sequence: u64, is_readable: bool) -> Option<(u64, u32)> {
        let mut state = self.state();
        // It goes back, and this comes again.
        if state.backs != backs {
            return None;
        }
        let record = state.kept.record.as_ref()?;
        let is_wanted = is_readable && record.wants(sequence);
        let handed = is_wanted && !record.given_up.contains(&sequence);
        let handed = handed.then(|| (record.place, record.attempt(sequence)));
        state.reading.read = sequence;
        if is_wanted {
            state.reading.handed.push_back(sequence);
        }
        handed
    }

    /// What was read so far is gone, as far as nobody holds it.
    pub(super) async fn skip(&self, gap: Missing) -> Result<()> {
        let skipped = self.change(None, |record, reading| {
            let mine = record.holder.as_ref() == Some(&self.id) && record.place == reading.place;
            if mine && reading.read == record.position {
                record.skip(reading, gap);
                return Ok(Course::On);
            }
            Ok(Course::Same)
        });
        skipped.await.map(drop)
    }

    /// What is gone was told, and the member goes on behind it.
    pub(super) fn read_through(&self, backs: u64, sequence: u64) {
        let mut state = self.state();
        if state.backs == backs {
            state.reading.read = state.reading.read.max(sequence);
        }
    }

    /// Takes the place from nobody, or from a member that is no more.
    pub(super) async fn take(&self, from: Option<&str>) -> Result<()> {
        let taken = self.change(None, |record, _| {
            if record.holder.as_deref() != from || record.stopped.is_some() || self.state().left {
                return Ok(Course::Same);
            }
            record.take(&self.id);
            Ok(Course::On)
        });
        taken.await.map(drop)
    }

    /// Gives the place to others; what it has handed over is this member's no more.
    pub(super) async fn leave(&self) -> Result<()> {
        // It may be about to get the place.
        self.state().stale = true;
        let left = self.change(None, |record, _| {
            if record.holder.as_ref() != Some(&self.id) {
                return Ok(Course::Same);
            }
            record.holder = None;
            Ok(Course::On)
        });
        match left.await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            left => left.map(drop),
        }
    }

    pub(super) fn has_left(&self) {
        self.state().left = true;
    }

    /// The record is kept for longer, since it has members.
    pub(super) async fn touch(&self) -> Result<()> {
        self.change(None, |_, _| Ok(Course::On)).await.map(drop)
    }

    /// How long the record was not written, and may be without members.
    pub(super) fn quiet(&self) -> Option<(std::time::Duration, std::time::Duration)> {
        let state = self.state();
        let threshold = state.kept.record.as_ref()?.settings.inactive_threshold?;
        Some((state.kept_at.elapsed(), threshold))
    }

    /// Says how a delivery ended.
    pub(super) async fn settle(
        &self,
        message: &Message,
        place: u64,
        attempt: u32,
        settlement: &Settlement,
    ) -> Result<()> {
        let sequence = message.sequence();
        let said = Said { member: &self.id, place, sequence, attempt };
        let settled = self.change(Some((message, attempt)), |record, reading| {
            if self.state().left {
                return Err(Error::delivery_lost(sequence));
            }
            record.settle(said, settlement, reading, Utc::now())
        });
        match settled.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::delivery_lost(sequence)),
            Err(error) => Err(error),
        }
    }

    /// Whether this member has it still, as the record is now.
    pub(super) async fn check(&self, place: u64, sequence: u64, attempt: u32) -> Result<()> {
        self.state().stale = true;
        let said = Said { member: &self.id, place, sequence, attempt };
        let checked = self.change(None, |record, reading| {
            if self.state().left {
                return Err(Error::delivery_lost(sequence));
            }
            record.check(said, reading).map(|()| Course::Same)
        });
        checked.await.map(drop)
    }

    pub(super) fn take_last(&self) -> Option<Error> {
        self.state().last.take()
    }

    pub(super) fn wakes(&self, cx: &Context<'_>) {
        self.state().waker = Some(cx.waker().clone());
    }

    /// Somebody may have changed the record.
    pub(super) fn look_again(&self) {
        let mut state = self.state();
        state.stale = true;
        state.wake();
    }

    pub(super) async fn look(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.load().await
    }

    async fn load(&self) -> Result<()> {
        // What changes while it is being read makes it stale again.
        self.state().stale = false;
        match self.streams.kept(&self.name).await {
            Ok(kept) => {
                let mut state = self.state();
                // A copy on another server may be older.
                if kept.revision >= state.kept.revision || kept.record.is_none() {
                    state.kept = kept;
                }
                state.adopt(&self.name, &self.id);
                Ok(())
            }
            Err(error) => {
                self.state().stale = true;
                Err(error)
            }
        }
    }

    /// Changes the record, as it is at that moment. What is judged by an older one is judged again.
    async fn change(
        &self,
        of: Option<(&Message, u32)>,
        act: impl Fn(&mut Record, &Reading) -> Result<Course>,
    ) -> Result<Course> {
        let _turn = self.turn.lock().await;
        for _ in 0..TRIES {
            if self.state().stale {
                self.load().await?;
            }
            let (revision, record, reading) = {
                let state = self.state();
                (state.kept.revision, state.kept.record.clone(), state.reading.clone())
            };
            let mut record = record.ok_or_else(|| Error::no_such_consumer(&self.name))?;
            let course = act(&mut record, &reading)?;
            match &course {
                Course::Same => return Ok(course),
                Course::Bury(reason, failures) => {
                    if let Some((message, attempt)) = of {
                        self.bury(message, attempt, failures.clone(), reason).await?;
                    }
                }
                _ => {}
            }
            // It may be kept though nobody hears of it, as if this future is dropped.
            self.state().stale = true;
            let kept = self.streams.keep(&self.name, revision, Some(&record), &self.id).await;
            let Some(kept) = kept.transpose() else { continue };
            let mut state = self.state();
            // It may be kept though nobody says so, and is not handed over again unless it is read again.
            if course == Course::Back
                && let Some((message, _)) = of
            {
                state.reading.back_to(message.sequence());
                state.backs += 1;
            }
            state.wake();
            state.kept = Kept { revision: kept?, record: Some(record) };
            state.kept_at = Instant::now();
            state.stale = false;
            state.adopt(&self.name, &self.id);
            return Ok(course);
        }
        let message =
            format!("consumer {:?} was changed by others at the same time, again and again", self.name);
        Err(Error::new(ErrorKind::Busy, message))
    }

    /// Keeps a whole copy of what was given up on.
    async fn bury(
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Goes on where the record says.
    fn adopt(&mut self, name: &str, id: &str) {
        let Some(record) = &self.kept.record else { return };
        // Nobody has had the place since: it was this member's.
        if let Some((sequence, reason)) = &record.stopped
            && record.place == self.reading.place
        {
            self.last = Some(Error::consumer_stopped(name, *sequence, reason));
        }
        if record.holder.as_deref() == Some(id) && record.place != self.reading.place {
            self.reading = Reading { place: record.place, read: record.position, ..Reading::default() };
            self.backs += 1;
        }
        self.reading.forget_through(record.position);
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
