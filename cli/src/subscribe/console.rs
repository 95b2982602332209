//! Between a stream and standard output: what happens next, and whether anybody still reads.

use std::future::Future;
use std::pin::Pin;

use futures_util::FutureExt;
use rowbus::{Error, ErrorKind};

use crate::failure::{Result, line};
use crate::signals::Stop;
use crate::stdout::{self, Output};
use crate::subscribe::progress::Progress;
use crate::wait;

const UNWRITTEN: &str = "told to stop, but what was taken could not be written to standard output";

pub(super) struct Console {
    pub(super) out: Output,
    stop: Stop,
    reader_gone: Pin<Box<dyn Future<Output = ()>>>,
    is_left: bool,
}

/// What happens next.
pub(super) enum Next<T> {
    Item(T),
    Silence,
    /// The user wants no more.
    Stopped,
    /// Nobody reads any more.
    Closed,
}

impl Console {
    pub(super) fn new(stop: &Stop) -> Self {
        stop.or_leave(|| UNWRITTEN.to_owned());
        let stop = stop.clone();
        Self { out: Output::new(), stop, reader_gone: Box::pin(stdout::reader_gone()), is_left: false }
    }

    /// Whether the reader has gone without all that was written for it.
    pub(super) fn is_cut(&self) -> bool {
        self.is_left || self.out.is_cut()
    }

    /// Waits for what comes next; `item` loses nothing when it is dropped.
    pub(super) async fn next<T>(
        &mut self,
        item: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<Next<T>> {
        // With messages always ready, this is where a signal is noticed.
        if self.stop.is_told() {
            return Ok(Next::Stopped);
        }
        tokio::pin!(item);
        if let Some(item) = item.as_mut().now_or_never() {
            return Ok(Next::Item(item));
        }
        // Whoever reads this gets what there is before it is waited for more.
        if !self.out.flush()? {
            return Ok(Next::Closed);
        }
        Ok(tokio::select! {
            biased;
            () = self.stop.told() => Next::Stopped,
            () = &mut self.reader_gone => {
                self.is_left = stdout::is_left_in_pipe();
                Next::Closed
            }
            item = item => Next::Item(item),
            () = wait::until(progress.silent_at()) => Next::Silence,
        })
    }
}

/// Tells of what a stream survives; anything else is its end.
pub(super) fn goes_on(error: Error) -> Result<(), Error> {
    match error.kind() {
        ErrorKind::Gap { .. } | ErrorKind::Overflow { .. } | ErrorKind::Disconnected => {
            line(&error.to_string());
            Ok(())
        }
        _ => Err(error),
    }
}
