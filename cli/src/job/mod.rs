//! `rowbus job`.

mod cancel;
pub(crate) mod reply;
mod show;

use clap::{Args, Subcommand};
use rowbus::{Messenger, SqliteBus};

use crate::failure::Result;
use crate::job::cancel::CancelArgs;
use crate::job::reply::ReplyArgs;
use crate::job::show::ShowArgs;
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

pub(crate) async fn run(bus: &SqliteBus, args: JobArgs, status: &Status) -> Result<()> {
    let bus = bus.as_durable()?;
    match args.what {
        What::Show(args) => show::run(&*bus, args).await,
        What::Cancel(args) => cancel::run(&*bus, args, status).await,
        What::Reply(args) => reply::run(&*bus, args).await,
    }
}
