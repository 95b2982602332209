//! `rowbus sub --durable`: as a member of a consumer.

use std::time::Duration;

use futures_util::future::join_all;
use rowbus::{AckPolicy, Consumer, Delivery, Durable, Error, ErrorKind, Filter, Inbox, Messenger, SqliteBus};

use crate::failure::{Failure, Result, line};
use crate::format::Format;
use crate::status::Status;
use crate::subscribe::console::{Console, Next, goes_on};
use crate::subscribe::progress::Progress;

/// Deliveries written and acknowledged together: enough to share a commit, and few to come again if all goes dark.
const BATCH: usize = 100;

pub(super) struct Task {
    pub(super) name: String,
    /// Those that were given, of which an existing consumer needs none.
    pub(super) filters: Vec<Filter>,
    pub(super) consumer: Consumer,
    pub(super) ack: bool,
}

pub(super) async fn run(
    bus: &SqliteBus,
    task: Task,
    format: Format,
    progress: Progress,
    status: &Status,
) -> Result<()> {
    let bus = bus.as_durable()?;
    let console = Console::new()?;
    let mut inbox = bus.consumer(task.consumer).await?;
    let filters: String = task.filters.iter().map(|filter| format!("{filter} ")).collect();
    let acknowledging = if task.ack { "what is written" } else { "nothing" };
    let (name, file) = (&task.name, status.file());
    status.say(&format!("streaming {filters}as a member of {name}, acknowledging {acknowledging} ({file})"));
    let mut member = Member { bus: &*bus, console, format, progress, ack: task.ack, name };
    let ended = member.read(&mut inbox).await;
    let left = inbox.leave().await;
    ended?;
    Ok(left?)
}

struct Member<'a> {
    bus: &'a dyn Durable,
    console: Console,
    format: Format,
    progress: Progress,
    ack: bool,
    name: &'a str,
}

impl Member<'_> {
    async fn read(&mut self, inbox: &mut Inbox) -> Result<()> {
        self.progress.heard();
        while self.progress.left() > 0 {
            // No more than will be written: the rest stays with the consumer.
            let most = usize::try_from(self.progress.left()).map_or(BATCH, |left| left.min(BATCH));
            match self.console.next(inbox.batch(most), &self.progress).await? {
                Next::Item(Ok(batch)) if batch.is_empty() => break,
                Next::Item(Ok(batch)) => {
                    if !self.pass_on(&batch).await? {
                        break;
                    }
                }
                Next::Item(Err(error)) => goes_on(error).map_err(|error| explained(error, self.name))?,
                Next::Silence => return self.progress.silence(),
                Next::End => break,
            }
        }
        Ok(())
    }

    /// Writes these, and only then acknowledges them; `false` if nobody reads any more.
    async fn pass_on(&mut self, batch: &[Delivery]) -> Result<bool> {
        match self.write(batch) {
            Ok(true) => {}
            unwritten => {
                self.give_back(batch).await;
                return unwritten;
            }
        }
        self.progress.printed(batch.len() as u64);
        if !self.ack {
            return Ok(true);
        }
        match Delivery::ack_all(batch).await {
            Ok(()) => Ok(true),
            // It comes again, or another member has it, or the consumer was moved. What comes next will tell.
            Err(error) if error.kind() == ErrorKind::LeaseLost => {
                line(&format!("written, and not acknowledged: {error}"));
                Ok(true)
            }
            Err(error) => Err(explained(error, self.name)),
        }
    }

    fn write(&mut self, batch: &[Delivery]) -> Result<bool> {
        let format = self.format;
        let write =
            |delivery: &Delivery, out: &mut _| format.write_delivery(out, delivery, delivery.attempt());
        let out = &mut self.console.out;
        Ok(out.write(|out| batch.iter().try_for_each(|delivery| write(delivery, out)))? && out.flush()?)
    }

    /// Has others get at once what could not be written, and not when the time to acknowledge it is over.
    async fn give_back(&self, batch: &[Delivery]) {
        let info = self.bus.consumer_info(self.name).await;
        // A cumulative consumer goes back to it by itself; to be told would count as a failure of the message.
        if info.is_ok_and(|info| info.settings.ack_policy == AckPolicy::Explicit) {
            // What is not given back comes again as well, if later.
            join_all(batch.iter().map(|delivery| delivery.nack(Duration::ZERO))).await;
        }
    }
}

/// Why the consumer's messages end, in the words of this command.
fn explained(error: Error, name: &str) -> Failure {
    match error.kind() {
        ErrorKind::ConsumerStopped { .. } => {
            Failure::failed(format!("{error} (rowbus consumer resume {name})"))
        }
        ErrorKind::CursorAhead { .. } => {
            Failure::failed(format!("{error} (rowbus consumer seek {name} START moves it)"))
        }
        // It was there when this began, so it is no case of nothing there.
        ErrorKind::NotFound => Failure::failed(error.to_string()),
        _ => error.into(),
    }
}
