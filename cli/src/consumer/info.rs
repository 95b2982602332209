//! `rowbus consumer info`.

use clap::Args;
use rowbus::Durable;

use crate::consumer::format::{write_for_people, write_json};
use crate::failure::Result;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus consumer info mailer
  rowbus consumer info mailer --json | jq '[.num_pending, .lag_ms]'";

/// Show how a consumer fares, and what it is set to
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InfoArgs {
    /// The name of the consumer
    name: String,

    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(bus: &dyn Durable, args: InfoArgs) -> Result<()> {
    let info = bus.consumer_info(&args.name).await?;
    let mut out = Output::new();
    let written =
        out.write(|out| if args.json { write_json(out, &info) } else { write_for_people(out, &info) })?;
    if written {
        out.flush()?;
    }
    Ok(())
}
