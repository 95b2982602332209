//! How much was printed, and when that is enough.

use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Failure, Result};

pub(super) struct Progress {
    /// Of what there is none, as in "on orders.>".
    of: String,
    count: Option<u64>,
    wait: Option<Duration>,
    printed: u64,
    /// When there will have been silence for too long.
    silent_at: Option<Instant>,
}

impl Progress {
    pub(super) fn new(of: String, count: Option<u64>, wait: Option<Duration>) -> Self {
        Self { of, count, wait, printed: 0, silent_at: None }
    }

    /// Silence counts from here, or from here again.
    pub(super) fn heard(&mut self) {
        self.silent_at = self.wait.and_then(|wait| Instant::now().checked_add(wait));
    }

    pub(super) fn printed(&mut self, messages: u64) {
        self.printed += messages;
        self.heard();
    }

    /// How many were asked for, if that was said.
    pub(super) fn asked(&self) -> Option<u64> {
        self.count
    }

    /// How many are still to be printed.
    pub(super) fn left(&self) -> u64 {
        self.count.map_or(u64::MAX, |count| count.saturating_sub(self.printed))
    }

    pub(super) fn silent_at(&self) -> Option<Instant> {
        self.silent_at
    }

    /// What it means that nothing came for as long as was to be waited.
    pub(super) fn silence(&self) -> Result<()> {
        let (of, wait) = (&self.of, self.wait.unwrap_or_default());
        match (self.printed, self.count) {
            (0, _) => Err(Failure::nothing_there(format!("no message {of} within {wait:?}"))),
            (printed, Some(count)) => {
                let message = format!("{printed} of {count} messages {of}, and no more within {wait:?}");
                Err(Failure::nothing_there(message))
            }
            (_, None) => Ok(()),
        }
    }
}
