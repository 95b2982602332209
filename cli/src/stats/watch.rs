//! The file again and again, until it is enough.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::Utc;
use rowbus::sqlite::FileStats;

use crate::failure::Result;
use crate::screen;
use crate::signals::Stop;
use crate::stats::format::{write_json, write_line, write_table};
use crate::stats::read;
use crate::status::Status;
use crate::stdout::{Output, reader_gone};

/// What has happened between two looks.
pub(super) struct Rates {
    /// Events a second.
    pub(super) published: f64,
}

impl Rates {
    fn between(before: &(FileStats, Instant), now: &(FileStats, Instant)) -> Self {
        let seconds = now.1.duration_since(before.1).as_secs_f64().max(1e-3);
        // A file that was restored meanwhile has fewer.
        let published = now.0.last_sequence.saturating_sub(before.0.last_sequence);
        Self { published: published as f64 / seconds }
    }
}

pub(super) async fn run(db: &Path, interval: Duration, json: bool, status: &Status) -> Result<()> {
    let stop = Stop::listen()?;
    stop.or_leave(|| "stopped while writing".to_owned());
    let mut form = Form { out: Output::new(), in_place: screen::is_there() && !json, json };
    let mut before = (read(db).await?, Instant::now());
    status.say(&format!("watching {}", status.bus()));
    // What was there before anybody looked tells no rate.
    let mut goes_on = form.write(&before.0, None)?;
    while goes_on {
        tokio::select! {
            _ = tokio::time::sleep(interval) => {}
            () = stop.told() => return Ok(()),
            () = reader_gone() => return Ok(()),
        }
        let now = match read(db).await {
            Ok(stats) => (stats, Instant::now()),
            // Somebody has it for himself, or moves another into its place: the next look may find it.
            Err(failure) => {
                status.say(failure.message());
                continue;
            }
        };
        goes_on = form.write(&now.0, Some(&Rates::between(&before, &now)))?;
        before = now;
    }
    Ok(())
}

/// How a look is shown.
struct Form {
    out: Output,
    in_place: bool,
    json: bool,
}

impl Form {
    /// Whether somebody still reads.
    fn write(&mut self, stats: &FileStats, rates: Option<&Rates>) -> Result<bool> {
        let (in_place, json) = (self.in_place, self.json);
        let written = self.out.write(|out| {
            if in_place {
                // From the first line of the screen, and nothing below it.
                out.write_all(b"\x1b[H\x1b[2J")?;
                write_table(out, stats, rates)
            } else if json {
                write_json(out, stats)
            } else {
                write_line(out, stats, rates, Utc::now())
            }
        })?;
        Ok(written && self.out.flush()?)
    }
}
