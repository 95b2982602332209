//! How a bridge fares, as others may watch it.

use std::fmt;

use tokio::sync::watch;

use crate::error::Error;

/// What a bridge is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BridgeState {
    /// Another bridge of the same name works on the file; this one takes over when that one leaves or dies.
    #[default]
    StandingBy,
    /// It forwards what there is, or waits for events.
    Forwarding,
    /// It cannot forward at the moment: `last_error` says why, and it tries again.
    Waiting,
    /// It has ended.
    Stopped,
}

impl BridgeState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StandingBy => "standing by",
            Self::Forwarding => "forwarding",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for BridgeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a bridge fares; from [`Bridge::status`](crate::bridge::Bridge::status). Counters begin with the bridge, not with the file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BridgeStatus {
    /// What it is at.
    pub state: BridgeState,
    /// The stream that it forwards to, once it has found it.
    pub stream: Option<String>,
    /// Every event up to this sequence is in the stream, was refused, or does not match. The file may lag a batch behind.
    pub position: u64,
    /// Events that the stream has acknowledged to this bridge.
    pub forwarded: u64,
    /// Events that were found to be in the stream already, so that they were not sent again.
    pub found: u64,
    /// Events that the stream can never take, which are among the dead letters of the file now.
    pub refused: u64,
    /// How often events may have been removed from the file before they were forwarded.
    pub gaps: u64,
    /// The last of these: the first and the last sequence that may be missing.
    pub last_gap: Option<(u64, u64)>,
    /// How often it has looked at what the stream has: once when it begins, and after whatever went wrong.
    pub looks: u64,
    /// How often something else was stored in the stream between two events of the bridge.
    pub conflicts: u64,
    /// What went wrong last; it may be over.
    pub last_error: Option<Error>,
}

/// Where the two halves of a bridge write down how they fare.
#[derive(Debug)]
pub(super) struct Board {
    status: watch::Sender<BridgeStatus>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { status: watch::Sender::new(BridgeStatus::default()) }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut BridgeStatus)) {
        self.status.send_modify(change);
    }

    pub(super) fn get(&self) -> BridgeStatus {
        self.status.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<BridgeStatus> {
        self.status.subscribe()
    }

    /// Whether the place is this bridge's; says so where it is news.
    pub(super) fn has_place(&self, has_place: bool) {
        self.status.send_if_modified(|status| {
            let state = match (status.state, has_place) {
                (BridgeState::StandingBy, true) => BridgeState::Forwarding,
                (BridgeState::Forwarding | BridgeState::Waiting, false) => BridgeState::StandingBy,
                _ => return false,
            };
            status.state = state;
            true
        });
    }

    /// An event is done with: only that shows that it waits no longer.
    pub(super) fn goes_on(&self, change: impl FnOnce(&mut BridgeStatus)) {
        self.change(|status| {
            status.state = BridgeState::Forwarding;
            change(status);
        });
    }

    /// It cannot go on for now.
    pub(super) fn waits(&self, error: &Error) {
        let is_news = {
            let status = self.status.borrow();
            status.state != BridgeState::Waiting
                || status.last_error.as_ref().map(ToString::to_string) != Some(error.to_string())
        };
        if is_news {
            tracing::warn!(%error, "a bridge cannot forward; it tries again");
        }
        self.change(|status| {
            (status.state, status.last_error) = (BridgeState::Waiting, Some(error.clone()));
        });
    }

    /// Something may be missing.
    pub(super) fn gap(&self, first: u64, last: u64) {
        tracing::warn!(first, last, "events may have been removed before a bridge has forwarded them");
        self.change(|status| {
            status.gaps += 1;
            status.last_gap = Some((first, last));
        });
    }
}
