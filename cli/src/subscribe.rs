//! `rowbus sub`.

use std::time::Duration;

use futures_util::FutureExt;
use rowbus::{Error, ErrorKind, Filter, Message, Messenger, SqliteBus, Subscribe, Subscription};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::args::SubArgs;
use crate::failure::{Failure, Result, line};
use crate::format::Format;
use crate::signals;
use crate::start::Start;
use crate::status::Status;
use crate::stdout::{self, Output};

const UNWRITTEN: &str = "told to stop, but what was taken could not be written to standard output";

/// What is to be streamed, checked as far as that can be done without the file.
pub(crate) struct Job {
    filter: Filter,
    from: Start,
    count: Option<u64>,
    wait: Option<Duration>,
    format: Format,
}

impl SubArgs {
    pub(crate) fn check(self) -> Result<Job> {
        let format = match (self.raw, self.json) {
            (true, _) => Format::Raw,
            (_, true) => Format::Json,
            _ => Format::People,
        };
        let filter = Filter::new(&self.filter)?;
        Ok(Job { filter, from: self.from, count: self.count, wait: self.wait, format })
    }
}

pub(crate) async fn run(bus: &SqliteBus, job: Job, status: &Status) -> Result<()> {
    let stop = signals::stop(|| UNWRITTEN.to_owned())?;
    let subscription = bus.subscribe(Subscribe::to(&job.filter).from(job.from.0)).await?;
    status.say(&format!("streaming {} from {} ({})", job.filter, job.from, status.file()));
    let silent_at = job.wait.map(|wait| Instant::now() + wait);
    let stream = Stream { subscription, out: Output::new(), stop, printed: 0, silent_at, job };
    stream.run().await
}

struct Stream {
    job: Job,
    subscription: Subscription,
    out: Output,
    stop: oneshot::Receiver<()>,
    printed: u64,
    /// When there will have been silence for too long.
    silent_at: Option<Instant>,
}

/// What happens next.
enum Next {
    Item(rowbus::Result<Message>),
    Silence,
    /// The user wants no more, nobody reads any more, or there is no more to come.
    End,
}

impl Stream {
    async fn run(mut self) -> Result<()> {
        let reader_gone = stdout::reader_gone();
        tokio::pin!(reader_gone);
        while self.job.count.is_none_or(|count| self.printed < count) {
            // With messages always ready, this is where a signal is noticed.
            if self.stop.try_recv().is_ok() {
                break;
            }
            let next = match self.subscription.next().now_or_never() {
                Some(item) => item.map_or(Next::End, Next::Item),
                // Whoever reads this gets what there is before it is waited for more.
                None if !self.out.flush()? => Next::End,
                None => tokio::select! {
                    biased;
                    _ = &mut self.stop => Next::End,
                    () = &mut reader_gone => Next::End,
                    item = self.subscription.next() => item.map_or(Next::End, Next::Item),
                    () = sleep_until(self.silent_at) => Next::Silence,
                },
            };
            match next {
                Next::Item(Ok(message)) => {
                    if !self.out.write(|out| self.job.format.write(out, &message))? {
                        return Ok(());
                    }
                    self.printed += 1;
                    self.silent_at = self.job.wait.map(|wait| Instant::now() + wait);
                }
                Next::Item(Err(error)) => {
                    self.out.flush()?;
                    goes_on(error)?;
                }
                Next::Silence => return self.silence(),
                Next::End => break,
            }
        }
        self.out.flush().map(|_| ())
    }

    /// Nothing came for as long as was to be waited.
    fn silence(&self) -> Result<()> {
        let wait = self.job.wait.unwrap_or_default();
        match (self.printed, self.job.count) {
            (0, _) => {
                Err(Failure::nothing_there(format!("no message on {} within {wait:?}", self.job.filter)))
            }
            (printed, Some(count)) => {
                let message = format!(
                    "{printed} of {count} messages on {}, and no more within {wait:?}",
                    self.job.filter
                );
                Err(Failure::nothing_there(message))
            }
            (_, None) => Ok(()),
        }
    }
}

/// Tells of what a stream survives; anything else is its end.
fn goes_on(error: Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Gap { .. } | ErrorKind::Overflow { .. } => {
            line(&error.to_string());
            Ok(())
        }
        _ => Err(error.into()),
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
