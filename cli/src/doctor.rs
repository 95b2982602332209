//! `rowbus doctor`.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use rowbus::sqlite::{Depth, Diagnosis, Severity, diagnose};

use crate::colour::{self, Painted};
use crate::escape::Escaped;
use crate::failure::{Failure, Result};
use crate::json;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus doctor
  rowbus doctor --full --db app.db
  rowbus doctor --json | jq -r '.findings[] | select(.severity != \"ok\") | .message'";

/// Say what is wrong with the file, and what to do about it
///
/// Nothing is written. Looked at are the file itself, its schema, where it lies and who may read it, and what is in it: leases
/// that are stuck, rows in quarantine, dead letters, consumers that do not get on. Exit code 0 if there is nothing worse than a
/// notice, else 1.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Compare each index with its table as well, which takes several times as long
    #[arg(long)]
    full: bool,

    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: DoctorArgs, db: &Path, quiet: bool) -> Result<()> {
    let (path, depth) = (db.to_owned(), if args.full { Depth::Full } else { Depth::Quick });
    let diagnosis = match tokio::task::spawn_blocking(move || diagnose(path, depth)).await {
        Ok(diagnosis) => diagnosis?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let mut out = Output::new();
    let written = out.write(|out| match args.json {
        true => write_json(out, &diagnosis),
        false => write_for_people(out, &diagnosis, quiet),
    })?;
    if written {
        out.flush()?;
    }
    match diagnosis.worst() {
        Severity::Ok | Severity::Notice => Ok(()),
        _ => {
            let bad = diagnosis.findings.iter().filter(|finding| finding.severity > Severity::Notice).count();
            let things = if bad == 1 { "thing is" } else { "things are" };
            Err(Failure::failed(format!("{bad} {things} wrong with {}", db.display())))
        }
    }
}

/// A line for each finding and one for its remedy; with `quiet` only of what is not well.
fn write_for_people(out: &mut impl Write, diagnosis: &Diagnosis, quiet: bool) -> io::Result<()> {
    for finding in diagnosis.findings.iter().filter(|finding| !quiet || finding.severity > Severity::Ok) {
        let (severity, check) = (finding.severity, finding.check);
        let severity = painted(severity);
        writeln!(out, "{severity:<8} {check:<13} {}", Escaped(finding.message.as_bytes()))?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "{:22} {} {}", "", colour::faint("->"), Escaped(remedy.as_bytes()))?;
        }
    }
    Ok(())
}

fn painted(severity: Severity) -> Painted<Severity> {
    match severity {
        Severity::Ok => colour::good(severity),
        Severity::Notice => colour::faint(severity),
        Severity::Warning => colour::odd(severity),
        _ => colour::bad(severity),
    }
}

fn write_json(out: &mut impl Write, diagnosis: &Diagnosis) -> io::Result<()> {
    out.write_all(b"{\"file\":")?;
    json::string(out, &diagnosis.path.to_string_lossy())?;
    write!(out, ",\"worst\":\"{}\",\"findings\":[", diagnosis.worst())?;
    for (at, finding) in diagnosis.findings.iter().enumerate() {
        let separator = if at == 0 { "" } else { "," };
        write!(out, "{separator}{{\"check\":\"{}\",\"severity\":\"{}\"", finding.check, finding.severity)?;
        out.write_all(b",\"message\":")?;
        json::string(out, &finding.message)?;
        out.write_all(b",\"remedy\":")?;
        match &finding.remedy {
            Some(remedy) => json::string(out, remedy)?,
            None => out.write_all(b"null")?,
        }
        out.write_all(b"}")?;
    }
    out.write_all(b"]}\n")
}
