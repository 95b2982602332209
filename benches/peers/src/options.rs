//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

pub const USAGE: &str = "usage: rowbus-peers [--rounds N] [--seconds S] [--only WORK] [--out FILE]
  --rounds N    how often each pair of systems is measured; 5 unless given
  --seconds S   how long a publishing measurement takes; 0.5 unless given, and the others in proportion
  --only WORK   only works whose name contains this
  --out FILE    where the results go, and the chart beside them; results.json of this package unless given";

pub struct Options {
    pub rounds: usize,
    /// How long one measurement of publishing takes.
    pub time: Duration,
    only: Option<String>,
    out: Option<PathBuf>,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { rounds: 5, time: Duration::from_millis(500), only: None, out: None };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} takes a value\n{USAGE}"));
            match name.as_str() {
                "--rounds" => options.rounds = positive(&value()?)? as usize,
                "--seconds" => {
                    options.time = Duration::try_from_secs_f64(positive(&value()?)?)
                        .map_err(|error| format!("--seconds: {error}"))?;
                }
                "--only" => options.only = Some(value()?),
                "--out" => options.out = Some(value()?.into()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        options.rounds = options.rounds.max(1);
        Ok(options)
    }

    pub fn wants(&self, work: &str) -> bool {
        self.only.as_ref().is_none_or(|only| work.contains(only.as_str()))
    }

    /// Of the results and of the chart. Results of a part must not replace those of a whole run unasked.
    pub fn files(&self) -> Option<(PathBuf, PathBuf)> {
        let json = match (&self.out, &self.only) {
            (Some(out), _) => out.clone(),
            (None, None) => Path::new(env!("CARGO_MANIFEST_DIR")).join("results.json"),
            (None, Some(_)) => return None,
        };
        let svg = json.with_extension("svg");
        Some((json, svg))
    }

    /// Messages in one measurement of delivery, which takes twice as long as one of publishing.
    pub fn deliveries(&self) -> usize {
        ((2.0 * self.time.as_secs_f64() / crate::payload::MEAN_PAUSE.as_secs_f64()) as usize).max(10)
    }

    /// How long a process is watched while nothing happens.
    pub fn idle(&self) -> Duration {
        self.time * 20
    }
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| *number > 0.0).ok_or_else(|| format!("not a number: {text}\n{USAGE}"))
}
