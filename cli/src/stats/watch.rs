//! The file each second, until it is enough.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::Utc;
use rowbus::sqlite::FileStats;

use crate::failure::Result;
use crate::signals;
use crate::stats::format::{write_json, write_line, write_table};
use crate::stats::read;
use crate::status::Status;
use crate::stdout::{Output, reader_gone};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

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

pub(super) async fn run(db: &Path, json: bool, status: &Status) -> Result<()> {
    let mut stop = signals::stop(|| "stopped while writing".to_owned())?;
    let in_place = std::io::stdout().is_terminal() && !json;
    let mut out = Output::new();
    let mut before = (read(db).await?, Instant::now());
    status.say(&format!("watching {}", status.file()));
    loop {
        tokio::select! {
            _ = tokio::time::sleep(EVERY) => {}
            _ = &mut stop => return Ok(()),
            () = reader_gone() => return Ok(()),
        }
        let now = (read(db).await?, Instant::now());
        let rates = Rates::between(&before, &now);
        let written = out.write(|out| {
            if in_place {
                // From the first line of the screen, and nothing below it.
                out.write_all(b"\x1b[H\x1b[2J")?;
                write_table(out, &now.0, Some(&rates))
            } else if json {
                write_json(out, &now.0)
            } else {
                write_line(out, &now.0, &rates, Utc::now())
            }
        })?;
        if !written || !out.flush()? {
            return Ok(());
        }
        before = now;
    }
}
