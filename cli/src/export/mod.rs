//! `rowbus export`.

mod redact;
mod target;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use rowbus::sqlite::Archive;
use rowbus::{Filter, Message, StartAt};

use crate::dead::write_json;
use crate::export::redact::Redactor;
use crate::export::target::Target;
use crate::failure::{Failure, Result, line};
use crate::format::Format;
use crate::signals::{STOPPED, Stop};
use crate::start::Start;
use crate::status::Status;

const EXAMPLES: &str = "\
Examples:
  rowbus export > app.jsonl
  rowbus export 'orders.>' --from 7d | jq -r .subject | sort | uniq -c
  rowbus export 'notes.>' -0 | xargs -0 -n1 ./index-note
  rowbus export --redact --output ticket-4711.jsonl --db copy-of-app.db";

/// Write events as JSON, one object a line
///
/// What is in the log now is written, in order: sequence, subject, time, headers, message id, and the payload as `data`, or
/// as `data_base64` if it is no text. `rowbus import` reads it. The file may be of an older version, or a copy that cannot
/// be written: it is neither migrated nor changed. Exit code 3 if there is nothing to write, 1 if whoever reads it ends before
/// everything was written.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// What to write, as in orders.>; everything unless given
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,

    /// Where to begin: oldest, last (of each subject), a sequence, a time, or an age (10m, 2h, 7d)
    #[arg(long, value_name = "START", default_value = "oldest", hide_default_value = true)]
    from: Start,

    /// Write the bodies as they are, each followed by a newline
    #[arg(long, conflicts_with_all = ["dead", "redact"])]
    raw: bool,

    /// As --raw, each followed by a NUL instead, for bodies of several lines and `xargs -0`
    #[arg(short = '0', long, conflicts_with_all = ["dead", "redact"])]
    null: bool,

    /// Write dead letters instead, as `dead ls --json` does
    #[arg(long, conflicts_with = "from")]
    dead: bool,

    /// Write lengths and short hashes in place of payloads, values of headers, message ids and what handlers said
    ///
    /// The hashes show what is equal within one export, and nothing between two. Subjects, names of headers and of consumers, ids
    /// of jobs and times stay.
    #[arg(long)]
    redact: bool,

    /// Write to this file, which must not exist, and private to this user
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is to be written, checked as far as that can be done without the file.
pub(crate) struct Task {
    filters: Vec<Filter>,
    from: StartAt,
    dead: bool,
    format: Format,
    redactor: Option<Redactor>,
    output: Option<PathBuf>,
}

impl ExportArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let filters = self.filters.iter().map(|filter| Filter::new(filter)).collect::<Result<_, _>>()?;
        let redactor = self.redact.then(Redactor::new);
        // JSON unless it was asked for something else.
        let format = Format::with_null(self.raw, self.null, !self.raw);
        Ok(Task { filters, from: self.from.0, dead: self.dead, format, redactor, output: self.output })
    }
}

/// What has been done.
#[derive(Default)]
struct Done {
    written: u64,
    unreadable: u64,
    /// Nobody reads on, or wants it.
    end: Option<Cut>,
}

/// Why it ended before its end.
enum Cut {
    Closed,
    Stopped,
}

pub(crate) fn run(db: &Path, task: Task, stop: &Stop, status: &Status) -> Result<()> {
    let archive = Archive::open(db)?;
    let is_file = task.output.is_some();
    let left = if is_file { " twice; a file that ends in .unfinished is left" } else { "" };
    stop.or_leave(move || format!("{STOPPED}{left}"));
    let mut target = Target::open(task.output.as_deref())?;
    let done = if task.dead {
        dead_letters(&archive, &task, &mut target, stop)?
    } else {
        events(&archive, &task, &mut target, stop)?
    };
    let cut = || Failure::failed("standard output was closed before everything was exported");
    match done.end {
        Some(Cut::Closed) => return Err(cut()),
        Some(Cut::Stopped) => {
            // Whole lines, for whoever reads them.
            target.give_up()?;
            return Err(Failure::failed(format!("{STOPPED} before everything was exported")));
        }
        None => {}
    }
    let what = if task.dead { "dead letters" } else { "events" };
    if done.written + done.unreadable == 0 {
        return Err(Failure::nothing_there(format!("no {what} to export: {}", status.bus())));
    }
    if !target.finish()? {
        return Err(cut());
    }
    status.say(&format!("exported {} {what} of {}", done.written, status.bus()));
    if done.unreadable > 0 {
        return Err(Failure::failed(format!(
            "{} {what} could not be read and are left out",
            done.unreadable
        )));
    }
    Ok(())
}

fn events(archive: &Archive, task: &Task, target: &mut Target, stop: &Stop) -> Result<Done> {
    let mut done = Done::default();
    let mut events = archive.events(&task.filters, task.from)?;
    while let Some(event) = events.next() {
        let event = match event {
            Ok(event) => event,
            Err(error) if events.has_failed() => return Err(error.into()),
            Err(error) => {
                line(&error.to_string());
                done.unreadable += 1;
                continue;
            }
        };
        if !target.write(|mut out| write_event(&mut out, &event, task))? {
            return Ok(Done { end: Some(Cut::Closed), ..done });
        }
        done.written += 1;
        if stop.is_told() {
            return Ok(Done { end: Some(Cut::Stopped), ..done });
        }
    }
    Ok(done)
}

fn write_event(out: &mut impl Write, event: &Message, task: &Task) -> io::Result<()> {
    match &task.redactor {
        Some(redactor) => redactor.write(out, event),
        None => task.format.write(out, event),
    }
}

fn dead_letters(archive: &Archive, task: &Task, target: &mut Target, stop: &Stop) -> Result<Done> {
    let mut done = Done::default();
    let mut letters = archive.dead_letters(&task.filters)?;
    while let Some(letter) = letters.next() {
        let mut letter = match letter {
            Ok(letter) => letter,
            Err(error) if letters.has_failed() => return Err(error.into()),
            Err(error) => {
                line(&error.to_string());
                done.unreadable += 1;
                continue;
            }
        };
        if let Some(redactor) = &task.redactor {
            redactor.redact(&mut letter);
        }
        if !target.write(|mut out| write_json(&mut out, &letter))? {
            return Ok(Done { end: Some(Cut::Closed), ..done });
        }
        done.written += 1;
        if stop.is_told() {
            return Ok(Done { end: Some(Cut::Stopped), ..done });
        }
    }
    Ok(done)
}
