//! Ring and wait: how a sleeper is sure not to miss what was committed before it slept.
//!
//! The sleeper marks what it waits for, *then* looks into the file, and then sleeps unless its bell was rung since the mark. The
//! ringer commits, *then* reads the marks. Between the two steps of each stands a fence, so that one of them always sees the
//! other: either the sleeper finds the commit, or the ringer finds the mark. `tests/loom` runs this file through all
//! interleavings of two ringers and two sleepers with two preemptions.

use super::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What one sleeper and its ringers share; a cache line, so that no two sleepers disturb each other.
///
/// It may lie in a file that anybody of the user can write: whatever it holds, nothing worse follows than a needless look
/// or a late one.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// What the sleeper waits for; 0 while it is awake. Taken out by who rings.
    waiting: AtomicU64,
    /// Counts the rings; the sleeper sleeps on it.
    bell: AtomicU32,
}

impl Slot {
    /// Marks what is waited for, and gives the count of rings to sleep on. What is committed from here on either rings
    /// or is found by a look that begins now.
    pub(crate) fn arm(&self, bits: u64) -> u32 {
        let rings = self.bell.load(Ordering::Acquire);
        self.waiting.swap(bits, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        rings
    }

    /// Takes the mark back: awake, the sleeper looks anyway.
    pub(crate) fn disarm(&self) {
        self.waiting.store(0, Ordering::Relaxed);
    }

    /// Rings if one of these is waited for; `true` if there may be a sleeper to wake on [`bell`](Self::bell). After what the
    /// sleeper is to see, and after [`committed`].
    pub(crate) fn ring(&self, bits: u64) -> bool {
        if self.waiting.load(Ordering::Relaxed) & bits == 0 {
            return false;
        }
        // Who takes a mark rings for it, even if it has become another one meanwhile.
        if self.waiting.swap(0, Ordering::AcqRel) == 0 {
            return false;
        }
        self.bell.fetch_add(1, Ordering::Release);
        true
    }

    /// The word to sleep on.
    pub(crate) fn bell(&self) -> &AtomicU32 {
        &self.bell
    }
}

/// Stands between a commit and the rings for it.
pub(crate) fn committed() {
    fence(Ordering::SeqCst);
}
