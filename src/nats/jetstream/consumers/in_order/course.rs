//! How a cumulative consumer goes on: what becomes of its record when a delivery has ended.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::record::{Failing, Record};
use crate::consumer::OnFailure;
use crate::defaults::NACK_AT_LEAST;
use crate::delivery::Settlement;
use crate::error::{Error, Result};
use crate::job_handle::Failure;
use crate::nats::jetstream::answer::one_line;
use crate::nats::jetstream::position::Missing;
use crate::retry::{millis, pause};

/// What the active member has read, since it has the place.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) place: u64,
    /// How far it has read.
    pub(super) read: u64,
    /// What it has read behind the position, and that is wanted: what was given up on as well.
    pub(super) handed: VecDeque<u64>,
}

/// A delivery of which something is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) member: &'a str,
    pub(super) place: u64,
    pub(super) sequence: u64,
    pub(super) attempt: u32,
}

/// What follows from what was said.
#[derive(Debug, PartialEq)]
pub(super) enum Course {
    /// It was said before.
    Same,
    On,
    /// The member goes back in front of the event.
    Back,
    /// First a copy of the event goes to the dead letters, with these lines.
    Bury(String, Vec<Failure>),
    /// The member has lost the place, for this reason.
    Stop(String),
}

impl Record {
    /// Notes how a delivery ended.
    pub(super) fn settle(
        &mut self,
        said: Said<'_>,
        settlement: &Settlement,
        reading: &Reading,
        now: DateTime<Utc>,
    ) -> Result<Course> {
        let Said { sequence, attempt, .. } = said;
        if sequence <= self.position && matches!(settlement, Settlement::Ack) && self.is_held_by(said) {
            return Ok(Course::Same);
        }
        self.check(said, reading)?;
        let mut failures =
            self.failing.get(&sequence).map_or_else(Vec::new, |failing| failing.failures.clone());
        let mut failed = |message: &str| failures.push(Failure::new(attempt, now, one_line(message)));
        let (wanted, given_up) = match settlement {
            Settlement::Ack => {
                self.done_with(sequence, reading);
                return Ok(Course::On);
            }
            // Whoever has the place next begins behind the position.
            Settlement::Release => return Ok(Course::Same),
            // The reason says it all.
            Settlement::Term(reason) => (None, Some(reason.clone())),
            Settlement::Nack(delay) => {
                failed("nacked");
                (delay.map(|delay| now.timestamp_millis().saturating_add(millis(delay))), None)
            }
            Settlement::Failed(error) => {
                failed(error.message());
                let given_up = error.is_fatal().then(|| "failed".to_owned());
                (error.retry_time().map(|time| time.timestamp_millis()), given_up)
            }
        };
        let exhausted = attempt >= self.settings.max_deliver;
        match given_up.or_else(|| exhausted.then(|| "exhausted".to_owned())) {
            None => {
                let backoff = self.settings.backoff;
                let chance = uuid::Uuid::new_v4().as_u64_pair().0;
                let (first, longest) = (backoff.first_millis(), backoff.longest_millis());
                let after = |pause: i64| now.timestamp_millis().saturating_add(pause);
                let at = wanted.unwrap_or_else(|| after(pause(first, longest, attempt.into(), chance)));
                self.again_at = Some(at.max(after(millis(NACK_AT_LEAST))));
                self.failing.insert(sequence, Failing::new(attempt, failures));
                Ok(Course::Back)
            }
            Some(reason) if self.settings.on_failure == OnFailure::DeadLetter => {
                self.failing.remove(&sequence);
                self.given_up.insert(sequence);
                let mut before =
                    reading.handed.iter().filter(|read| (self.position + 1..sequence).contains(read));
                if before.all(|read| self.given_up.contains(read)) {
                    self.done_with(sequence, reading);
                }
                Ok(Course::Bury(reason, failures))
            }
            Some(reason) => {
                let reason = match failures.last() {
                    Some(failure) if !matches!(settlement, Settlement::Term(_)) => {
                        format!("{reason}: {}", failure.message)
                    }
                    _ => one_line(&reason),
                };
                self.failing.insert(sequence, Failing::new(attempt, failures));
                self.stopped = Some((sequence, reason.clone()));
                self.holder = None;
                Ok(Course::Stop(reason))
            }
        }
    }

    /// Whether this member has it still.
    pub(super) fn check(&self, said: Said<'_>, reading: &Reading) -> Result<()> {
        let sequence = said.sequence;
        let is_open = self.position < sequence && sequence <= reading.read && reading.place == said.place;
        let is_latest = said.attempt == self.attempt(sequence) && !self.given_up.contains(&sequence);
        if self.is_held_by(said) && is_open && is_latest {
            Ok(())
        } else {
            Err(Error::delivery_lost(sequence))
        }
    }

    /// Which delivery of this event the next one is, or the one that was handed over.
    pub(super) fn attempt(&self, sequence: u64) -> u32 {
        self.failing.get(&sequence).map_or(0, |failing| failing.attempts).saturating_add(1)
    }

    /// Whether an event is one that it wants, of those that its filters match.
    pub(super) fn wants(&self, sequence: u64) -> bool {
        self.only.last().is_none_or(|last| sequence > *last) || self.only.contains(&sequence)
    }

    /// A member takes the place.
    pub(super) fn take(&mut self, member: &str) {
        self.holder = Some(member.to_owned());
        self.place += 1;
    }

    /// What is gone behind the position is told by the member who has read so far, and is done with.
    pub(super) fn skip(&mut self, reading: &Reading, (_, last): Missing) {
        // What its member still holds is behind the position until it is acknowledged.
        if reading.read == self.position {
            self.position = last;
        }
    }

    /// A consumer that had stopped tries its event again, with nothing behind it.
    pub(super) fn unstop(&mut self) {
        if let Some((sequence, _)) = self.stopped.take() {
            self.failing.remove(&sequence);
        }
    }

    /// Begins there, and whoever is active goes on there.
    pub(super) fn begin(&mut self, (position, only): (u64, std::collections::BTreeSet<u64>)) {
        self.position = position;
        self.only = only;
        self.place += 1;
        self.failing.clear();
        self.given_up.clear();
        self.again_at = None;
        self.stopped = None;
    }

    fn is_held_by(&self, said: Said<'_>) -> bool {
        self.holder.as_deref() == Some(said.member) && self.place == said.place
    }

    /// Everything up to this is done with, and what was given up on right behind it as well.
    fn done_with(&mut self, sequence: u64, reading: &Reading) {
        self.position = sequence;
        for next in reading.handed.iter().filter(|read| **read > sequence) {
            if !self.given_up.contains(next) {
                break;
            }
            self.position = *next;
        }
        self.failing = self.failing.split_off(&(self.position + 1));
        self.given_up = self.given_up.split_off(&(self.position + 1));
        if self.only.last().is_some_and(|last| *last <= self.position) {
            self.only.clear();
        }
    }
}

impl Reading {
    /// Nothing up to here comes again.
    pub(super) fn forget_through(&mut self, position: u64) {
        while self.handed.front().is_some_and(|read| *read <= position) {
            self.handed.pop_front();
        }
    }

    /// What was read from here on is read again.
    pub(super) fn back_to(&mut self, sequence: u64) {
        self.read = self.read.min(sequence - 1);
        while self.handed.back().is_some_and(|read| *read >= sequence) {
            self.handed.pop_back();
        }
    }
}
