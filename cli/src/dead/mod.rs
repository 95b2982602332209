//! `rowbus dead`.

mod format;
mod ls;
mod requeue;
mod show;

use clap::{Args, Subcommand};
use rowbus::Messenger;

pub(crate) use crate::dead::format::write_json;
use crate::dead::ls::LsArgs;
use crate::dead::requeue::{PurgeArgs, RequeueArgs};
use crate::dead::show::ShowArgs;
use crate::failure::Result;
use crate::status::Status;

const EXAMPLES: &str = "\
Examples:
  rowbus dead ls 'mail.>'
  rowbus dead show 17
  rowbus dead requeue --all 'mail.>'
  rowbus dead purge 17";

/// List, show, requeue and purge dead letters
///
/// A job that failed too often, or for good, becomes a dead letter, and so does an event that a consumer gave up on. It
/// stays one until it is requeued or purged. Exit code 3 if there is none.
#[derive(Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Ls(LsArgs),
    Show(ShowArgs),
    Requeue(RequeueArgs),
    Purge(PurgeArgs),
}

/// What is to be done, checked as far as that can be done without the file.
pub(crate) enum Task {
    Ls(ls::Task),
    Show(ShowArgs),
    Requeue(requeue::Task),
    Purge(requeue::Task),
}

impl DeadArgs {
    pub(crate) fn check(self) -> Result<Task> {
        Ok(match self.what {
            What::Ls(args) => Task::Ls(args.check()?),
            What::Show(args) => Task::Show(args),
            What::Requeue(args) => Task::Requeue(args.check()?),
            What::Purge(args) => Task::Purge(args.check()?),
        })
    }
}

pub(crate) async fn run(bus: &dyn Messenger, task: Task, status: &Status) -> Result<()> {
    let bus = bus.as_durable()?;
    match task {
        Task::Ls(task) => ls::run(&*bus, task).await,
        Task::Show(args) => show::run(&*bus, args).await,
        Task::Requeue(task) => requeue::requeue(&*bus, task, status).await,
        Task::Purge(task) => requeue::purge(&*bus, task, status).await,
    }
}
