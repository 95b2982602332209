//! `rowbus migrate up`.

use std::io::{self, Write};

use clap::Args;
use rowbus::sqlite::{Migration, Migrator};

use crate::failure::Result;
use crate::json;
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus migrate up --dry-run
  rowbus migrate up --db app.db
  rowbus migrate up --json | jq -r '.applied[]'";

/// Apply the migrations that the file lacks
///
/// All of them in one transaction, on the disk when this ends. The file has to be there, and may be another program's, of
/// which it gets tables whose names begin with bus_. Programs that have it open go on as far as the migrations allow it:
/// `migrate status` says who may read and write afterwards.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UpArgs {
    /// Apply them, and take it all back: what would fail does, and nothing is written
    #[arg(long)]
    dry_run: bool,

    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(migrator: &Migrator, args: &UpArgs, status: &Status) -> Result<()> {
    let applied = if args.dry_run { migrator.dry_run()? } else { migrator.up()? };
    let mut out = Output::new();
    let written = out.write(|out| match args.json {
        true => write_json(out, status.bus(), &applied, args.dry_run),
        false => applied.iter().try_for_each(|migration| writeln!(out, "{migration}")),
    })?;
    if written {
        out.flush()?;
    }
    let file = status.bus();
    let would = if args.dry_run { "would apply" } else { "applied" };
    status.say(&match applied.len() {
        0 => format!("there is nothing to migrate in {file}"),
        1 => format!("{would} 1 migration to {file}"),
        more => format!("{would} {more} migrations to {file}"),
    });
    Ok(())
}

fn write_json(out: &mut impl Write, file: &str, applied: &[&Migration], dry_run: bool) -> io::Result<()> {
    out.write_all(b"{\"file\":")?;
    json::string(out, file)?;
    write!(out, ",\"dry_run\":{dry_run},\"applied\":[")?;
    for (at, migration) in applied.iter().enumerate() {
        let separator = if at == 0 { "" } else { "," };
        write!(out, "{separator}\"{migration}\"")?;
    }
    out.write_all(b"]}\n")
}
