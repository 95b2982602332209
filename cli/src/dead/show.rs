//! `rowbus dead show`.

use std::io::Write;

use clap::Args;
use rowbus::{Dead, Durable};

use crate::dead::format::{write_for_people, write_json};
use crate::failure::{Failure, Result};
use crate::format::Format;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus dead show 17
  rowbus dead show 17 --raw | ./send-mail";

/// Show a dead letter with each of its failures
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// Its id, as `dead ls` lists it
    id: u64,

    /// Write one JSON object
    #[arg(long)]
    json: bool,

    /// Write the body as it is, and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

pub(super) async fn run(bus: &dyn Durable, args: ShowArgs) -> Result<()> {
    let found = bus.dead_letters(Dead::Letter(args.id), 0, 1).await?;
    let Some(letter) = found.first() else {
        return Err(Failure::nothing_there(format!("no dead letter {}", args.id)));
    };
    let mut out = Output::new();
    let written = out.write(|out| match Format::of(args.raw, args.json) {
        Format::People => write_for_people(out, letter),
        Format::Json => write_json(out, letter),
        Format::Raw | Format::Null => out.write_all(&letter.payload),
    })?;
    if written {
        out.flush()?;
    }
    Ok(())
}
