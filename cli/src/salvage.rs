//! `rowbus salvage`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use rowbus::sqlite::{Salvage, Salvaged, SalvagedTable};

use crate::colour;
use crate::failure::{Failure, Result};
use crate::json;
use crate::signals::Stop;
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus salvage app.db salvaged.db
  rowbus salvage app.db salvaged.db --json | jq '.tables[] | select(.lost > 0)'";

/// Ranges of ids that are told to people; JSON has them all.
const SHOWN: usize = 8;

/// Read what can be read of a damaged file into a new one
///
/// Every row whose pages are intact comes out as it was: events, jobs, dead letters, consumers with their positions. What was
/// committed and is still in the -wal file beside it counts, so leave that where it is. The damaged file is only read, and no
/// program may have it open. Tables of other programs are left behind. Where it is lost how long something is kept, it is kept
/// until that is set anew; jobs that may have been done are among the dead letters. Exit code 1 if anything was, or may have
/// been, lost.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SalvageArgs {
    /// The file to read
    damaged: PathBuf,

    /// The file to make
    new: PathBuf,

    /// Read it although a program has it open
    #[arg(long)]
    force: bool,

    /// Write a JSON object about what came out to standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: SalvageArgs, stop: &Stop, status: &Status) -> Result<()> {
    let salvage = Salvage::of(&args.damaged);
    let salvage = if args.force { salvage.force() } else { salvage };
    stop.or_leave(|| "told to stop twice; a file that ends in .unfinished is left".to_owned());
    let salvaged = salvage.stop_if(stop.flag()).into_new(&args.new);
    if stop.is_told() && salvaged.is_err() {
        return Err(Failure::failed("told to stop; nothing is left of the new file"));
    }
    let salvaged = salvaged?;
    let mut out = Output::new();
    let write = if args.json { write_json } else { write_for_people };
    if out.write(|out| write(out, &salvaged))? {
        out.flush()?;
    }
    let damaged = salvaged.damaged.len() as u64;
    status.say(&format!(
        "salvaged {} into {}: {damaged} of {} pages are damaged",
        args.damaged.display(),
        args.new.display(),
        salvaged.pages
    ));
    if salvaged.is_whole() {
        return Ok(());
    }
    Err(Failure::failed(format!("not everything came out of {}", args.damaged.display())))
}

fn write_for_people(out: &mut impl Write, salvaged: &Salvaged) -> io::Result<()> {
    let head = format!("{:<18}{:>12}{:>12}{:>12}{:>12}", "TABLE", "ROWS", "UNSURE", "LOST", "REFUSED");
    writeln!(out, "{}", colour::head(head))?;
    for table in &salvaged.tables {
        // More may have been lost where that cannot be told.
        let lost = format!("{}{}", table.lost, if table.is_certain { "" } else { "+" });
        writeln!(
            out,
            "{:<18}{:>12}{:>12}{lost:>12}{:>12}",
            table.name, table.rows, table.unsure, table.refused
        )?;
        write_ids(out, "lost", &table.lost_ids)?;
        write_ids(out, "missing", &table.missing_ids)?;
    }
    if salvaged.policies_lost {
        out.write_all(
            b"the policies of retention are lost: every event is kept until `rowbus retention set` is run\n",
        )?;
    }
    if salvaged.dead_letter_age_lost {
        out.write_all(b"how long dead letters are kept is lost: for ever, until `rowbus retention dead-letters` is run\n")?;
    }
    if salvaged.doubtful_jobs > 0 {
        let jobs = salvaged.doubtful_jobs;
        writeln!(
            out,
            "jobs that may have been done already are among the dead letters, as `salvaged`: {jobs}"
        )?;
    }
    Ok(())
}

fn write_ids(out: &mut impl Write, what: &str, ids: &[(i64, i64)]) -> io::Result<()> {
    for (first, last) in ids.iter().take(SHOWN) {
        match first == last {
            true => writeln!(out, "    {what}: {first}")?,
            false => writeln!(out, "    {what}: {first} to {last}")?,
        }
    }
    match ids.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "    {what}: {more} more ranges"),
    }
}

fn write_json(out: &mut impl Write, salvaged: &Salvaged) -> io::Result<()> {
    out.write_all(b"{\"file\":")?;
    json::string(out, &salvaged.path.to_string_lossy())?;
    let damaged: Vec<_> = salvaged.damaged.iter().map(u32::to_string).collect();
    write!(out, ",\"is_whole\":{},\"pages\":{}", salvaged.is_whole(), salvaged.pages)?;
    write!(out, ",\"damaged_pages\":[{}],\"unknown_pages\":{}", damaged.join(","), salvaged.unknown)?;
    write!(out, ",\"policies_lost\":{}", salvaged.policies_lost)?;
    write!(out, ",\"dead_letter_age_lost\":{}", salvaged.dead_letter_age_lost)?;
    write!(out, ",\"doubtful_jobs\":{}", salvaged.doubtful_jobs)?;
    out.write_all(b",\"tables\":[")?;
    for (at, table) in salvaged.tables.iter().enumerate() {
        out.write_all(if at == 0 { b"" } else { b"," })?;
        write_table(out, table)?;
    }
    out.write_all(b"]}\n")
}

fn write_table(out: &mut impl Write, table: &SalvagedTable) -> io::Result<()> {
    let ids = |ids: &[(i64, i64)]| {
        ids.iter().map(|(first, last)| format!("[{first},{last}]")).collect::<Vec<_>>().join(",")
    };
    write!(out, "{{\"name\":\"{}\",\"rows\":{},\"unsure\":{}", table.name, table.rows, table.unsure)?;
    write!(out, ",\"lost\":{},\"is_certain\":{}", table.lost, table.is_certain)?;
    write!(out, ",\"refused\":{},\"damaged_pages\":{}", table.refused, table.damaged)?;
    write!(out, ",\"lost_ids\":[{}]", ids(&table.lost_ids))?;
    write!(out, ",\"missing_ids\":[{}]}}", ids(&table.missing_ids))
}
