//! `rowbus sub` of the log: what is published, from some place on.

use rowbus::{Filter, Messenger, SqliteBus, Subscribe};

use crate::failure::Result;
use crate::format::Format;
use crate::start::Start;
use crate::status::Status;
use crate::subscribe::console::{Console, Next, goes_on};
use crate::subscribe::progress::Progress;

pub(super) struct Task {
    pub(super) filter: Filter,
    pub(super) from: Start,
}

pub(super) async fn run(
    bus: &SqliteBus,
    task: Task,
    format: Format,
    mut progress: Progress,
    status: &Status,
) -> Result<()> {
    let Task { filter, from } = task;
    let mut console = Console::new()?;
    let mut subscription = bus.subscribe(Subscribe::to(&filter).from(from.0)).await?;
    status.say(&format!("streaming {filter} from {from} ({})", status.file()));
    progress.heard();
    while progress.left() > 0 {
        match console.next(subscription.next(), &progress).await? {
            Next::Item(Some(Ok(message))) => {
                if !console.out.write(|out| format.write(out, &message))? {
                    return Ok(());
                }
                progress.printed(1);
            }
            Next::Item(Some(Err(error))) => {
                console.out.flush()?;
                goes_on(error)?;
            }
            Next::Silence => return progress.silence(),
            Next::Item(None) | Next::End => break,
        }
    }
    console.out.flush().map(|_| ())
}
