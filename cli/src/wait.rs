//! How long something is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// The value of a `--wait` that needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    For(Duration),
    Ever,
}

impl Wait {
    /// From the command line, where the option may stand alone.
    pub(crate) fn of(argument: Option<Option<Duration>>) -> Option<Self> {
        argument.map(|time| time.map_or(Self::Ever, Self::For))
    }

    /// When there will have been enough of it.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            // A time that cannot be counted is never.
            Self::For(time) => Instant::now().checked_add(time),
            Self::Ever => None,
        }
    }
}

/// Returns at this time; never if there is none.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
