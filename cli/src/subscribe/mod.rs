//! `rowbus sub`.

mod console;
mod durable;
mod held;
mod member;
mod progress;
mod stream;

use std::time::Duration;

use clap::Args;
use rowbus::{Filter, Messenger};

use crate::duration;
use crate::failure::{Failure, Result};
use crate::format::Format;
use crate::signals::Stop;
use crate::start::Start;
use crate::status::Status;
use crate::subscribe::durable::DurableArgs;
use crate::subscribe::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  rowbus sub 'orders.>'
  rowbus sub 'orders.*' --from 2h --json | jq .data
  rowbus sub orders.created --from oldest --count 1 --wait 5s --raw
  rowbus sub 'notes.>' --from oldest --wait 1s -0 | xargs -0 -n1 echo
  rowbus sub 'orders.*.paid' 'users.>' --durable mailer --ack --json
  rowbus sub --durable mailer --ack --count 100 --wait 1s --raw";

/// Stream what a filter matches
///
/// `*` stands for one token of a subject, `>` at the end for one or more.
///
/// With --durable it reads as a member of a consumer, whose position is kept in the file: what is acknowledged does not come
/// again, whoever reads next, and members in any number of processes share the messages. Without a filter, an existing
/// consumer keeps those that it has, and a new one gets everything. An option that is given changes an existing consumer
/// for all its members; its policy and start cannot be changed.
///
/// With --ack each message is acknowledged when it was written to standard output: into a pipe, that is before its
/// reader has taken it, so bound what is taken with --count and not with `head`. What a closed pipe does not take is
/// told, and given back. Without --ack nothing is acknowledged, as when somebody only wants to look: a cumulative consumer
/// stays where it is; an explicit one gets back at the end what was shown, as if nobody had looked. Who looks for longer
/// than --ack-wait keeps messages from workers for that time, and then they come again and count as delivered. Told to stop by
/// Ctrl-C, SIGTERM or a terminal that goes, it has acknowledged what it has written, and gives back the rest.
///
/// A reader that leaves the pipe, as `head` does, is an ordinary end of what is followed, with exit code 0: nothing is lost. It
/// is 1 if it left before --count messages, or did not take all that was acknowledged.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubArgs {
    /// What to stream, as in orders.>; several with --durable
    #[arg(required_unless_present = "durable", value_name = "FILTER")]
    filters: Vec<String>,

    /// Where to begin: new, oldest, last (of each subject), a sequence, a time, or an age (10m, 2h, 7d); new unless given,
    /// and for a new consumer oldest
    #[arg(long, value_name = "START")]
    from: Option<Start>,

    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End when no message came for this long, as in 500ms or 10s; exit with 3 if any is missing
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    wait: Option<Duration>,

    /// Write the bodies as they are, each followed by a newline
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// As --raw, each followed by a NUL instead, for bodies of several lines and `xargs -0`
    #[arg(short = '0', long, conflicts_with = "json")]
    null: bool,

    /// Write one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    durable: DurableArgs,
}

/// What is to be streamed, checked as far as that can be done without the file.
pub(crate) struct Task {
    source: Source,
    format: Format,
    progress: Progress,
}

enum Source {
    Log(stream::Task),
    Consumer(Box<member::Task>),
}

impl SubArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let format = Format::with_null(self.raw, self.null, self.json);
        let filters = self.filters.iter().map(|filter| Filter::new(filter)).collect::<Result<Vec<_>, _>>()?;
        if let Some(task) = self.durable.check(&filters, self.from)? {
            let progress = Progress::new(format!("for consumer {}", task.name), self.count, self.wait);
            return Ok(Task { source: Source::Consumer(Box::new(task)), format, progress });
        }
        let Ok([filter]) = <[Filter; 1]>::try_from(filters) else {
            return Err(Failure::usage("several filters are for consumers: see --durable"));
        };
        let progress = Progress::new(format!("on {filter}"), self.count, self.wait);
        let from = self.from.unwrap_or_default();
        Ok(Task { source: Source::Log(stream::Task { filter, from }), format, progress })
    }
}

pub(crate) async fn run(bus: &dyn Messenger, task: Task, stop: &Stop, status: &Status) -> Result<()> {
    let Task { source, format, progress } = task;
    match source {
        Source::Log(task) => stream::run(bus, task, format, progress, stop, status).await,
        Source::Consumer(task) => member::run(bus, *task, format, progress, stop, status).await,
    }
}
