//! What an explicit consumer has in flight: events that members hold, or that are to come again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Handed;
use super::fate::{Fate, Scene, fate};
use super::wanted::{Wanted, gap};
use crate::consumer_info::ConsumerInfo;
use crate::consumer_settings::ConsumerSettings;
use crate::delivery::Settlement;
use crate::error::{Error, Result};
use crate::inmem::log::Log;
use crate::inmem::requests::{Due, Now, time};
use crate::job_handle::Failure;
use crate::message::Message;
use crate::retry::millis;

#[derive(Debug, Default)]
pub(super) struct Explicit {
    flights: BTreeMap<u64, Flight>,
    /// The flights in each state, by their sequences and by when it ends.
    due: BTreeSet<u64>,
    held: BTreeSet<(i64, u64)>,
    backing_off: BTreeSet<(i64, u64)>,
    last_token: u64,
}

#[derive(Debug)]
struct Flight {
    /// The log may forget it before it is done with.
    message: Message,
    /// How often it was handed over.
    attempt: u32,
    failures: Vec<Failure>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In awake milliseconds.
    Held { token: u64, until: i64 },
    /// In Unix milliseconds.
    BackingOff { until: i64 },
    /// To be handed over.
    Due,
}

impl Explicit {
    /// The next item, if there is one: what comes again first.
    pub(super) fn next(
        &mut self,
        wanted: &mut Wanted,
        settings: &ConsumerSettings,
        log: &Log,
        now: Now,
    ) -> Option<Result<Handed>> {
        if !self.has_room(settings) {
            return None;
        }
        let until = now.awake.saturating_add(millis(settings.ack_wait));
        if let Some(sequence) = self.due.first().copied() {
            return self.hand_over(sequence, until).map(Ok);
        }
        if let Some((last, gap)) = gap(wanted.position, log) {
            wanted.position = last;
            return Some(Err(gap));
        }
        let next = wanted.behind(wanted.position, log).next().cloned();
        let Some(message) = next else {
            wanted.position = log.newest();
            return None;
        };
        let sequence = message.sequence();
        wanted.position = sequence;
        self.add(message);
        self.hand_over(sequence, until).map(Ok)
    }

    pub(super) fn has_room(&self, settings: &ConsumerSettings) -> bool {
        self.held.len() < settings.max_ack_pending
    }

    pub(super) fn settle(
        &mut self,
        handed: &Handed,
        settlement: &Settlement,
        scene: &mut Scene<'_>,
    ) -> Result<()> {
        let sequence = handed.message.sequence();
        let flight = self.held_by(handed)?;
        match fate(scene, flight.attempt, &mut flight.failures, settlement) {
            Fate::Done => drop(self.remove(sequence)),
            Fate::Released => {
                flight.attempt = flight.attempt.saturating_sub(1);
                self.set(sequence, State::Due);
            }
            Fate::Again(at) => self.set(sequence, State::BackingOff { until: at }),
            Fate::GivenUp(reason) => self.give_up(sequence, &reason, scene),
        }
        Ok(())
    }

    pub(super) fn extend(&mut self, handed: &Handed, by: Duration, now: Now) -> Result<()> {
        if let State::Held { token, until } = self.held_by(handed)?.state {
            let until = until.max(now.awake.saturating_add(millis(by)));
            self.set(handed.message.sequence(), State::Held { token, until });
        }
        Ok(())
    }

    /// Takes back what was held for too long, and what has waited out its pause comes again. `true` if members may have
    /// something to look at.
    pub(super) fn advance(&mut self, scene: &mut Scene<'_>) -> bool {
        let now = scene.now;
        let mut changed = false;
        while let Some((at, sequence)) = self.held.first().copied()
            && at <= now.awake
        {
            self.lapse(sequence, scene);
            changed = true;
        }
        while let Some((at, sequence)) = self.backing_off.first().copied()
            && at <= now.unix
        {
            self.set(sequence, State::Due);
            changed = true;
        }
        changed
    }

    pub(super) fn next_due(&self) -> Due {
        let first = |times: &BTreeSet<(i64, u64)>| times.first().map(|(at, _)| *at);
        Due { unix: first(&self.backing_off), awake: first(&self.held) }
    }

    /// Delivers an event anew, with nothing behind it.
    pub(super) fn requeue(&mut self, message: Message) {
        if !self.flights.contains_key(&message.sequence()) {
            self.add(message);
        }
    }

    /// Forgets everything. Tokens are never given again, so that nobody holds anything any more.
    pub(super) fn clear(&mut self) {
        *self = Self { last_token: self.last_token, ..Self::default() };
    }

    pub(super) fn describe(&self, info: &mut ConsumerInfo) {
        info.ack_floor = self.flights.first_key_value().map_or(info.delivered, |(sequence, _)| sequence - 1);
        info.num_ack_pending = self.held.len() as u64;
        info.num_backing_off = self.backing_off.len() as u64;
        let is_untried = |flight: &&Flight| flight.attempt == 0 && matches!(flight.state, State::Due);
        info.num_pending += self.flights.values().filter(is_untried).count() as u64;
        let redelivered = self.flights.values().filter(|flight| flight.was_delivered_before());
        info.num_redelivered = redelivered.count() as u64;
    }

    /// The oldest event that is not done with.
    pub(super) fn oldest(&self) -> Option<&Message> {
        self.flights.values().next().map(|flight| &flight.message)
    }

    fn lapse(&mut self, sequence: u64, scene: &mut Scene<'_>) {
        self.set(sequence, State::Due);
        let Some(flight) = self.flights.get_mut(&sequence) else {
            return;
        };
        let message = "it was not acknowledged within its ack_wait";
        flight.failures.push(Failure::new(flight.attempt, time(scene.now.unix), message));
        if flight.attempt >= scene.settings.max_deliver {
            self.give_up(sequence, "exhausted", scene);
        }
    }

    fn give_up(&mut self, sequence: u64, reason: &str, scene: &mut Scene<'_>) {
        if let Some(flight) = self.remove(sequence) {
            let Flight { message, attempt, failures, .. } = flight;
            scene.bury(&message, attempt, failures, reason);
        }
    }

    fn hand_over(&mut self, sequence: u64, until: i64) -> Option<Handed> {
        self.last_token += 1;
        let token = self.last_token;
        self.set(sequence, State::Held { token, until });
        let flight = self.flights.get_mut(&sequence)?;
        flight.attempt = flight.attempt.saturating_add(1);
        Some(Handed { message: flight.message.clone(), attempt: flight.attempt, token })
    }

    fn held_by(&mut self, handed: &Handed) -> Result<&mut Flight> {
        let sequence = handed.message.sequence();
        let flight = self.flights.get_mut(&sequence);
        let held = flight
            .filter(|flight| matches!(flight.state, State::Held { token, .. } if token == handed.token));
        held.ok_or_else(|| Error::delivery_lost(sequence))
    }

    fn add(&mut self, message: Message) {
        let sequence = message.sequence();
        let flight = Flight { message, attempt: 0, failures: Vec::new(), state: State::Due };
        self.flights.insert(sequence, flight);
        self.due.insert(sequence);
    }

    fn set(&mut self, sequence: u64, state: State) {
        let Some(flight) = self.flights.get_mut(&sequence) else {
            return;
        };
        let before = std::mem::replace(&mut flight.state, state);
        self.unlist(sequence, before);
        match state {
            State::Held { until, .. } => self.held.insert((until, sequence)),
            State::BackingOff { until } => self.backing_off.insert((until, sequence)),
            State::Due => self.due.insert(sequence),
        };
    }

    fn remove(&mut self, sequence: u64) -> Option<Flight> {
        let flight = self.flights.remove(&sequence)?;
        self.unlist(sequence, flight.state);
        Some(flight)
    }

    fn unlist(&mut self, sequence: u64, state: State) {
        match state {
            State::Held { until, .. } => self.held.remove(&(until, sequence)),
            State::BackingOff { until } => self.backing_off.remove(&(until, sequence)),
            State::Due => self.due.remove(&sequence),
        };
    }
}

impl Flight {
    fn was_delivered_before(&self) -> bool {
        match self.state {
            State::Held { .. } => self.attempt > 1,
            State::BackingOff { .. } | State::Due => self.attempt > 0,
        }
    }
}
