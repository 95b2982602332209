//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::works::Work;

pub const USAGE: &str = "usage: rowbus-peers [--rounds N] [--seconds S] [--works WORKS] [--out FILE]
  --rounds N    how often each pair of systems is measured; 5 unless given
  --seconds S   how long a measurement of publishing, requests or claims takes; 0.5 unless given, and the others in proportion
  --works WORKS only these, as in deliver,rpc
  --out FILE    where the results go, and the chart beside them; results.json of this package unless given";

pub struct Options {
    pub rounds: usize,
    /// How long one measurement of publishing takes.
    pub time: Duration,
    works: Option<Vec<String>>,
    out: Option<PathBuf>,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { rounds: 5, time: Duration::from_millis(500), works: None, out: None };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} takes a value\n{USAGE}"));
            match name.as_str() {
                "--rounds" => options.rounds = positive(&value()?)? as usize,
                "--seconds" => {
                    options.time = Duration::try_from_secs_f64(positive(&value()?)?)
                        .map_err(|error| format!("--seconds: {error}"))?;
                }
                "--works" => options.works = Some(value()?.split(',').map(str::to_owned).collect()),
                "--out" => options.out = Some(value()?.into()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        options.rounds = options.rounds.max(1);
        Ok(options)
    }

    pub fn wants(&self, work: &str) -> bool {
        self.works.as_ref().is_none_or(|works| works.iter().any(|wanted| wanted == work))
    }

    /// What was asked for and is no work.
    pub fn unknown(&self, works: &[Work]) -> Option<&str> {
        let known = |name: &&String| works.iter().any(|work| work.has(name));
        self.works.iter().flatten().find(|name| !known(name)).map(String::as_str)
    }

    /// Of the results and of the chart. Results of a part must not replace those of a whole run unasked.
    pub fn files(&self) -> Option<(PathBuf, PathBuf)> {
        let json = match (&self.out, &self.works) {
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
