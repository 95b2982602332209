//! The command line of `rowbus enqueue`.

use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use rowbus::{Backoff, Headers, Job, Subject, Unique, defaults};

use crate::content::{self, HeaderArgs, SendOn};
use crate::duration;
use crate::enqueue::{Source, Task};
use crate::failure::Result;
use crate::wait::Wait;

const EXAMPLES: &str = "\
Examples:
  rowbus enqueue mail.send 'to: ada' --delay 10m --unique welcome:42
  rowbus enqueue report.build --run-at 2026-11-23T07:05:00Z --max-attempts 3 < report.json
  find . -name '*.png' | rowbus enqueue image.resize --send-on newline
  rowbus enqueue backup.run '' --wait 1h --json";

/// Enqueue a job, or each line of standard input as one
///
/// A job is done by one server, now or when there is one, and tried again when it fails. Its id is written to standard
/// output, a line each; `rowbus job` takes it. With --wait the reply follows, as `rowbus job reply` writes it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EnqueueArgs {
    /// What is to be done, as in mail.send
    subject: String,

    /// The body; standard input if it is not given
    body: Option<OsString>,

    #[command(flatten)]
    headers: HeaderArgs,

    #[command(flatten)]
    options: Options,

    /// Enqueue each line of standard input when it is there, without its line end
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["body", "unique", "wait"])]
    send_on: Option<SendOn>,

    /// Wait for the reply and write it, so long at most if that is said; exit with 3 if it does not come
    #[arg(long, value_name = "DURATION", num_args = 0..=1, value_parser = duration::argument)]
    wait: Option<Option<Duration>>,

    /// Write a JSON object for each job, and for the reply
    #[arg(long)]
    json: bool,
}

/// What a job may be told.
#[derive(Args)]
struct Options {
    /// Not before so long from now, as in 1500ms or 2h
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    delay: Option<Duration>,

    /// Not before this time, with its zone as in 2026-11-23T07:05:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "delay")]
    run_at: Option<DateTime<Utc>>,

    /// Higher is taken first among those of the subject: 0 unless given
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,

    /// Only if no job of this subject and key is pending: else the id is that of the one there is
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,

    /// How long from now the unique key keeps others out, whatever becomes of the job: a duration, or forever
    #[arg(long, value_name = "DURATION", requires = "unique")]
    unique_for: Option<UniqueFor>,

    /// One at a time, and in order, with other jobs of this subject and key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Give it up if it was not started so long from now
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    expires_in: Option<Duration>,

    /// How often it is tried before it is a dead letter: 20 times unless given
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    /// The pause before the second attempt, doubled at each up to 1h: 1s unless given
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    backoff: Option<Duration>,

    /// How long its reply can be asked for when it is done: 1h unless given
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    keep_reply: Option<Duration>,

    /// Do not wait for the disk: a power cut may take the newest jobs
    #[arg(long)]
    relaxed: bool,
}

/// The value of `--unique-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UniqueFor(Unique);

impl FromStr for UniqueFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(Unique::Forever));
        }
        let time =
            duration::argument(text).map_err(|hint| format!("expected forever or a duration; {hint}"))?;
        Ok(Self(Unique::For(time)))
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.map_err(|_| "expected a time with its zone as in 2026-11-23T07:05:00Z".to_owned())
}

impl EnqueueArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let headers = self.headers.read()?;
        let template = Template { subject: Subject::new(&self.subject)?, headers, options: self.options };
        // Options are checked before a body is waited for.
        template.job(Vec::new()).into_parts()?;
        let source = match self.send_on {
            Some(SendOn::Newline) => Source::Lines,
            None => Source::Job(Box::new(template.job(content::body(self.body)?)), Wait::of(self.wait)),
        };
        Ok(Task { template, source, json: self.json })
    }
}

/// All of a job but its body.
pub(super) struct Template {
    pub(super) subject: Subject,
    pub(super) headers: Headers,
    options: Options,
}

impl Template {
    pub(super) fn job(&self, body: Vec<u8>) -> Job {
        let options = &self.options;
        let mut job = Job::new(&self.subject, body).headers(self.headers.clone());
        if let Some(delay) = options.delay {
            job = job.delay(delay);
        }
        if let Some(time) = options.run_at {
            job = job.run_at(time);
        }
        if let Some(priority) = options.priority {
            job = job.priority(priority);
        }
        if let Some(key) = &options.unique {
            let how_long = options.unique_for.map_or(Unique::WhilePending, |time| time.0);
            job = job.unique_as(key.as_str(), how_long);
        }
        if let Some(key) = &options.key {
            job = job.key(key.as_str());
        }
        if let Some(time) = options.expires_in {
            job = job.expires_in(time);
        }
        if let Some(attempts) = options.max_attempts {
            job = job.max_attempts(attempts);
        }
        if let Some(first) = options.backoff {
            job = job.backoff(Backoff::exponential(first, defaults::BACKOFF_MAX));
        }
        if let Some(time) = options.keep_reply {
            job = job.keep_reply(time);
        }
        if options.relaxed { job.relaxed() } else { job }
    }
}
