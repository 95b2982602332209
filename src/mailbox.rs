//! The bounded buffer between a bus and one stream: it never blocks who puts in.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::Error;
use crate::message::Message;

/// What a stream finds in its mailbox.
#[derive(Debug)]
pub(crate) enum Letter {
    Message(Message),
    /// That many messages found the mailbox full.
    Overflow(u64),
    /// The reader fell behind: what follows this sequence is in the log, and no more comes here.
    Behind(u64),
    /// Something that the stream survives.
    #[cfg_attr(not(feature = "nats"), allow(dead_code))]
    Told(Error),
    /// The stream is over because of this.
    Failed(Error),
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    letters: VecDeque<Letter>,
    bytes: usize,
    /// Nothing more will be put in; the end comes when the letters are read.
    sealed: bool,
    waker: Option<Waker>,
}

impl State {
    fn overflow(&mut self, more: u64) {
        if let Some(Letter::Overflow(dropped)) = self.letters.back_mut() {
            *dropped += more;
        } else {
            self.letters.push_back(Letter::Overflow(more));
        }
    }
}

/// What became of a message that was offered.
#[derive(Debug)]
#[must_use]
pub(crate) enum Offered {
    Taken(Option<Waker>),
    Full,
}

/// A reader's waker is foreign code, which may want a lock that the caller holds: whatever puts something in returns
/// it, to be woken when that lock is released.
impl Mailbox {
    pub(crate) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { state: Mutex::default(), max_messages, max_bytes }
    }

    /// Puts a message in, unless the mailbox is full. A sealed one takes it and drops it.
    pub(crate) fn offer(&self, message: &Message) -> Offered {
        let mut state = self.state();
        if self.put(&mut state, message) { Offered::Taken(state.waker.take()) } else { Offered::Full }
    }

    /// Puts a message in, or counts it as dropped because the mailbox is full.
    #[must_use]
    pub(crate) fn deliver(&self, message: &Message) -> Option<Waker> {
        let mut state = self.state();
        if !self.put(&mut state, message) {
            state.overflow(1);
        }
        state.waker.take()
    }

    /// Counts messages that were dropped before they came here.
    #[cfg(feature = "nats")]
    #[must_use]
    pub(crate) fn overflow(&self, dropped: u64) -> Option<Waker> {
        let mut state = self.state();
        if !state.sealed {
            state.overflow(dropped);
        }
        state.waker.take()
    }

    /// Tells the reader of something that its stream survives.
    #[cfg(feature = "nats")]
    #[must_use]
    pub(crate) fn tell(&self, error: Error) -> Option<Waker> {
        let mut state = self.state();
        if !state.sealed {
            state.letters.push_back(Letter::Told(error));
        }
        state.waker.take()
    }

    fn put(&self, state: &mut State, message: &Message) -> bool {
        if state.sealed {
            return true;
        }
        let weight = message.weight();
        let full = state.letters.len() >= self.max_messages || state.bytes + weight > self.max_bytes;
        // An empty mailbox takes anything: no message is too large to ever be delivered.
        if full && !state.letters.is_empty() {
            return false;
        }
        state.bytes += weight;
        state.letters.push_back(Letter::Message(message.clone()));
        true
    }

    /// No more comes; the reader continues from the log behind this sequence.
    #[must_use]
    pub(crate) fn fall_behind(&self, after: u64) -> Option<Waker> {
        self.seal_with(Some(Letter::Behind(after)))
    }

    /// No more comes; the stream ends with this error.
    #[must_use]
    pub(crate) fn fail(&self, error: Error) -> Option<Waker> {
        self.seal_with(Some(Letter::Failed(error)))
    }

    /// No more comes; the stream ends when what is here has been read.
    #[must_use]
    pub(crate) fn seal(&self) -> Option<Waker> {
        self.seal_with(None)
    }

    fn seal_with(&self, last: Option<Letter>) -> Option<Waker> {
        let mut state = self.state();
        if state.sealed {
            return None;
        }
        state.sealed = true;
        state.letters.extend(last);
        state.waker.take()
    }

    /// Whether its reader has taken all that was put in, and more may come.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        state.letters.is_empty() && !state.sealed
    }

    /// The next letter; `None` when it was sealed and all is read.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Letter>> {
        let mut state = self.state();
        match state.letters.pop_front() {
            Some(letter) => {
                if let Letter::Message(message) = &letter {
                    state.bytes -= message.weight();
                }
                Poll::Ready(Some(letter))
            }
            None if state.sealed => Poll::Ready(None),
            None => {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::headers::Headers;
    use crate::subject::Subject;

    fn message(sequence: u64, bytes: usize) -> Message {
        Message::new(Subject::new("a").unwrap(), Bytes::from(vec![0; bytes]), Headers::new(), sequence, 0)
    }

    fn read(mailbox: &Mailbox) -> Poll<Option<Letter>> {
        mailbox.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn takes(mailbox: &Mailbox, message: &Message) -> bool {
        matches!(mailbox.offer(message), Offered::Taken(_))
    }

    fn read_sequence(mailbox: &Mailbox) -> u64 {
        match read(mailbox) {
            Poll::Ready(Some(Letter::Message(message))) => message.sequence(),
            other => panic!("no message but {other:?}"),
        }
    }

    #[test]
    fn it_is_full_by_messages_or_by_bytes_but_takes_one_of_any_size() {
        let mailbox = Mailbox::new(2, 10);
        assert!(takes(&mailbox, &message(1, 100)));
        assert!(!takes(&mailbox, &message(2, 1)));
        assert_eq!(read_sequence(&mailbox), 1);
        assert!(takes(&mailbox, &message(2, 1)));
        assert!(takes(&mailbox, &message(3, 1)));
        assert!(!takes(&mailbox, &message(4, 1)));
    }

    #[test]
    fn an_overflow_is_told_where_it_happened() {
        let mailbox = Mailbox::new(1, 100);
        for sequence in 1..=4 {
            assert!(mailbox.deliver(&message(sequence, 1)).is_none());
        }
        assert_eq!(read_sequence(&mailbox), 1);
        assert!(matches!(read(&mailbox), Poll::Ready(Some(Letter::Overflow(3)))));
        assert!(mailbox.deliver(&message(5, 1)).is_none());
        assert_eq!(read_sequence(&mailbox), 5);
        assert!(read(&mailbox).is_pending());
    }

    #[test]
    fn a_sealed_mailbox_hands_over_what_it_has_and_ends() {
        let mailbox = Mailbox::new(8, 100);
        assert!(takes(&mailbox, &message(1, 1)));
        let _ = mailbox.seal();
        let _ = mailbox.fall_behind(9);
        assert!(takes(&mailbox, &message(2, 1)));
        assert_eq!(read_sequence(&mailbox), 1);
        assert!(matches!(read(&mailbox), Poll::Ready(None)));
    }
}
