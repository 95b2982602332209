//! `rowbus job reply`, and waiting for a job.

use std::time::Duration;

use clap::Args;
use rowbus::{Durable, JobId, Replies};

use crate::duration;
use crate::failure::{Failure, Result};
use crate::reply::{self, Cut, Printer};
use crate::signals::Stop;
use crate::wait::Wait;

const EXAMPLES: &str = "\
Examples:
  rowbus job reply 0199f1c4-5a3e-7c21-9d0b-6f4e8a7b1c2d
  rowbus job reply 0199f1c4-5a3e-7c21-9d0b-6f4e8a7b1c2d --wait 10m --parts";

/// Write the reply to a job
///
/// From whichever process, and again while it is kept. Exit code 1 if the job was given up on or cancelled, 3 if there is
/// no reply yet.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplyArgs {
    /// The id of the job
    id: String,

    /// Wait for the reply, so long at most if that is said
    #[arg(long, value_name = "DURATION", num_args = 0..=1, value_parser = duration::argument)]
    wait: Option<Option<Duration>>,

    #[command(flatten)]
    print: reply::PrintArgs,
}

impl ReplyArgs {
    pub(super) fn waits(&self) -> bool {
        self.wait.is_some()
    }
}

pub(super) async fn run(bus: &dyn Durable, args: ReplyArgs, stop: &Stop) -> Result<()> {
    let (id, wait) = (JobId::from(args.id), Wait::of(args.wait));
    if wait.is_none() {
        let state = bus.job(id.clone()).await?.state;
        if !state.is_final() {
            return Err(Failure::nothing_there(format!("no reply yet: job {id} is {state}; see --wait")));
        }
    }
    // What has ended has its replies, and is not waited for.
    let replies = bus.replies(id.clone()).await?;
    wait_for(replies, &id, wait.unwrap_or(Wait::Ever), args.print.printer(), stop).await
}

const STOPPED: &str = "told to stop before the reply had come; the job goes on";

/// Writes the replies to a job up to the final one.
pub(crate) async fn wait_for(
    replies: Replies,
    id: &JobId,
    wait: Wait,
    mut printer: Printer,
    stop: &Stop,
) -> Result<()> {
    match (printer.follow(replies, stop, wait.deadline()).await?, wait) {
        (None, _) => Ok(()),
        (Some(Cut::TimeIsUp), Wait::For(time)) => {
            Err(Failure::nothing_there(format!("no reply to job {id} within {time:?}; it goes on")))
        }
        (Some(Cut::Stopped | Cut::TimeIsUp), _) => Err(Failure::failed(STOPPED)),
    }
}
