//! `rowbus consumer`.

mod change;
mod format;
mod info;
mod ls;
mod table;

use clap::{Args, Subcommand};
use rowbus::Messenger;

use crate::consumer::change::{NameArgs, SeekArgs};
use crate::consumer::info::InfoArgs;
use crate::consumer::ls::LsArgs;
use crate::failure::Result;
use crate::status::Status;
pub(crate) use format::write_json_object;
pub(crate) use table::write_table;

const EXAMPLES: &str = "\
Examples:
  rowbus sub 'orders.>' --durable mailer --ack
  rowbus consumer ls
  rowbus consumer info mailer --json | jq .num_pending
  rowbus consumer seek mailer 2h";

/// List, show, move, pause and remove consumers
///
/// A consumer is a named reader whose position is kept in the file; `rowbus sub --durable` makes one, or a program. Exit
/// code 3 if there is none of the name.
#[derive(Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct ConsumerArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Ls(LsArgs),
    Info(InfoArgs),
    Seek(SeekArgs),
    /// Remove a consumer with its position
    ///
    /// At once and for good; who reads from it is told. Its dead letters stay.
    #[command(after_help = "Examples:\n  rowbus consumer rm mailer")]
    Rm(NameArgs),
    /// Have nothing more delivered, to any member
    ///
    /// What was delivered can be acknowledged. It stays so until `consumer resume`, whatever is restarted.
    #[command(after_help = "Examples:\n  rowbus consumer pause mailer")]
    Pause(NameArgs),
    /// End a pause, or have a consumer that has stopped try its message again
    #[command(after_help = "Examples:\n  rowbus consumer resume mailer")]
    Resume(NameArgs),
}

pub(crate) async fn run(bus: &dyn Messenger, args: ConsumerArgs, status: &Status) -> Result<()> {
    let bus = bus.as_durable()?;
    match args.what {
        What::Ls(args) => ls::run(&*bus, args, status).await,
        What::Info(args) => info::run(&*bus, args).await,
        What::Seek(args) => change::seek(&*bus, args, status).await,
        What::Rm(args) => change::rm(&*bus, args, status).await,
        What::Pause(args) => change::pause(&*bus, args, status).await,
        What::Resume(args) => change::resume(&*bus, args, status).await,
    }
}
