//! `rowbus import`.

mod line;
mod source;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rowbus::sqlite::Migrate;
use rowbus::{ErrorKind, Messenger, RetentionParts, SqliteBus, defaults};

use crate::duration;
use crate::failure::{Failure, Result};
use crate::import::line::Line;
use crate::import::source::{Batches, Lines};
use crate::signals::Stop;
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
/// imported before, with the same time and subject, is left out for as long as ids are remembered, so that an import which was
/// interrupted can be repeated. Lines without a message id, and all lines after that time, are published again. A line that
/// is older than the policies of the file keep (7 days in a new one) ends it too: set them first with `rowbus retention`.
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

pub(crate) async fn run(db: &Path, args: ImportArgs, stop: &Stop, status: &Status) -> Result<()> {
    let mut batches = Lines::open(&args.file)?.read_ahead()?;
    if args.dry_run {
        let mut checked = 0;
        while let Some(batch) = stop.unless_told(batches.recv()).await? {
            checked += batch?.len();
        }
        status.say(&format!("{checked} lines could be imported"));
        return Ok(());
    }
    // A first line that is none makes no file.
    let first = stop.unless_told(batches.recv()).await?.transpose()?;
    // What a bus may hold whose limit is higher is taken as well.
    let bus = SqliteBus::builder(db).migrate(Migrate::NewFiles).max_payload(defaults::MAX_ROW);
    // Nothing goes while it comes in.
    let bus = bus.dedup_window(args.remember).prune(false);
    let bus = stop.unless_told(bus.open()).await??;
    let mut done = Done::default();
    let outcome = publish(&bus, first, &mut batches, stop, &mut done).await;
    let policies = bus.retention().await;
    let closed = bus.close().await;
    let known = done.lines - done.published;
    let said = match known {
        0 => format!("imported {} events into {}", done.published, status.bus()),
        _ => format!("imported {} events into {}; {known} were there already", done.published, status.bus()),
    };
    match outcome {
        Err(failure) if done.lines > 0 => {
            return Err(failure.after(&format!("before it, up to line {}: {said}", done.lines)));
        }
        outcome => outcome?,
    }
    closed?;
    status.say(&said);
    for policy in policies?.iter().filter(|policy| limits_number(&policy.retention) && done.published > 0) {
        let (filter, file) = (&policy.filter, status.bus());
        status.say(&format!(
            "the policy of {filter} in {file} limits how much is kept, and removes the oldest beyond that: see rowbus retention show"
        ));
    }
    Ok(())
}

/// Whether events may go by it that are as young as one likes.
fn limits_number(policy: &RetentionParts) -> bool {
    [policy.max_messages, policy.max_bytes, policy.max_per_subject].iter().any(Option::is_some)
}

/// Said where the bus had something that it has not acknowledged.
const UNKNOWN: &str = "told to stop before it was known whether what was under way is imported";

async fn publish(
    bus: &SqliteBus,
    mut first: Option<Vec<Line>>,
    batches: &mut Batches,
    stop: &Stop,
    done: &mut Done,
) -> Result<()> {
    loop {
        let batch = match first.take() {
            Some(batch) => batch,
            None => match stop.unless_told(batches.recv()).await? {
                Some(batch) => batch?,
                None => return Ok(()),
            },
        };
        let all = batch.len() as u64;
        // What is dropped under way is published as a whole or not at all, and nothing says which.
        let imported = stop.unless_told(bus.import_all(batch)).await;
        let imported = imported.map_err(|_| Failure::failed(UNKNOWN))?;
        let acks = imported.map_err(|error| match error.kind() {
            ErrorKind::Expired => Failure::from(error).after(
                "as in rowbus retention set '>' --keep-everything, or with what export --from leaves out",
            ),
            _ => error.into(),
        })?;
        done.lines += all;
        done.published += acks.iter().filter(|ack| !ack.duplicate).count() as u64;
    }
}

/// What a line says, or why it ends the import.
fn read(line: &[u8], number: u64) -> Result<Line> {
    line::parse(line, defaults::MAX_ROW).map_err(|why| Failure::failed(format!("line {number}: {why}")))
}
