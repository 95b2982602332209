//! `rowbus dead requeue` and `dead purge`: the two ends of a dead letter.

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

/// Make jobs of dead letters again
///
/// Each has the id and the options that it had, and is tried as often as before.
#[derive(Args)]
#[command(after_help = REQUEUE_EXAMPLES)]
pub(super) struct RequeueArgs {
    #[command(flatten)]
    which: WhichArgs,
}

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
    let count = bus.requeue(task.which).await?;
    tell("requeued", count, &task.none, status)
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
