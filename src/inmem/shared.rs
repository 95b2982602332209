//! What all handles and streams of one bus share: one lock, under which events get their order.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::clock::Clock;
use crate::defaults::STREAM_BUFFER_BYTES;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::inmem::dedup::Dedup;
use crate::inmem::log::Log;
use crate::inmem::reader::Reader;
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::publish::{PubAck, PublishParts};
use crate::subject::Subject;
use crate::subscribe::SubscribeParts;
use crate::trie::Trie;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    max_payload: usize,
    incarnation: String,
}

#[derive(Debug)]
struct State {
    log: Log,
    dedup: Dedup,
    listeners: Trie<Arc<Mailbox>>,
    next_listener: u64,
    /// No stream begins any more, and those that were have ended.
    ending: bool,
    closed: bool,
}

/// What becomes of a message that nothing speaks against.
enum Verdict {
    Publish,
    /// Of the event with this sequence.
    Duplicate(u64),
}

/// What a batch will have changed when its first messages are in the log.
#[derive(Default)]
struct Pending<'a> {
    next: u64,
    newest: HashMap<&'a str, u64>,
    ids: HashMap<&'a str, u64>,
}

impl Shared {
    pub(super) fn new(log: Log, dedup: Dedup, clock: Arc<dyn Clock>, max_payload: usize) -> Self {
        let state =
            State { log, dedup, listeners: Trie::default(), next_listener: 0, ending: false, closed: false };
        let incarnation = uuid::Uuid::new_v4().to_string();
        Self { state: Mutex::new(state), clock, max_payload, incarnation }
    }

    pub(super) fn incarnation(&self) -> &str {
        &self.incarnation
    }

    pub(super) fn send(&self, parts: PublishParts) -> Result<PubAck> {
        parts.check_size(self.max_payload)?;
        let mut wakers = Vec::new();
        let mut state = self.open_state()?;
        let now = self.clock.unix_millis();
        state.dedup.advance(now);
        let ack = match state.judge(&parts, &Pending::default())? {
            Verdict::Publish => state.publish(parts, now, &mut wakers),
            Verdict::Duplicate(sequence) => PubAck::new(sequence, true),
        };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Ok(ack)
    }

    pub(super) fn send_all(&self, batch: Vec<PublishParts>) -> Result<Vec<PubAck>> {
        batch.iter().try_for_each(|parts| parts.check_size(self.max_payload))?;
        let mut wakers = Vec::new();
        let mut state = self.open_state()?;
        let now = self.clock.unix_millis();
        state.dedup.advance(now);
        let verdicts = state.judge_all(&batch)?;
        let acks = batch.into_iter().zip(verdicts).map(|(parts, verdict)| match verdict {
            Verdict::Publish => state.publish(parts, now, &mut wakers),
            Verdict::Duplicate(sequence) => PubAck::new(sequence, true),
        });
        let acks = acks.collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Ok(acks)
    }

    /// The backlog is taken and the listener added under one lock: nothing is missed between them, nor comes
    /// twice.
    pub(super) fn subscribe(self: &Arc<Self>, parts: SubscribeParts) -> Result<Reader> {
        parts.check_incarnation(&self.incarnation)?;
        let SubscribeParts { filter, start, buffer, .. } = parts;
        let mut state = self.open_state()?;
        if state.ending {
            return Err(Error::closed());
        }
        let backlog = state.log.backlog(start, &filter)?;
        let mailbox = Arc::new(Mailbox::new(buffer, STREAM_BUFFER_BYTES));
        let id = state.next_listener;
        state.next_listener += 1;
        state.listeners.insert(&filter, id, Arc::clone(&mailbox));
        drop(state);
        Ok(Reader::new(Arc::clone(self), filter, id, backlog, mailbox))
    }

    pub(super) fn last(&self, subject: &Subject) -> Result<Option<Message>> {
        Ok(self.open_state()?.log.last(subject).cloned())
    }

    /// Has a look at the log. Nothing else may be locked within.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.state().log)
    }

    pub(super) fn forget_through(&self, sequence: u64) {
        self.state().log.forget_through(sequence);
    }

    pub(super) fn close(&self) {
        self.end_streams();
        let mut state = self.state();
        state.closed = true;
        state.log.forget_through(u64::MAX);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Ends every stream; publishing goes on, for handlers that still finish.
    pub(super) fn end_streams(&self) {
        let mut state = self.state();
        state.ending = true;
        let listeners = mem::take(&mut state.listeners);
        drop(state);
        listeners.each(|_, mailbox| mailbox.seal().into_iter().for_each(Waker::wake));
    }

    /// Takes a listener out, if it still is there; [`Closed`](ErrorKind::Closed) where the bus is.
    pub(super) fn leave(&self, filter: &Filter, id: u64) -> Result<()> {
        self.open_state()?.listeners.remove(filter, id);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.state().listeners.len()
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.closed { Err(Error::closed()) } else { Ok(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Only a clock is foreign code under this lock, and it is asked before anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn judge_all(&self, batch: &[PublishParts]) -> Result<Vec<Verdict>> {
        let mut pending = Pending { next: self.log.next_sequence(), ..Pending::default() };
        let mut verdicts = Vec::with_capacity(batch.len());
        for parts in batch {
            let verdict = self.judge(parts, &pending)?;
            if let Verdict::Publish = verdict {
                pending.newest.insert(&parts.subject, pending.next);
                pending.ids.extend(parts.message_id.as_deref().map(|id| (id, pending.next)));
                pending.next += 1;
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    /// A duplicate is one whatever it expects: its publisher repeats what was published when the expectation
    /// held.
    fn judge(&self, parts: &PublishParts, pending: &Pending<'_>) -> Result<Verdict> {
        if let Some(id) = parts.message_id.as_deref()
            && let Some(sequence) = pending.ids.get(id).copied().or_else(|| self.dedup.find(id))
        {
            return Ok(Verdict::Duplicate(sequence));
        }
        if let Some(expected) = parts.expect_last {
            let newest = pending.newest.get(parts.subject.as_str()).copied();
            let actual = newest.unwrap_or_else(|| self.log.newest_sequence(&parts.subject));
            if actual != expected {
                return Err(Error::wrong_sequence(&parts.subject, expected, actual));
            }
        }
        Ok(Verdict::Publish)
    }

    fn publish(&mut self, parts: PublishParts, now: i64, wakers: &mut Vec<Waker>) -> PubAck {
        let sequence = self.log.next_sequence();
        if let Some(id) = parts.message_id.as_deref() {
            self.dedup.remember(id, sequence);
        }
        let message = self.log.push(parts, now);
        self.listeners.each_match(message.subject(), |_, mailbox| wakers.extend(mailbox.deliver(&message)));
        PubAck::new(sequence, false)
    }
}
