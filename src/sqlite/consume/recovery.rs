//! What is done about a step that could not be taken.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::future::BoxFuture;
use crate::sqlite::consume::seat::Seat;

/// Pauses between tries, longer each time.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    tries: u32,
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Recovery {
    /// The pause before the next try; the error if it would be of no use.
    pub(super) fn pause(&mut self, seat: &Seat, error: Error) -> Result<BoxFuture<'static, ()>, Error> {
        if is_last(&error) {
            return Err(error);
        }
        tracing::warn!(%error, consumer = %seat.member.name, "a consumer could not go on; it tries again");
        let pause = SHORTEST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        Ok(seat.pause(pause))
    }

    /// A step was taken.
    pub(super) fn done(&mut self) {
        self.tries = 0;
    }
}

/// Whether no later try can succeed.
fn is_last(error: &Error) -> bool {
    error.is_final() || matches!(error.kind(), ErrorKind::CursorAhead { .. } | ErrorKind::NotFound)
}
