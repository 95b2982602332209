//! `rowbus serve`.

mod answer;
mod command;
mod environment;
mod listener;
mod output;
mod post;
mod process;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::sync::{Arc, Once};
use std::time::Duration;

use clap::{ArgGroup, Args, value_parser};
use futures_util::future::try_join_all;
use rowbus::{Filter, Messenger, Serve, defaults};
use tokio::sync::watch;

use crate::address::Address;
use crate::duration;
use crate::failure::Result;
use crate::serve::answer::{Answer, Shared, Work};
use crate::serve::command::Command;
use crate::serve::post::Post;
use crate::serve::process::Processes;
use crate::signals::Stop;
use crate::status::Status;

/// How long a service that was told to stop has to end: what runs has its own grace period, and then it is written down.
const GRACE: Duration = Duration::from_secs(defaults::CLOSE_GRACE.as_secs() + 10);

const EXAMPLES: &str = "\
Examples:
  rowbus serve 'image.resize' --command 'convert - -resize \"$ROWBUS_HEADER_WIDTH\" -'
  rowbus serve 'mail.>' --command ./send-mail --concurrency 4 --max-run 1m
  rowbus serve backup.run --command './backup --verbose' --parts
  rowbus serve ping --echo --count 1";

/// Answer requests and do jobs with a command
///
/// The command gets the body on its standard input, and what it writes to its standard output, 1 MiB at most, is the
/// reply. If it fails, that is told to the caller of a request, and a job is tried again later: the code is as in `exit 3`,
/// the message the last line of its standard error. It is killed, with all of its process group, when nobody wants the
/// answer any more, when it takes longer than --max-run, and when it writes too much.
///
/// It finds in its environment ROWBUS_SUBJECT, ROWBUS_ID, ROWBUS_ATTEMPT (from 1), ROWBUS_HEADERS (a line `Name: value`
/// each) and, for the first value of each header, ROWBUS_HEADER_ and its name in capitals, with _ for all but letters and
/// digits. ROWBUS_DB is the file, or ROWBUS_URL the server with all that was said of it, so that `rowbus pub` in it speaks to
/// the same bus.
///
/// Told to stop by Ctrl-C, SIGTERM or a terminal that goes, it takes nothing new and finishes what it has, for 10 s; told again
/// it ends at once. What is not done by then is given to other servers.
#[derive(Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("work").required(true))]
pub(crate) struct ServeArgs {
    /// What to serve, as in mail.>
    filter: String,

    /// The command that answers, for `sh -c` (on Windows `cmd /C`)
    #[arg(long, value_name = "COMMAND", group = "work")]
    command: Option<OsString>,

    /// Answer with the body and the headers of the request
    #[arg(long, group = "work")]
    echo: bool,

    /// How many requests are answered at the same time; 16 unless given
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,

    /// End after this many requests
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Kill a command that runs longer, as in 30s: 1h unless given
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    max_run: Option<Duration>,

    /// Send each line of the output when it is there, as a part of the reply; the final reply is empty
    #[arg(long, conflicts_with = "echo")]
    parts: bool,
}

/// What is to be served, checked as far as that can be done without the file.
pub(crate) struct Task {
    filter: Filter,
    work: TaskWork,
    concurrency: usize,
    count: Option<u64>,
    max_run: Duration,
}

enum TaskWork {
    Echo,
    Command { line: OsString, parts: bool },
}

/// A command that takes too long is killed, and that is its answer: the lease has to last until it was written.
const AFTERWARDS: Duration = Duration::from_secs(10);

impl ServeArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let task = Task {
            filter: Filter::new(&self.filter)?,
            work: match self.command {
                Some(line) => TaskWork::Command { line, parts: self.parts },
                None => TaskWork::Echo,
            },
            concurrency: self.concurrency.unwrap_or(defaults::CONCURRENCY),
            count: self.count,
            max_run: self.max_run.unwrap_or(defaults::MAX_RUN),
        };
        task.service(task.concurrency).into_parts()?;
        Ok(task)
    }
}

impl Task {
    fn service(&self, concurrency: usize) -> Serve {
        Serve::on(&self.filter).concurrency(concurrency).max_run(self.max_run.saturating_add(AFTERWARDS))
    }
}

pub(crate) async fn run(
    bus: &dyn Messenger,
    address: &Address,
    task: Task,
    stop: &Stop,
    status: &Status,
) -> Result<()> {
    let processes = Arc::new(Processes::default());
    let running = Arc::clone(&processes);
    stop.within(GRACE);
    stop.or_leave(move || {
        running.end();
        "ended at once: what was not done is given to other servers".to_owned()
    });
    let work = match &task.work {
        TaskWork::Echo => Work::Echo,
        TaskWork::Command { line, parts } => {
            let (line, address) = (line.clone(), address.clone());
            let (parts, max_run, status) = (*parts, task.max_run, status.clone());
            Work::Command(Command { line, address, parts, max_run, processes, status })
        }
    };
    let (say, said) = watch::channel(false);
    let shared = Arc::new(Shared::new(work, said));
    let (once, mut attended) = (Once::new(), Vec::new());
    for (post, shift) in Post::all(task.concurrency, task.count) {
        let answer = Arc::new(Answer::new(Arc::clone(&shared), shift));
        let service = bus.serve_with(task.service(post.concurrency()), answer).await?;
        let stopping = || once.call_once(|| status.say("stopping: finishing what was taken"));
        attended.push(post.attend(service, stop.told(), stopping));
    }
    status.say(&format!("serving {} ({})", task.filter, status.bus()));
    say.send_replace(true);
    try_join_all(attended).await?;
    status.say(&shared.tell());
    Ok(())
}
