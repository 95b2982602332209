//! What the two halves of a bridge tell each other beside the events, and what ends them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::bridge::note::Note;
use crate::delivery::Delivery;

#[derive(Default)]
pub(super) struct Handover {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last event that is done with, and of which the file does not know yet.
    done: Option<Delivery>,
    /// What is true of the stream by now.
    note: Option<Note>,
    /// This session is to end: what is under way is waited for.
    ending: bool,
    /// The bridge is to end.
    stopping: bool,
    wakers: [Option<Waker>; 2],
}

/// Who waits.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Reader,
    Sender,
}

impl Handover {
    /// Everything up to this event is done with.
    pub(super) fn done(&self, delivery: Delivery, note: Option<Note>) {
        let waker = {
            let mut state = self.state();
            (state.done, state.note) = (Some(delivery), note);
            state.wakers[Half::Reader as usize].take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What is to be written down.
    pub(super) fn take_done(&self) -> (Option<Delivery>, Option<Note>) {
        let mut state = self.state();
        (state.done.take(), state.note.clone())
    }

    pub(super) fn has_done(&self) -> bool {
        self.state().done.is_some()
    }

    /// Has this half woken by news.
    pub(super) fn watch(&self, half: Half, cx: &Context<'_>) {
        self.state().wakers[half as usize] = Some(cx.waker().clone());
    }

    /// Forgets what another session has left.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        (state.done, state.note, state.ending) = (None, None, false);
    }

    pub(super) fn end(&self) {
        self.tell(|state| state.ending = true);
    }

    pub(super) fn stop(&self) {
        self.tell(|state| state.stopping = true);
    }

    pub(super) fn is_ending(&self) -> bool {
        let state = self.state();
        state.ending || state.stopping
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
