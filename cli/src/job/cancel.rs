//! `rowbus job cancel`.

use clap::Args;
use rowbus::{Durable, JobId, JobState};

use crate::failure::{Failure, Result};
use crate::status::Status;

const EXAMPLES: &str = "\
Examples:
  rowbus job cancel 0199f1c4-5a3e-7c21-9d0b-6f4e8a7b1c2d";

/// Cancel a job
///
/// One that waits is cancelled at once. One that runs is told, and is cancelled unless it is done none the less. Exit code 3
/// if there is nothing to cancel.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CancelArgs {
    /// The id of the job
    id: String,
}

pub(super) async fn run(bus: &dyn Durable, args: CancelArgs, status: &Status) -> Result<()> {
    let id = JobId::from(args.id);
    let cancelled = bus.cancel(id.clone()).await?;
    let state = bus.job(id.clone()).await?.state;
    if !cancelled {
        return Err(Failure::nothing_there(format!("nothing to cancel: job {id} is {state}")));
    }
    match state {
        JobState::Leased => status.say(&format!("job {id} runs, and was told to end")),
        state => status.say(&format!("job {id} is {state}")),
    }
    Ok(())
}
