//! `rowbus consumer seek`, `rm`, `pause` and `resume`: what changes a consumer that is there.

use clap::Args;
use rowbus::Durable;

use crate::failure::Result;
use crate::start::Start;
use crate::status::Status;

const SEEK_EXAMPLES: &str = "\
Examples:
  rowbus consumer seek indexer oldest
  rowbus consumer seek mailer 2h
  rowbus consumer seek mailer 2026-11-23T07:05:00Z
  rowbus consumer seek mailer 17";

/// Move a consumer, forward or back
///
/// What its members hold is theirs no more, and what waits to come again is forgotten. A consumer that had stopped goes on.
#[derive(Args)]
#[command(after_help = SEEK_EXAMPLES)]
pub(super) struct SeekArgs {
    /// The name of the consumer
    name: String,

    /// Where it is to go on: new, oldest, last (of each subject), a sequence, a time, or an age (10m, 2h, 7d)
    start: Start,
}

#[derive(Args)]
pub(super) struct NameArgs {
    /// The name of the consumer
    name: String,
}

pub(super) async fn seek(bus: &dyn Durable, args: SeekArgs, status: &Status) -> Result<()> {
    bus.seek_consumer(&args.name, args.start.0).await?;
    status.say(&format!("consumer {} goes on from {}", args.name, args.start));
    Ok(())
}

pub(super) async fn rm(bus: &dyn Durable, args: NameArgs, status: &Status) -> Result<()> {
    bus.delete_consumer(&args.name).await?;
    status.say(&format!("removed consumer {}", args.name));
    Ok(())
}

pub(super) async fn pause(bus: &dyn Durable, args: NameArgs, status: &Status) -> Result<()> {
    bus.pause_consumer(&args.name).await?;
    status.say(&format!("paused consumer {}", args.name));
    Ok(())
}

pub(super) async fn resume(bus: &dyn Durable, args: NameArgs, status: &Status) -> Result<()> {
    bus.resume_consumer(&args.name).await?;
    status.say(&format!("resumed consumer {}", args.name));
    Ok(())
}
