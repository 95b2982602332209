//! The place of a cumulative consumer's active member, and what has failed in it.

use std::collections::{BTreeMap, BTreeSet};

use super::Handed;
use super::fate::{Fate, Scene, fate};
use super::wanted::{Wanted, gap};
use crate::consumer::OnFailure;
use crate::consumer_info::ConsumerInfo;
use crate::delivery::Settlement;
use crate::error::{Error, Result};
use crate::inmem::log::Log;
use crate::inmem::requests::{Due, Now};
use crate::job_handle::Failure;
use crate::message::Message;

#[derive(Debug, Default)]
pub(super) struct Cumulative {
    active: Option<u64>,
    /// The token of what was handed over: new with each member that takes over, and at each seek.
    place: u64,
    /// How far the active member has read.
    read: u64,
    /// The events behind the position whose deliveries have failed.
    failing: BTreeMap<u64, Failing>,
    /// Events behind the position that have dead letters.
    given_up: BTreeSet<u64>,
    /// Nothing is handed over before this wall time.
    pause_until: Option<i64>,
    stopped: Option<Stopped>,
}

#[derive(Debug, Default)]
struct Failing {
    attempts: u32,
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Stopped {
    sequence: u64,
    reason: String,
}

impl Cumulative {
    /// The next item for this member, if it has the place, or can have it.
    pub(super) fn next(
        &mut self,
        member: u64,
        wanted: &mut Wanted,
        log: &Log,
        now: Now,
    ) -> Option<Result<Handed>> {
        if self.stopped.is_some() {
            return None;
        }
        self.join(member, wanted);
        if self.active != Some(member) || self.pause_until.is_some_and(|until| now.unix < until) {
            return None;
        }
        if let Some((last, gap)) = gap(self.read, log) {
            // What it still holds is behind the position until it is acknowledged.
            if self.read == wanted.position {
                wanted.position = last;
            }
            self.read = last;
            return Some(Err(gap));
        }
        let mut events = wanted.behind(self.read, log);
        let message = events.find(|event| !self.given_up.contains(&event.sequence()))?.clone();
        self.read = message.sequence();
        Some(Ok(Handed { attempt: self.attempt(self.read), message, token: self.place }))
    }

    /// Takes the place if it is free.
    pub(super) fn join(&mut self, member: u64, wanted: &Wanted) {
        if self.active.is_none() && self.stopped.is_none() {
            self.active = Some(member);
            self.begin(wanted);
        }
    }

    /// `true` if the place is free now.
    pub(super) fn leave(&mut self, member: u64) -> bool {
        let had_it = self.active == Some(member);
        if had_it {
            self.active = None;
        }
        had_it
    }

    /// Notes how a delivery ended. If the consumer stops, this is what its member is told at last.
    pub(super) fn settle(
        &mut self,
        member: u64,
        handed: &Handed,
        settlement: &Settlement,
        wanted: &mut Wanted,
        log: &Log,
        scene: &mut Scene<'_>,
    ) -> Result<Option<Error>> {
        let is_said = handed.message.sequence() <= wanted.position;
        if is_said && matches!(settlement, Settlement::Ack) && self.is_held_by(member, handed) {
            return Ok(None);
        }
        self.check(member, wanted, handed)?;
        let (sequence, attempt) = (handed.message.sequence(), handed.attempt);
        let failing = self.failing.get(&sequence);
        let mut failures = failing.map(|failing| failing.failures.clone()).unwrap_or_default();
        match fate(scene, attempt, &mut failures, settlement) {
            Fate::Done => self.done_with(sequence, wanted, log),
            // Whoever has the place next begins behind the position.
            Fate::Released => {}
            Fate::Again(at) => {
                self.failing.insert(sequence, Failing { attempts: attempt, failures });
                self.pause_until = Some(at);
                self.read = sequence - 1;
            }
            Fate::GivenUp(reason) if scene.settings.on_failure == OnFailure::DeadLetter => {
                scene.bury(&handed.message, attempt, failures, &reason);
                self.failing.remove(&sequence);
                self.given_up.insert(sequence);
                if self.all_before_are_done(sequence, wanted, log) {
                    self.done_with(sequence, wanted, log);
                }
            }
            Fate::GivenUp(reason) => {
                let reason = match failures.last() {
                    Some(failure) if !matches!(settlement, Settlement::Term(_)) => {
                        format!("{reason}: {}", failure.message)
                    }
                    _ => reason,
                };
                let error = Error::consumer_stopped(scene.name, sequence, &reason);
                self.failing.insert(sequence, Failing { attempts: attempt, failures });
                self.stopped = Some(Stopped { sequence, reason });
                self.active = None;
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    /// Whether this member has it still.
    pub(super) fn check(&self, member: u64, wanted: &Wanted, handed: &Handed) -> Result<()> {
        let sequence = handed.message.sequence();
        let is_open = wanted.position < sequence && sequence <= self.read;
        let is_latest = handed.attempt == self.attempt(sequence) && !self.given_up.contains(&sequence);
        if self.is_held_by(member, handed) && is_open && is_latest {
            Ok(())
        } else {
            Err(Error::delivery_lost(sequence))
        }
    }

    fn is_held_by(&self, member: u64, handed: &Handed) -> bool {
        self.active == Some(member) && self.place == handed.token
    }

    /// A consumer that had stopped tries its event again, with nothing behind it.
    pub(super) fn unstop(&mut self) {
        if let Some(stopped) = self.stopped.take() {
            self.failing.remove(&stopped.sequence);
        }
    }

    /// Begins where the position is now, and whoever is active goes on there.
    pub(super) fn seek(&mut self, wanted: &Wanted) {
        *self = Self { active: self.active, place: self.place, ..Self::default() };
        self.begin(wanted);
    }

    /// `true` if the pause is over.
    pub(super) fn advance(&mut self, now: Now) -> bool {
        self.pause_until.take_if(|until| *until <= now.unix).is_some()
    }

    pub(super) fn next_due(&self) -> Due {
        Due { unix: self.pause_until, awake: None }
    }

    pub(super) fn describe(&self, info: &mut ConsumerInfo) {
        info.ack_floor = info.delivered;
        info.stopped = self.stopped.as_ref().map(|stopped| stopped.reason.clone());
        info.num_backing_off = u64::from(self.pause_until.is_some());
        if let Some(failing) = self.failing.values().next() {
            info.num_redelivered = 1;
            info.failures.clone_from(&failing.failures);
        }
    }

    /// Whether nothing that the member still holds comes before this.
    fn all_before_are_done(&self, sequence: u64, wanted: &Wanted, log: &Log) -> bool {
        let mut open = wanted.behind(wanted.position, log).map(Message::sequence);
        open.find(|open| *open >= sequence || !self.given_up.contains(open))
            .is_none_or(|open| open >= sequence)
    }

    fn begin(&mut self, wanted: &Wanted) {
        self.place += 1;
        self.read = wanted.position;
    }

    /// Everything up to this is done with, and what was given up on right behind it as well.
    fn done_with(&mut self, sequence: u64, wanted: &mut Wanted, log: &Log) {
        let mut next = Some(sequence);
        while let Some(sequence) = next {
            wanted.position = sequence;
            self.failing = self.failing.split_off(&(sequence + 1));
            self.given_up = self.given_up.split_off(&(sequence + 1));
            next = wanted.behind(sequence, log).map(Message::sequence).next();
            next = next.filter(|next| self.given_up.contains(next));
        }
    }

    /// Which delivery of this event the next one is, or the one that was handed over.
    fn attempt(&self, sequence: u64) -> u32 {
        self.failing.get(&sequence).map_or(0, |failing| failing.attempts).saturating_add(1)
    }
}
