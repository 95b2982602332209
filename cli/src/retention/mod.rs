//! `rowbus retention`.

mod change;
mod format;

use clap::{Args, Subcommand};
use rowbus::{Filter, SqliteBus};

use crate::duration::written;
use crate::failure::Result;
use crate::retention::change::{DeadLettersArgs, RmArgs, SetArgs};
use crate::retention::format::{write_json, write_table};
use crate::size;
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus retention show
  rowbus retention set '>' --max-age 7d
  rowbus retention set 'sensors.>' --max-messages 100000 --max-bytes 1GiB
  rowbus retention set 'settings.>' --max-per-subject 1
  rowbus retention prune";

/// Show and set how long messages are kept, and remove what is due
///
/// Policies are in the file, and hold for every process. A message is kept as the policy with the most literal filter says,
/// compared token by token from the left. A process that has the file open removes what is due in the background.
#[derive(Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct RetentionArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Show(ShowArgs),
    Set(SetArgs),
    Rm(RmArgs),
    DeadLetters(DeadLettersArgs),
    Prune(PruneArgs),
}

const SHOW_EXAMPLES: &str = "\
Examples:
  rowbus retention show
  rowbus retention show --json | jq 'select(.filter == \">\") | .max_age_ms'";

/// Show the policies, with what was counted and removed for each
///
/// MESSAGES and BYTES are those of the last count, which a process that has the file open makes every minute or sooner.
#[derive(Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// Write one JSON object a line; the last one is of dead letters
    #[arg(long)]
    json: bool,
}

/// Remove all that is due now, and say how much it was
///
/// Rows that were removed by hand are counted no more. Where the wall clock has jumped ahead, age is judged by a clock that
/// catches up slowly, and less goes at once.
#[derive(Args)]
#[command(after_help = "Examples:\n  rowbus retention prune")]
struct PruneArgs {}

/// What is to be done, checked as far as that can be done without the file.
pub(crate) enum Task {
    Show { json: bool },
    Set(change::Set),
    Rm(Filter),
    DeadLetters(change::Keep),
    Prune,
}

impl RetentionArgs {
    pub(crate) fn check(self) -> Result<Task> {
        Ok(match self.what {
            What::Show(args) => Task::Show { json: args.json },
            What::Set(args) => Task::Set(args.check()?),
            What::Rm(args) => Task::Rm(args.check()?),
            What::DeadLetters(args) => Task::DeadLetters(args.keep),
            What::Prune(PruneArgs {}) => Task::Prune,
        })
    }
}

pub(crate) async fn run(bus: &SqliteBus, task: Task, status: &Status) -> Result<()> {
    match task {
        Task::Show { json } => show(bus, json).await,
        Task::Set(set) => set.run(bus, status).await,
        Task::Rm(filter) => {
            bus.remove_retention(&filter).await?;
            status.say(&format!("removed the policy of {filter}"));
            Ok(())
        }
        Task::DeadLetters(keep) => {
            bus.keep_dead_letters(keep.0).await?;
            status.say(&format!("dead letters are kept {keep}"));
            Ok(())
        }
        Task::Prune => prune(bus, status).await,
    }
}

async fn show(bus: &SqliteBus, json: bool) -> Result<()> {
    let (policies, dead) = (bus.retention().await?, change::Keep(bus.dead_letter_age().await?));
    let mut out = Output::new();
    let write = if json { write_json } else { write_table };
    if out.write(|out| write(out, &policies, &dead))? {
        out.flush()?;
    }
    Ok(())
}

async fn prune(bus: &SqliteBus, status: &Status) -> Result<()> {
    let pruned = bus.prune().await?;
    let messages = if pruned.events == 1 { "message" } else { "messages" };
    status.say(&format!(
        "removed {} {messages} ({}), {} dead letters, {} message ids; gave {} pages back",
        pruned.events,
        size::written(pruned.bytes),
        pruned.dead_letters,
        pruned.message_ids,
        pruned.pages
    ));
    if !pruned.clock_behind.is_zero() {
        let behind = written(pruned.clock_behind);
        status.say(&format!(
            "the wall clock has jumped ahead: age is judged by a clock that is {behind} behind and catches up"
        ));
    }
    Ok(())
}
