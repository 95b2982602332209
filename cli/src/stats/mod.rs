//! `rowbus stats`.

mod format;
mod watch;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use rowbus::sqlite::{FileStats, Inspector};

use crate::duration;
use crate::failure::Result;
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus stats
  rowbus stats --json | jq '.consumers[] | {name, lag}'
  rowbus stats --watch --interval 10s
  rowbus stats --db copy-of-app.db";

/// Show how the file fares: its size, what is in it, who reads it
///
/// Nothing is written or migrated: a file that may only be read, and a copy of a file of any version of rowbus, can be looked
/// at. A number with a + is counted up to there, and there are more.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatsArgs {
    /// Write one JSON object; with --watch one at each look
    #[arg(long)]
    json: bool,

    /// Go on until Ctrl-C, with rates from the second look on: on a terminal in place, elsewhere a line each
    #[arg(short, long)]
    watch: bool,

    /// With --watch, between two looks, as in 250ms or 10s
    #[arg(long, value_name = "DURATION", requires = "watch", default_value = "1s")]
    #[arg(value_parser = duration::interval)]
    interval: Duration,
}

pub(crate) async fn run(args: StatsArgs, db: &Path, status: &Status) -> Result<()> {
    if args.watch {
        return watch::run(db, args.interval, args.json, status).await;
    }
    let stats = read(db).await?;
    let mut out = Output::new();
    let written = out.write(|out| {
        if args.json { format::write_json(out, &stats) } else { format::write_table(out, &stats, None) }
    })?;
    if written {
        out.flush()?;
    }
    Ok(())
}

/// Anew each time: a file that nobody has open is looked at as one that does not change.
async fn read(db: &Path) -> Result<FileStats> {
    let db = db.to_owned();
    let read = tokio::task::spawn_blocking(move || Inspector::open(db)?.stats()).await;
    match read {
        Ok(stats) => Ok(stats?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
