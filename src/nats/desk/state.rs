//! The requests that wait for a place, and those that handlers have.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::defaults::{MEMORY_LOG, MEMORY_LOG_BYTES};
use crate::message::Message;
use crate::nats::desk::answer::Caller;
use crate::service::{Claimed, Ticket, Traits};

#[derive(Default)]
pub(super) struct State {
    waiting: VecDeque<Asked>,
    waiting_bytes: usize,
    pub(super) held: HashMap<u64, Held>,
    /// When what is due, in awake milliseconds; a call may be in it twice, or be over.
    due: BTreeSet<(i64, u64)>,
    pub(super) leaving: bool,
    pub(super) over: bool,
}

/// A request that waits for a place.
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) id: Arc<str>,
    pub(super) message: Message,
    pub(super) caller: Caller,
    pub(super) attempt: i64,
    /// In awake milliseconds.
    pub(super) deadline: i64,
}

/// A request that a handler has.
pub(super) struct Held {
    pub(super) caller: Caller,
    pub(super) attempt: i64,
    /// What its caller waits for, in awake milliseconds.
    pub(super) deadline: i64,
    /// How long its handler may run.
    pub(super) run_until: i64,
}

impl State {
    /// Takes nothing any more; what has not begun.
    pub(super) fn leave(&mut self) -> VecDeque<Asked> {
        self.leaving = true;
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Whether it was taken in.
    pub(super) fn enqueue(&mut self, asked: Asked) -> bool {
        let weight = asked.message.weight();
        let full = self.waiting.len() >= MEMORY_LOG || self.waiting_bytes + weight > MEMORY_LOG_BYTES;
        if self.leaving || full {
            return false;
        }
        if asked.deadline < i64::MAX {
            self.due.insert((asked.deadline, asked.number));
        }
        self.waiting_bytes += weight;
        self.waiting.push_back(asked);
        true
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Forgets a request; its attempt, if a handler has it.
    pub(super) fn remove(&mut self, number: u64) -> Option<i64> {
        if let Some(at) = self.waiting.iter().position(|asked| asked.number == number)
            && let Some(asked) = self.waiting.remove(at)
        {
            self.waiting_bytes -= asked.message.weight();
        }
        self.held.remove(&number).map(|held| held.attempt)
    }

    /// When something is due next, in awake milliseconds.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is due, and was not given more time.
    pub(super) fn take_due(&mut self, now: i64) -> Vec<u64> {
        let mut over = Vec::new();
        while let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, number));
            match self.held.get(&number).map(Held::due) {
                // It was given more time.
                Some(due) if due > now => drop(self.due.insert((due, number))),
                _ => over.push(number),
            }
        }
        over
    }

    /// Takes what has a place, and drops what comes too late. Tells whether something is due earlier than it was.
    pub(super) fn claim(&mut self, now: i64, max_run: i64, most: usize) -> (Vec<Claimed>, bool) {
        let mut claimed = Vec::new();
        let due_before = self.due.first().copied();
        while claimed.len() < most
            && let Some(asked) = self.waiting.pop_front()
        {
            self.waiting_bytes -= asked.message.weight();
            if asked.deadline <= now {
                // It is in what is due, which ends it.
                continue;
            }
            let run_until = now.saturating_add(max_run);
            let held =
                Held { caller: asked.caller, attempt: asked.attempt, deadline: asked.deadline, run_until };
            self.due.insert((held.due(), asked.number));
            self.held.insert(asked.number, held);
            claimed.push(Claimed {
                ticket: ticket(asked.number, asked.attempt),
                id: asked.id,
                message: asked.message,
                taken_at: now,
                // It is held as long as the connection lasts.
                lease: i64::MAX,
                traits: Traits { is_request: true, ..Traits::default() },
            });
        }
        let earlier = self.due.first() != due_before.as_ref();
        (claimed, earlier)
    }
}

impl Held {
    fn due(&self) -> i64 {
        self.deadline.min(self.run_until)
    }
}

pub(super) fn ticket(number: u64, attempt: i64) -> Ticket {
    Ticket { sequence: i64::try_from(number).unwrap_or(i64::MAX), attempt }
}
