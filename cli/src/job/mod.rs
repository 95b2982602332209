//! `rowbus job`.

mod cancel;
pub(crate) mod reply;
mod show;

use clap::{Args, Subcommand};
use rowbus::Messenger;

use crate::failure::{Failure, Result};
use crate::job::cancel::CancelArgs;
use crate::job::reply::ReplyArgs;
use crate::job::show::ShowArgs;
use crate::signals::Stop;
use crate::status::Status;

const EXAMPLES: &str = "\
Examples:
  id=$(rowbus enqueue mail.send 'to: ada')
  rowbus job show \"$id\"
  rowbus job reply \"$id\" --wait 10m
  rowbus job cancel \"$id\"";

/// Look at a job, wait for its reply, cancel it
///
/// A job is known by the id that `rowbus enqueue` wrote, until its reply is no longer kept. Exit code 3 if there is none.
#[derive(Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Show(ShowArgs),
    Cancel(CancelArgs),
    Reply(ReplyArgs),
}

pub(crate) async fn run(bus: &dyn Messenger, args: JobArgs, stop: &Stop, status: &Status) -> Result<()> {
    let bus = bus.as_durable()?;
    let able = bus.capabilities();
    match args.what {
        What::Show(_) if !able.job_info => Err(untold("how a job fares")),
        What::Show(args) => stop.unless_told(show::run(&*bus, args)).await?,
        What::Cancel(_) if !able.job_cancellation => Err(untold("cancelling a job")),
        What::Cancel(args) => stop.unless_told(cancel::run(&*bus, args, status)).await?,
        What::Reply(args) if !able.job_info && !args.waits() => {
            Err(untold("whether a job has its reply yet"))
        }
        What::Reply(args) => reply::run(&*bus, args, stop).await,
    }
}

/// What a server has no means for, and what can be done.
fn untold(what: &str) -> Failure {
    Failure::usage(format!(
        "{what}: JetStream has no means for it; `rowbus job reply ID --wait` waits for the reply, and has it at once if the job is done"
    ))
}
