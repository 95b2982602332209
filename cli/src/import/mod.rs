//! `rowbus import`.

mod line;
mod source;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rowbus::sqlite::Migrate;
use rowbus::{Messenger, SqliteBus, defaults};

use crate::duration;
use crate::failure::{Failure, Result};
use crate::import::line::Line;
use crate::import::source::Lines;
use crate::status::Status;

const EXAMPLES: &str = "\
Examples:
  rowbus export --db old.db | rowbus import - --db new.db
  rowbus import app.jsonl --dry-run
  rowbus import app.jsonl --remember 30d";

/// Publish what `rowbus export` has written
///
/// Subjects, payloads, headers, message ids and times are those of then; sequences are new. Lines are published in batches,
/// in order; a line that is none is named and ends it, with nothing of its batch written. A line whose message id was
/// imported before is left out for as long as ids are remembered, so that an import which was interrupted can be
/// repeated. Lines without a message id, and all lines after that time, are published again.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// The file to read; - for standard input
    file: PathBuf,

    /// Check every line, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// How long message ids are remembered, as in 2m, 1h or 30d
    #[arg(long, value_name = "DURATION", value_parser = duration::argument, default_value = "1d")]
    remember: Duration,
}

/// What has been done.
#[derive(Clone, Copy, Default)]
struct Done {
    lines: u64,
    published: u64,
}

pub(crate) async fn run(db: &Path, args: ImportArgs, status: &Status) -> Result<()> {
    let mut lines = Lines::open(&args.file)?;
    if args.dry_run {
        let mut checked = 0;
        while let Some(batch) = lines.batch()? {
            checked += batch.len();
        }
        status.say(&format!("{checked} lines could be imported"));
        return Ok(());
    }
    // What a bus may hold whose limit is higher is taken as well.
    let bus = SqliteBus::builder(db).migrate(Migrate::NewFiles).max_payload(defaults::MAX_ROW);
    let bus = bus.dedup_window(args.remember).open().await?;
    let mut done = Done::default();
    let outcome = publish(&bus, &mut lines, &mut done).await;
    let closed = bus.close().await;
    let known = done.lines - done.published;
    let said = match known {
        0 => format!("imported {} events into {}", done.published, status.file()),
        _ => format!("imported {} events into {}; {known} were there already", done.published, status.file()),
    };
    match outcome {
        Err(failure) if done.lines > 0 => {
            return Err(failure.after(&format!("before it, up to line {}: {said}", done.lines)));
        }
        outcome => outcome?,
    }
    closed?;
    status.say(&said);
    Ok(())
}

async fn publish(bus: &SqliteBus, lines: &mut Lines, done: &mut Done) -> Result<()> {
    while let Some(batch) = lines.batch()? {
        let all = batch.len() as u64;
        let acks = bus.import_all(batch).await?;
        done.lines += all;
        done.published += acks.iter().filter(|ack| !ack.duplicate).count() as u64;
    }
    Ok(())
}

/// What a line says, or why it ends the import.
fn read(line: &[u8], number: u64) -> Result<Line> {
    line::parse(line, defaults::MAX_ROW).map_err(|why| Failure::failed(format!("line {number}: {why}")))
}
