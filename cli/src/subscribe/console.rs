//! Between a stream and standard output: what happens next, and whether anybody still reads.

use std::future::Future;
use std::pin::Pin;

use futures_util::FutureExt;
use rowbus::{Error, ErrorKind};
use tokio::sync::oneshot;

use crate::failure::{Result, line};
use crate::signals;
use crate::stdout::{self, Output};
use crate::subscribe::progress::Progress;
use crate::wait;

const UNWRITTEN: &str = "told to stop, but what was taken could not be written to standard output";

pub(super) struct Console {
    pub(super) out: Output,
    stop: oneshot::Receiver<()>,
    reader_gone: Pin<Box<dyn Future<Output = ()>>>,
}

/// What happens next.
pub(super) enum Next<T> {
    Item(T),
    Silence,
    /// The user wants no more, or nobody reads any more.
    End,
}

impl Console {
    /// Listens for signals from here on.
    pub(super) fn new() -> Result<Self> {
        let stop = signals::stop(|| UNWRITTEN.to_owned())?;
        Ok(Self { out: Output::new(), stop, reader_gone: Box::pin(stdout::reader_gone()) })
    }

    /// Waits for what comes next; `item` loses nothing when it is dropped.
    pub(super) async fn next<T>(
        &mut self,
        item: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<Next<T>> {
        // With messages always ready, this is where a signal is noticed.
        if self.stop.try_recv().is_ok() {
            return Ok(Next::End);
        }
        tokio::pin!(item);
        if let Some(item) = item.as_mut().now_or_never() {
            return Ok(Next::Item(item));
        }
        // Whoever reads this gets what there is before it is waited for more.
        if !self.out.flush()? {
            return Ok(Next::End);
        }
        Ok(tokio::select! {
            biased;
            _ = &mut self.stop => Next::End,
            () = &mut self.reader_gone => Next::End,
            item = item => Next::Item(item),
            () = wait::until(progress.silent_at()) => Next::Silence,
        })
    }
}

/// Tells of what a stream survives; anything else is its end.
pub(super) fn goes_on(error: Error) -> Result<(), Error> {
    match error.kind() {
        ErrorKind::Gap { .. } | ErrorKind::Overflow { .. } => {
            line(&error.to_string());
            Ok(())
        }
        _ => Err(error),
    }
}
