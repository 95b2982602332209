//! `rowbus sub` of the log: what is published, from some place on.

use rowbus::{ErrorKind, Filter, Messenger, Subscribe};

use crate::failure::{Failure, Result, line};
use crate::format::Format;
use crate::signals::Stop;
use crate::start::Start;
use crate::status::Status;
use crate::subscribe::console::{Console, Next, goes_on};
use crate::subscribe::progress::Progress;

pub(super) struct Task {
    pub(super) filter: Filter,
    pub(super) from: Start,
}

pub(super) async fn run(
    bus: &dyn Messenger,
    task: Task,
    format: Format,
    mut progress: Progress,
    stop: &Stop,
    status: &Status,
) -> Result<()> {
    let Task { filter, from } = task;
    let mut console = Console::new(stop);
    let mut subscription = stop.unless_told(bus.subscribe(Subscribe::to(&filter).from(from.0))).await??;
    status.say(&format!("streaming {filter} from {from} ({})", status.bus()));
    progress.heard();
    let (mut last, mut lost, mut is_closed) = (0, None, false);
    while progress.left() > 0 {
        match console.next(subscription.next(), &progress).await? {
            Next::Item(Some(Ok(message))) => {
                (last, lost) = (message.sequence(), None);
                if !console.out.write(|out| format.write(out, &message))? {
                    is_closed = true;
                    break;
                }
                progress.printed(1);
            }
            Next::Item(Some(Err(error))) => {
                console.out.flush()?;
                if error.kind() == ErrorKind::Disconnected {
                    lost = Some(error.clone());
                }
                goes_on(error)?;
            }
            Next::Silence => return progress.silence(),
            Next::Item(None) => {
                console.out.flush()?;
                // The line was lost for good, and not for a while.
                return lost.map_or(Ok(()), |error| Err(error.into()));
            }
            Next::Stopped => break,
            Next::Closed => {
                is_closed = true;
                break;
            }
        }
    }
    is_closed |= !console.out.flush()?;
    let cut = || {
        let through = if last > 0 { format!(", up to sequence {last}") } else { String::new() };
        format!("standard output was closed before all was taken of what was streamed{through}")
    };
    // Who follows a stream and leaves has had enough, and the log keeps the rest; who asked for so many has not got them.
    match (is_closed, progress.asked()) {
        (true, Some(_)) if console.is_cut() => Err(Failure::failed(cut())),
        (true, Some(count)) => {
            Err(Failure::failed(format!("standard output was closed before {count} messages had come")))
        }
        (true, None) if console.is_cut() => {
            line(&cut());
            Ok(())
        }
        _ => Ok(()),
    }
}
