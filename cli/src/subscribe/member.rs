//! `rowbus sub --durable`: as a member of a consumer.

use std::time::Duration;

use futures_util::future::join_all;
use rowbus::{Consumer, Delivery, Error, ErrorKind, Filter, Inbox, Messenger};

use crate::failure::{Failure, Result, line};
use crate::format::Format;
use crate::signals::{STOPPED, Stop};
use crate::status::Status;
use crate::subscribe::console::{Console, Next, goes_on};
use crate::subscribe::held::Held;
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
    bus: &dyn Messenger,
    task: Task,
    format: Format,
    progress: Progress,
    stop: &Stop,
    status: &Status,
) -> Result<()> {
    let bus = bus.as_durable()?;
    let console = Console::new(stop);
    let opened = stop.unless_told(bus.consumer(task.consumer)).await;
    let not_open = |_| Failure::failed(format!("{STOPPED} before consumer {} was open", task.name));
    let mut inbox = opened.map_err(not_open)??;
    let filters: String = task.filters.iter().map(|filter| format!("{filter} ")).collect();
    let acknowledging = if task.ack { "what is written" } else { "nothing" };
    let (name, file) = (&task.name, status.bus());
    status.say(&format!("streaming {filters}as a member of {name}, acknowledging {acknowledging} ({file})"));
    let mut member = Member { console, format, progress, ack: task.ack, held: Held::default(), name };
    let ended = member.read(&mut inbox).await;
    let left = stop.in_time(async {
        member.held.give_back().await;
        inbox.leave().await
    });
    let left = left.await;
    ended?;
    Ok(left.unwrap_or(Ok(()))?)
}

struct Member<'a> {
    console: Console,
    format: Format,
    progress: Progress,
    ack: bool,
    held: Held,
    name: &'a str,
}

impl Member<'_> {
    async fn read(&mut self, inbox: &mut Inbox) -> Result<()> {
        // No more than will be written: the rest stays with the consumer.
        if self.progress.left() < u64::MAX {
            inbox.limit(self.progress.left());
        }
        self.progress.heard();
        while self.progress.left() > 0 {
            let most = usize::try_from(self.progress.left()).map_or(BATCH, |left| left.min(BATCH));
            match self.console.next(inbox.batch(most), &self.progress).await? {
                Next::Item(Ok(batch)) if batch.is_empty() => break,
                Next::Item(Ok(batch)) => {
                    if !self.pass_on(batch).await? {
                        break;
                    }
                }
                Next::Item(Err(error)) => goes_on(error).map_err(|error| explained(error, self.name))?,
                Next::Silence => return self.progress.silence(),
                Next::Stopped => break,
                Next::Closed if self.console.is_cut() && self.ack => {
                    let message = "standard output was closed before all was taken of what was acknowledged";
                    return Err(Failure::failed(message));
                }
                Next::Closed => return self.closed(None),
            }
        }
        Ok(())
    }

    /// Writes these, and only then acknowledges them; `false` if nobody reads any more.
    async fn pass_on(&mut self, batch: Vec<Delivery>) -> Result<bool> {
        match self.write(&batch) {
            Ok(true) => {}
            unwritten => {
                self.give_back(&batch).await;
                let messages = if batch.len() == 1 { "message is" } else { "messages are" };
                let given_back = format!("{} {messages} given back", batch.len());
                unwritten.map_err(|failure| failure.after(&given_back))?;
                return self.closed(Some(&given_back)).map(|()| false);
            }
        }
        self.progress.printed(batch.len() as u64);
        if !self.ack {
            self.held.add(batch);
            return Ok(true);
        }
        match Delivery::ack_all(&batch).await {
            Ok(()) => Ok(true),
            // It comes again, or another member has it, or the consumer was moved. What comes next will tell.
            Err(error) if error.kind() == ErrorKind::LeaseLost => {
                line(&format!("written, and not acknowledged: {error}"));
                Ok(true)
            }
            Err(error) => Err(explained(error, self.name)),
        }
    }

    /// What it means that nobody reads any more: who follows a stream has had enough, and the consumer keeps the rest; who asked
    /// for so many has not got them.
    fn closed(&self, given_back: Option<&str>) -> Result<()> {
        let message = match (given_back, self.progress.asked()) {
            (Some(given_back), _) => format!("standard output was closed: {given_back}"),
            (None, Some(count)) => format!("standard output was closed before {count} messages had come"),
            (None, None) => return Ok(()),
        };
        match self.progress.asked() {
            Some(_) => Err(Failure::failed(message)),
            None => {
                line(&message);
                Ok(())
            }
        }
    }

    fn write(&mut self, batch: &[Delivery]) -> Result<bool> {
        let format = self.format;
        let write =
            |delivery: &Delivery, out: &mut _| format.write_delivery(out, delivery, delivery.attempt());
        let out = &mut self.console.out;
        Ok(out.write(|out| batch.iter().try_for_each(|delivery| write(delivery, out)))? && out.flush()?)
    }

    /// Has others get at once what could not be written, and not when the time to acknowledge it is over. (A cumulative consumer
    /// goes back to it when this member leaves.)
    async fn give_back(&self, batch: &[Delivery]) {
        // What is not given back comes again as well, if later.
        join_all(batch.iter().map(give_back)).await;
    }
}

/// Gives it back without counting it, where that can be said.
async fn give_back(delivery: &Delivery) -> rowbus::Result<()> {
    match delivery.release().await {
        Err(error) if error.kind() == ErrorKind::Unsupported => delivery.nack(Duration::ZERO).await,
        released => released,
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
