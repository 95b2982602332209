//! `rowbus consumer ls`.

use clap::Args;
use rowbus::Durable;

use crate::consumer::format::write_json;
use crate::consumer::table::write_table;
use crate::failure::{Failure, Result};
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus consumer ls
  rowbus consumer ls --json | jq -r 'select(.lag > 1000) | .name'";

/// List consumers and how they fare, by name
///
/// IN FLIGHT is what members hold; LAG is how many sequences the ack floor is behind the newest message, of whichever
/// subject. The state is stopped, paused, active (it has members), idle (it has none), or - where that is not known.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LsArgs {
    /// Write one JSON object a line, with all that `consumer info` shows
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(bus: &dyn Durable, args: LsArgs, status: &Status) -> Result<()> {
    let consumers = bus.consumers().await?;
    if consumers.is_empty() {
        return Err(Failure::nothing_there(format!("no consumers: {}", status.bus())));
    }
    let mut out = Output::new();
    let written = out.write(|out| match args.json {
        true => consumers.iter().try_for_each(|info| write_json(out, info)),
        false => write_table(out, &consumers),
    })?;
    if written {
        out.flush()?;
    }
    Ok(())
}
