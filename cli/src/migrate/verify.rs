//! `rowbus migrate verify`.

use std::io::{self, Write};

use clap::Args;
use rowbus::sqlite::{MigrationState, Migrator, SchemaStatus};

use crate::failure::{Failure, Result};
use crate::json;
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus migrate verify
  rowbus migrate verify --db app.db --json || exit 1";

/// Check that the schema is this version's, and as its migrations made it
///
/// Compared are the checksums of the migrations, and each table and index of the bus with what they make in an empty file. What is
/// in the tables is not looked at: `rowbus doctor` does that. Of a file that a newer version has migrated, only the migrations that
/// this one knows are compared, which is said. Nothing is written. Exit code 1 if anything differs or is missing.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(migrator: &Migrator, args: &VerifyArgs, status: &Status) -> Result<()> {
    let verified = migrator.verify();
    if args.json {
        let mut out = Output::new();
        let outcome = verified.as_ref().map(newer).map_err(ToString::to_string);
        if out.write(|out| write_json(out, status.bus(), outcome))? {
            out.flush()?;
        }
    }
    let verified: SchemaStatus = verified.map_err(Failure::from)?;
    let (file, is, all) = (status.bus(), super::schema(verified.version()), verified.migrations.len());
    status.say(&match newer(&verified) {
        0 => format!("{file} is as its migrations made it: {is}"),
        newer => format!(
            "{file} is as its migrations made it, as far as this version knows: {} of {all} migrations, and no table or index",
            all - newer
        ),
    });
    Ok(())
}

/// How many migrations the file has that are unknown here.
fn newer(verified: &SchemaStatus) -> usize {
    verified.migrations.iter().filter(|migration| migration.state == MigrationState::Newer).count()
}

fn write_json(out: &mut impl Write, file: &str, outcome: Result<usize, String>) -> io::Result<()> {
    let (newer, problem) = (outcome.as_ref().ok(), outcome.as_ref().err());
    out.write_all(b"{\"file\":")?;
    json::string(out, file)?;
    write!(out, ",\"ok\":{},\"problem\":", problem.is_none())?;
    match problem {
        Some(problem) => json::string(out, problem)?,
        None => out.write_all(b"null")?,
    }
    write!(out, ",\"newer\":{}", newer.map_or("null".to_owned(), usize::to_string))?;
    out.write_all(b"}\n")
}
