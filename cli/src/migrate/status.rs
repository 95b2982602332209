//! `rowbus migrate status`.

use std::io::{self, Write};

use clap::Args;
use rowbus::sqlite::{MigrationState, Migrator, SchemaStatus, migrations};

use crate::colour::{self, Painted};
use crate::escape::Escaped;
use crate::failure::Result;
use crate::json;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus migrate status
  rowbus migrate status --json --db app.db | jq .pending";

/// Show which migrations the file has
///
/// Nothing is written. Exit code 0 if this version can use the file, though it may have to migrate it first, else 1.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(migrator: &Migrator, args: &StatusArgs) -> Result<()> {
    let status = migrator.status()?;
    let mut out = Output::new();
    let write = if args.json { write_json } else { write_for_people };
    if out.write(|out| write(out, &status))? {
        out.flush()?;
    }
    match status.refusal {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn word(state: MigrationState) -> &'static str {
    match state {
        MigrationState::Applied => "applied",
        MigrationState::Pending => "pending",
        MigrationState::Newer => "newer",
        MigrationState::Changed => "changed",
        // States of later versions of the library.
        _ => "unknown",
    }
}

fn painted(state: MigrationState) -> Painted<&'static str> {
    match state {
        MigrationState::Applied => colour::good(word(state)),
        MigrationState::Pending | MigrationState::Newer => colour::odd(word(state)),
        _ => colour::bad(word(state)),
    }
}

fn newest_known() -> u32 {
    migrations().last().map_or(0, |newest| newest.version)
}

fn write_for_people(out: &mut impl Write, status: &SchemaStatus) -> io::Result<()> {
    let has = super::schema(status.version());
    writeln!(
        out,
        "{}: {has}; this command knows {}",
        Escaped(status.path.to_string_lossy().as_bytes()),
        newest_known()
    )?;
    if let (Some(reader), Some(writer)) = (status.min_reader, status.min_writer) {
        writeln!(out, "read by versions that know {reader}, written by those that know {writer}")?;
    }
    let head = format!("{:>7}  {:<12}  {:<7}  APPLIED ON", "VERSION", "NAME", "STATE");
    writeln!(out, "{}", colour::head(head))?;
    for migration in &status.migrations {
        let name = Escaped(migration.name.as_bytes()).to_string();
        let on = migration.applied_on.as_deref().unwrap_or("-");
        let state = painted(migration.state);
        writeln!(out, "{:>7}  {name:<12}  {state:<7}  {}", migration.version, Escaped(on.as_bytes()))?;
    }
    Ok(())
}

fn write_json(out: &mut impl Write, status: &SchemaStatus) -> io::Result<()> {
    let number = |number: Option<u32>| number.map_or("null".to_owned(), |number| number.to_string());
    out.write_all(b"{\"file\":")?;
    json::string(out, &status.path.to_string_lossy())?;
    write!(out, ",\"schema\":{},\"newest_known\":{}", status.version(), newest_known())?;
    write!(
        out,
        ",\"min_reader\":{},\"min_writer\":{}",
        number(status.min_reader),
        number(status.min_writer)
    )?;
    write!(out, ",\"pending\":{},\"refusal\":", status.pending().count())?;
    match &status.refusal {
        Some(error) => json::string(out, &error.to_string())?,
        None => out.write_all(b"null")?,
    }
    out.write_all(b",\"migrations\":[")?;
    for (at, migration) in status.migrations.iter().enumerate() {
        out.write_all(if at == 0 { b"" } else { b"," })?;
        write!(out, "{{\"version\":{},\"name\":", migration.version)?;
        json::string(out, &migration.name)?;
        write!(out, ",\"state\":\"{}\",\"applied_on\":", word(migration.state))?;
        match &migration.applied_on {
            Some(on) => json::string(out, on)?,
            None => out.write_all(b"null")?,
        }
        out.write_all(b",\"checksum\":")?;
        json::string(out, &migration.checksum)?;
        out.write_all(b"}")?;
    }
    out.write_all(b"]}\n")
}
