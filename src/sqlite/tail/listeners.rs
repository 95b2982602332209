//! Who listens to the tail, and up to where everybody has been offered everything.

use std::sync::Arc;
use std::task::Waker;

use crate::error::Error;
use crate::mailbox::{Mailbox, Offered};
use crate::message::Message;
use crate::sqlite::filters::Filters;
use crate::sqlite::wake::{Interest, WakeBits};
use crate::trie::Trie;

#[derive(Default)]
pub(super) struct State {
    /// A listener under each of its filters.
    pub(super) trie: Trie<Arc<Listener>>,
    /// Of all in the trie.
    interest: Interest,
    pub(super) position: u64,
    pub(super) next_id: u64,
    /// Why there is no more to come.
    pub(super) ended: Option<Error>,
    /// Readers to wake once the lock is released: a waker is foreign code, and may drop a stream, which wants the lock.
    pub(super) wakers: Vec<Waker>,
}

pub(super) struct Listener {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) filters: Filters,
    /// It has, or does not want, what comes up to here.
    pub(super) after: u64,
}

impl State {
    pub(super) fn insert(&mut self, id: u64, listener: Listener) {
        let listener = Arc::new(listener);
        for filter in listener.filters.iter() {
            self.interest.add(filter);
            self.trie.insert(filter, id, Arc::clone(&listener));
        }
    }

    pub(super) fn remove(&mut self, filters: &Filters, id: u64) -> Option<Arc<Listener>> {
        let mut removed = None;
        for filter in filters.iter() {
            if let Some(listener) = self.trie.remove(filter, id) {
                self.interest.remove(filter);
                removed = Some(listener);
            }
        }
        removed
    }

    /// What all of them wait for.
    pub(super) fn interest(&self) -> WakeBits {
        self.interest.bits()
    }

    /// Offers events, which follow the position, to whom they concern; whether there was anybody. Who has no room leaves,
    /// and reads on from the log.
    pub(super) fn deliver(&mut self, events: &[Message]) -> bool {
        let (mut full, mut concerned) = (Vec::new(), false);
        for message in events {
            let sequence = message.sequence();
            self.trie.each_match(message.subject(), |id, listener| {
                if listener.after < sequence {
                    concerned = true;
                    match listener.mailbox.offer(message) {
                        Offered::Taken(waker) => self.wakers.extend(waker),
                        Offered::Full => {
                            self.wakers.extend(listener.mailbox.fall_behind(sequence - 1));
                            full.push((listener.filters.clone(), id));
                        }
                    }
                }
            });
            for (filters, id) in full.drain(..) {
                self.remove(&filters, id);
            }
            self.position = sequence;
        }
        concerned
    }

    pub(super) fn send_all_behind(&mut self) {
        let position = self.position;
        self.part_from_all(|listener| listener.mailbox.fall_behind(position.max(listener.after)));
    }

    pub(super) fn end(&mut self, error: Option<Error>) {
        self.part_from_all(|listener| match &error {
            Some(error) => listener.mailbox.fail(error.clone()),
            None => listener.mailbox.seal(),
        });
        self.ended.get_or_insert(error.unwrap_or_else(Error::closed));
    }

    pub(super) fn part_from_all(&mut self, part: impl Fn(&Listener) -> Option<Waker>) {
        self.trie.each(|_, listener| self.wakers.extend(part(listener)));
        (self.trie, self.interest) = (Trie::default(), Interest::default());
    }
}
