//! `rowbus sub`.

use std::time::Duration;

use clap::Args;
use futures_util::FutureExt;
use rowbus::{Error, ErrorKind, Filter, Message, Messenger, SqliteBus, Subscribe, Subscription};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::duration;
use crate::failure::{Failure, Result, line};
use crate::format::Format;
use crate::signals;
use crate::start::Start;
use crate::status::Status;
use crate::stdout::{self, Output};
use crate::wait;

const UNWRITTEN: &str = "told to stop, but what was taken could not be written to standard output";

const EXAMPLES: &str = "\
Examples:
  rowbus sub 'orders.>'
  rowbus sub 'orders.*' --from 2h --json | jq .data
  rowbus sub orders.created --from oldest --count 1 --wait 5s --raw";

/// Stream what a filter matches
///
/// `*` stands for one token of a subject, `>` at the end for one or more.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubArgs {
    /// What to stream, as in orders.>
    pub(crate) filter: String,

    /// Where to begin: new, oldest, last (of each subject), a sequence, a time, or an age (10m, 2h, 7d)
    #[arg(long, value_name = "START", default_value = "new")]
    pub(crate) from: Start,

    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// End when no message came for this long, as in 500ms or 10s; exit with 3 if any is missing
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    pub(crate) wait: Option<Duration>,

    /// Write the bodies as they are, each followed by a newline
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,

    /// Write one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is to be streamed, checked as far as that can be done without the file.
pub(crate) struct Task {
    filter: Filter,
    from: Start,
    count: Option<u64>,
    wait: Option<Duration>,
    format: Format,
}

impl SubArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let format = Format::of(self.raw, self.json);
        let filter = Filter::new(&self.filter)?;
        Ok(Task { filter, from: self.from, count: self.count, wait: self.wait, format })
    }
}

pub(crate) async fn run(bus: &SqliteBus, task: Task, status: &Status) -> Result<()> {
    let stop = signals::stop(|| UNWRITTEN.to_owned())?;
    let subscription = bus.subscribe(Subscribe::to(&task.filter).from(task.from.0)).await?;
    status.say(&format!("streaming {} from {} ({})", task.filter, task.from, status.file()));
    let silent_at = task.wait.map(|wait| Instant::now() + wait);
    let stream = Stream { subscription, out: Output::new(), stop, printed: 0, silent_at, task };
    stream.run().await
}

struct Stream {
    task: Task,
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
        while self.task.count.is_none_or(|count| self.printed < count) {
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
                    () = wait::until(self.silent_at) => Next::Silence,
                },
            };
            match next {
                Next::Item(Ok(message)) => {
                    if !self.out.write(|out| self.task.format.write(out, &message))? {
                        return Ok(());
                    }
                    self.printed += 1;
                    self.silent_at = self.task.wait.map(|wait| Instant::now() + wait);
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
        let wait = self.task.wait.unwrap_or_default();
        match (self.printed, self.task.count) {
            (0, _) => {
                Err(Failure::nothing_there(format!("no message on {} within {wait:?}", self.task.filter)))
            }
            (printed, Some(count)) => {
                let message = format!(
                    "{printed} of {count} messages on {}, and no more within {wait:?}",
                    self.task.filter
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
