//! `rowbus dead ls`.

use clap::{Args, value_parser};
use rowbus::{Dead, Durable, Filter};

use crate::dead::format::{write_json, write_line};
use crate::failure::{Failure, Result};
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus dead ls
  rowbus dead ls 'mail.>' --limit 10
  rowbus dead ls --json | jq -r '.failures[-1].message' | sort | uniq -c";

/// Letters read at once; each comes with its body.
const PAGE: usize = 64;

/// List dead letters, the oldest first
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LsArgs {
    /// Those of these subjects only, as in mail.>
    #[arg(default_value = ">", hide_default_value = true)]
    filter: String,

    /// No more than this many
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Write one JSON object a line, with all that `dead show` shows
    #[arg(long)]
    json: bool,
}

pub(crate) struct Task {
    filter: Filter,
    limit: u64,
    json: bool,
}

impl LsArgs {
    pub(super) fn check(self) -> Result<Task> {
        let filter = Filter::new(&self.filter)?;
        Ok(Task { filter, limit: self.limit.unwrap_or(u64::MAX), json: self.json })
    }
}

pub(super) async fn run(bus: &dyn Durable, task: Task) -> Result<()> {
    let Task { filter, limit, json } = task;
    let mut out = Output::new();
    let (mut listed, mut after) = (0_u64, 0);
    while listed < limit {
        let most = usize::try_from(limit - listed).map_or(PAGE, |left| left.min(PAGE));
        let page = bus.dead_letters(Dead::Of(filter.clone()), after, most).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        listed += page.len() as u64;
        let write = if json { write_json } else { write_line };
        if !out.write(|out| page.iter().try_for_each(|letter| write(out, letter)))? {
            return Ok(());
        }
    }
    if listed == 0 {
        return Err(Failure::nothing_there(format!("no dead letters on {filter}")));
    }
    out.flush().map(|_| ())
}
