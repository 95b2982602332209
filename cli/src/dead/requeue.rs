//! `rowbus dead requeue` and `dead purge`: the two ends of a dead letter.

use chrono::Utc;
use clap::Args;
use rowbus::{Dead, Durable, Filter};

use crate::failure::{Failure, Result};
use crate::status::Status;

const REQUEUE_EXAMPLES: &str = "\
Examples:
  rowbus dead requeue 17
  rowbus dead requeue --all 'mail.>'";

const PURGE_EXAMPLES: &str = "\
Examples:
  rowbus dead purge 17
  rowbus dead purge --all 'mail.>' --yes";

/// Have dead letters tried again
///
/// A job has the id and the options that it had, and is tried as often as before. An event is delivered anew to the consumer
/// that gave it up, and to no other reader; its letter stays if the log has the event no more, if the consumer was
/// deleted, or if it is cumulative and so has gone on behind it. Exit code 1 if nothing but such letters was found.
#[derive(Args)]
#[command(after_help = REQUEUE_EXAMPLES)]
pub(super) struct RequeueArgs {
    #[command(flatten)]
    which: WhichArgs,
}

/// Why the letter of an event is not requeued.
const STAYS: &str =
    "the event or its consumer is gone, or the consumer is cumulative and has gone on behind it";

/// Remove dead letters for good
#[derive(Args)]
#[command(after_help = PURGE_EXAMPLES)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// Yes, all that --all names
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// Its id, as `dead ls` lists it
    id: Option<u64>,

    /// All of these subjects, as in mail.>
    #[arg(long, value_name = "FILTER")]
    all: Option<String>,
}

/// Which dead letters, and what is said if there are none.
pub(crate) struct Task {
    which: Dead,
    none: String,
}

impl WhichArgs {
    fn check(self) -> Result<Task> {
        let (which, none) = match (self.id, self.all) {
            (_, Some(filter)) => {
                let filter = Filter::new(&filter)?;
                let none = format!("no dead letters on {filter}");
                (Dead::Of(filter), none)
            }
            (Some(id), None) => (Dead::Letter(id), format!("no dead letter {id}")),
            (None, None) => return Err(Failure::usage("give an id, or a filter with --all")),
        };
        Ok(Task { which, none })
    }
}

impl RequeueArgs {
    pub(super) fn check(self) -> Result<Task> {
        self.which.check()
    }
}

impl PurgeArgs {
    pub(super) fn check(self) -> Result<Task> {
        let task = self.which.check()?;
        match &task.which {
            Dead::Of(filter) if !self.yes => {
                Err(Failure::usage(format!("all dead letters on {filter} would be gone for good; say --yes")))
            }
            _ => Ok(task),
        }
    }
}

pub(super) async fn requeue(bus: &dyn Durable, task: Task, status: &Status) -> Result<()> {
    let begun = Utc::now();
    let count = bus.requeue(task.which.clone()).await?;
    let Dead::Of(filter) = task.which else { return tell("requeued", count, &task.none, status) };
    // Letters of events may have stayed, which a count does not tell; what has died again meanwhile is none of them.
    let oldest = bus.dead_letters(Dead::Of(filter.clone()), 0, 1).await?;
    let others = oldest.first().is_some_and(|letter| letter.died_at < begun);
    if count == 0 && others {
        let message = format!("no dead letter on {filter} can be requeued: {STAYS}");
        return Err(Failure::failed(message));
    }
    tell("requeued", count, &task.none, status)?;
    if others {
        status.say(&format!("others on {filter} are still there: {STAYS}"));
    }
    Ok(())
}

pub(super) async fn purge(bus: &dyn Durable, task: Task, status: &Status) -> Result<()> {
    let count = bus.purge(task.which).await?;
    tell("purged", count, &task.none, status)
}

fn tell(done: &str, count: u64, none: &str, status: &Status) -> Result<()> {
    match count {
        0 => return Err(Failure::nothing_there(none)),
        1 => status.say(&format!("{done} 1 dead letter")),
        _ => status.say(&format!("{done} {count} dead letters")),
    }
    Ok(())
}
