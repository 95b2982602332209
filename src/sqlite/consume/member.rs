//! A member of a consumer: what it holds, and what wakes it. Its inbox polls it, the watcher and the acks tell it of changes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::error::Error;
use crate::message::Message;
use crate::service::renew_after;
use crate::sqlite::consume::place::Next;

pub(super) struct Member {
    /// Tells the members of this bus apart.
    pub(super) id: u64,
    /// The consumer's id.
    pub(super) consumer: i64,
    pub(super) name: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// There may be something to take that the log does not tell of.
    look: bool,
    /// The consumer is another than was read.
    reload: bool,
    /// The bus closes.
    closed: bool,
    /// The inbox has gone.
    pub(super) left: bool,
    /// That it has left is written down.
    pub(super) has_said_so: bool,
    /// When it was last tried to write that down.
    pub(super) said_at: Option<Instant>,
    /// For how long it leases what it takes, in milliseconds.
    pub(super) lease: i64,
    /// When it leaves: how far there was nothing for it.
    pub(super) seen: Option<Seen>,
    /// It waits for fewer deliveries to be held.
    pub(super) is_full: bool,
    waker: Option<Waker>,
    /// The revision of the consumer that was read.
    pub(super) revision: i64,
    /// Leased, and not yet handed over.
    ready: VecDeque<Ready>,
    /// What it has not handed over when it left, until it is written that it is given back.
    giving_back: Vec<(i64, i64)>,
    /// When it handed over something last, or took something, in awake milliseconds.
    moved_at: i64,
    /// All that is leased, by sequence.
    held: HashMap<u64, Held>,
    /// Of the active member of a cumulative consumer: its fencing token.
    pub(super) token: Option<i64>,
    /// The peer that has the place that this one waits for.
    pub(super) rival: Option<i64>,
    /// When what failed is tried again, in Unix milliseconds.
    pub(super) retry_at: Option<i64>,
    /// It is to go back to the first event that is not done with.
    back: bool,
    /// Why it has stopped.
    stopped: Option<Error>,
}

/// What is leased, and waits to be handed over.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) message: Message,
    pub(super) attempt: i64,
}

/// A lease; all times in awake milliseconds.
#[derive(Clone, Copy, Debug)]
struct Held {
    attempt: i64,
    until: i64,
    renew_at: i64,
    /// It is not renewed beyond; `None` until it is handed over.
    wanted_until: Option<i64>,
}

/// How far a member has seen that there is nothing more for its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The consumer as it was then.
    pub(super) revision: i64,
    /// If everything up to here is done with,
    pub(super) handed: u64,
    /// so is everything up to here.
    pub(super) through: u64,
}

/// A lease to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Renewal {
    pub(super) consumer: i64,
    pub(super) sequence: i64,
    pub(super) attempt: i64,
    pub(super) until: i64,
}

/// What an inbox is to see to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) look: bool,
    pub(super) reload: bool,
    pub(super) closed: bool,
    pub(super) back: bool,
}

impl Member {
    pub(super) fn new(id: u64, consumer: i64, name: Arc<str>, revision: i64) -> Arc<Self> {
        let state = State { look: true, revision, ..State::default() };
        Arc::new(Self { id, consumer, name, state: Mutex::new(state) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the inbox look for something to take.
    pub(super) fn look(&self) {
        self.tell(|state| state.look = true);
    }

    /// Has the inbox read the consumer anew.
    pub(super) fn reload(&self) {
        self.tell(|state| (state.reload, state.look) = (true, true));
    }

    /// Ends the inbox.
    pub(super) fn close(&self) {
        self.tell(|state| state.closed = true);
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.state();
            change(&mut state);
            state.waker.take()
        };
        // Foreign code, without the lock.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What there is to see to; whoever asks is woken by the next change.
    pub(super) fn news(&self, waker: &Waker) -> News {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        News {
            look: std::mem::take(&mut state.look),
            reload: std::mem::take(&mut state.reload),
            closed: state.closed,
            back: std::mem::take(&mut state.back),
        }
    }

    /// What follows for the active member from what was said of an event.
    pub(super) fn follow(&self, next: &Next, sequence: u64) {
        match next {
            Next::On => {}
            Next::Back(at) => self.tell(|state| {
                (state.back, state.retry_at) = (true, Some(*at));
                state.token = state.token.map(|token| token + 1);
            }),
            Next::Stopped(reason) => {
                let error = Error::consumer_stopped(&self.name, sequence, reason);
                self.tell(|state| (state.token, state.stopped) = (None, Some(error)));
            }
        }
    }

    /// Ends the inbox with this error.
    pub(super) fn fail(&self, error: &Error) {
        self.tell(|state| state.stopped = Some(error.clone()));
    }

    /// Why it has stopped, once.
    pub(super) fn take_stop(&self) -> Option<Error> {
        self.state().stopped.take()
    }

    /// What was leased to this member; `false` if it has left meanwhile and is to give it back.
    pub(super) fn received(&self, leased: &[Ready], now: i64, until: i64) -> bool {
        let waker = {
            let mut state = self.state();
            if state.left {
                return false;
            }
            if state.ready.is_empty() {
                state.moved_at = now;
            }
            for ready in leased {
                let renew_at = now.saturating_add(renew_after(until.saturating_sub(now)));
                let held = Held { attempt: ready.attempt, until, renew_at, wanted_until: None };
                state.held.insert(ready.message.sequence(), held);
                state.ready.push_back(ready.clone());
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The next delivery to hand over, which is held for `ack_wait` from now on. One whose lease has ended while the process
    /// was stopped is not: somebody else may have it.
    pub(super) fn hand_over(&self, now: i64, ack_wait: i64) -> Option<Ready> {
        let mut state = self.state();
        while let Some(ready) = state.ready.pop_front() {
            let sequence = ready.message.sequence();
            match state.held.get_mut(&sequence) {
                Some(held) if held.attempt == ready.attempt && held.until > now => {
                    held.wanted_until = Some(now.saturating_add(ack_wait));
                    state.moved_at = now;
                    return Some(ready);
                }
                Some(held) if held.attempt == ready.attempt => drop(state.held.remove(&sequence)),
                _ => {}
            }
        }
        None
    }

    /// It is no longer held here.
    pub(super) fn settled(&self, sequence: u64, attempt: i64) {
        let mut state = self.state();
        if state.held.get(&sequence).is_some_and(|held| held.attempt == attempt) {
            state.held.remove(&sequence);
        }
    }

    /// It is held until then, at least.
    pub(super) fn extended(&self, sequence: u64, attempt: i64, until: i64) {
        if let Some(held) = self.state().held.get_mut(&sequence).filter(|held| held.attempt == attempt) {
            held.until = held.until.max(until);
            held.wanted_until = held.wanted_until.map(|wanted| wanted.max(until));
        }
    }

    /// This time, or when the lease on this event ends anyhow, if that is later.
    pub(super) fn not_before(&self, sequence: u64, until: i64) -> i64 {
        self.state().held.get(&sequence).map_or(until, |held| held.until.max(until))
    }

    /// Nothing of what was leased counts any more.
    pub(super) fn forget_all(&self) {
        let mut state = self.state();
        (state.ready, state.held) = (VecDeque::new(), HashMap::new());
    }

    /// Takes out what was not handed over, for good: what it gives is the same until that is written.
    pub(super) fn take_all_ready(&self) -> Vec<(i64, i64)> {
        let ready = self.take_ready();
        let mut state = self.state();
        state.giving_back.extend(ready);
        state.giving_back.clone()
    }

    /// That it has left is written down.
    pub(super) fn has_left(&self) {
        let mut state = self.state();
        state.giving_back.clear();
        state.has_said_so = true;
    }

    /// What was not handed over for so long that others had better have it: nobody may be asking for it.
    pub(super) fn take_stuck(&self, now: i64) -> Vec<(i64, i64)> {
        {
            let state = self.state();
            if state.ready.is_empty() || now < state.moved_at.saturating_add(state.lease) {
                return Vec::new();
            }
        }
        self.take_ready()
    }

    /// Takes out what was not handed over, to give it back: sequences and attempts.
    pub(super) fn take_ready(&self) -> Vec<(i64, i64)> {
        let mut state = self.state();
        let ready = std::mem::take(&mut state.ready);
        let token = |ready: Ready| (ready.message.sequence().cast_signed(), ready.attempt);
        for ready in &ready {
            state.held.remove(&ready.message.sequence());
        }
        ready.into_iter().map(token).collect()
    }

    /// Leases to renew now, and when to ask again: in awake milliseconds. What nobody wants to be renewed is forgotten.
    pub(super) fn renewals(&self, now: i64, lease: i64) -> (Vec<Renewal>, Option<i64>) {
        let mut state = self.state();
        let (mut due, mut next) = (Vec::new(), None::<i64>);
        let consumer = self.consumer;
        state.held.retain(|sequence, held| {
            if held.until <= now || held.wanted_until.is_some_and(|wanted| wanted <= now) {
                return false;
            }
            if held.wanted_until.is_some_and(|wanted| wanted <= held.until) {
                next = Some(next.map_or(held.until, |next| next.min(held.until)));
                return true;
            }
            if held.renew_at <= now {
                let until = now.saturating_add(lease).min(held.wanted_until.unwrap_or(i64::MAX));
                let (sequence, attempt) = (sequence.cast_signed(), held.attempt);
                due.push(Renewal { consumer, sequence, attempt, until });
                held.renew_at = now.saturating_add(renew_after(lease));
            }
            next = Some(next.map_or(held.renew_at, |next| next.min(held.renew_at)));
            true
        });
        (due, next)
    }

    /// A lease was renewed.
    pub(super) fn renewed(&self, renewal: Renewal) {
        let sequence = renewal.sequence.cast_unsigned();
        if let Some(held) =
            self.state().held.get_mut(&sequence).filter(|held| held.attempt == renewal.attempt)
        {
            held.until = held.until.max(renewal.until);
        }
    }

    /// Whether time asks for nothing of it.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state();
        state.held.is_empty() && !state.left && state.rival.is_none() && state.retry_at.is_none()
    }

    pub(super) fn holds_any(&self) -> bool {
        !self.state().held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;
    use crate::subject::Subject;

    fn ready(sequence: u64) -> Ready {
        let subject = Subject::new("a").unwrap();
        Ready { message: Message::new(subject, "".into(), Headers::new(), sequence, 0), attempt: 1 }
    }

    fn member() -> Arc<Member> {
        Member::new(1, 7, "c".into(), 0)
    }

    #[test]
    fn what_waits_to_be_handed_over_is_renewed_and_then_only_for_its_ack_wait() {
        let member = member();
        assert!(member.received(&[ready(1), ready(2)], 0, 300));
        assert_eq!(member.renewals(99, 300), (vec![], Some(100)));
        let (due, next) = member.renewals(100, 300);
        assert_eq!((due.len(), due[0].until, next), (2, 400, Some(200)));
        due.into_iter().for_each(|renewal| member.renewed(renewal));
        assert_eq!(member.hand_over(150, 300).map(|ready| ready.message.sequence()), Some(1));
        let (due, _) = member.renewals(200, 300);
        let until = |sequence| due.iter().find(|due| due.sequence == sequence).map(|due| due.until);
        assert_eq!((until(1), until(2)), (Some(450), Some(500)));
        due.iter().for_each(|renewal| member.renewed(*renewal));
        // Beyond its ack_wait it is nobody's business here.
        let (due, _) = member.renewals(450, 300);
        assert_eq!(due.iter().map(|due| due.sequence).collect::<Vec<_>>(), [2]);
        assert_eq!(member.take_ready(), [(2, 1)]);
        assert!(!member.holds_any());
    }

    #[test]
    fn what_a_stopped_process_has_lost_meanwhile_is_not_handed_over() {
        let member = member();
        assert!(member.received(&[ready(1)], 0, 300));
        assert!(member.hand_over(300, 300).is_none() && !member.holds_any());
    }

    #[test]
    fn what_is_leased_to_one_that_has_left_is_given_back() {
        let member = member();
        member.state().left = true;
        assert!(!member.received(&[ready(1)], 0, 300));
    }
}
