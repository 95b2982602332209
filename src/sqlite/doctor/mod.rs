//! What is wrong with a file, and what to do about it. Nothing is written.

mod content;
mod place;
mod retention;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{ErrorKind, Result};
use crate::sqlite::stats::{Opened, inspect};
use crate::sqlite::{disk, version};

/// How thoroughly the pages of the file are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Depth {
    /// SQLite's `quick_check`: every page.
    #[default]
    Quick,
    /// SQLite's `integrity_check`: every index against its table as well, which takes several times as long.
    Full,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// Good to know.
    Notice,
    /// It works, and somebody should see to it.
    Warning,
    /// Something is lost or does not work.
    Error,
}

impl Severity {
    /// `ok`, `notice`, `warning`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at, in a word: `integrity`, `schema`, `permissions`, …
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and where: one line.
    pub message: String,
    /// What to do about it: one line, a command where there is one.
    pub remedy: Option<String>,
}

/// All that was found. From [`diagnose`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The file, as its canonical path.
    pub path: PathBuf,
    /// What was found, in the order in which it was looked for; at least one of each check that could be made.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// How bad the worst finding is.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }
}

/// Findings in the making.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &'static str, severity: Severity, message: impl Into<String>, remedy: &str) {
        // What others have written is quoted in one line.
        let message = message.into().replace(['\n', '\r'], " ");
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        self.0.push(Finding { check, severity, message, remedy });
    }

    fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(check, Severity::Ok, message, "");
    }

    /// Says that all is well, if nothing else was said of this check.
    fn ok_unless_found(&mut self, check: &'static str, message: impl Into<String>) {
        if !self.0.iter().any(|finding| finding.check == check) {
            self.ok(check, message);
        }
    }
}

/// Looks, once more if the file was written meanwhile by somebody who has just opened it.
const TRIES: usize = 3;

/// Says what is wrong with a file, and what to do about it: the file itself, its schema, its place, and what is in it. It never
/// writes; a file that was not closed and would have to be recovered first is looked at as a copy. Blocks for as long as it
/// takes to read the file.
///
/// As [`Inspector::open`](crate::sqlite::Inspector::open), not for a file that this process has open in rollback-journal mode.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// # use rowbus::Messenger; rowbus::SqliteBus::open(&path).await?.close().await?;
/// use rowbus::sqlite::{Depth, Severity, diagnose};
///
/// let diagnosis = diagnose(&path, Depth::Quick)?;
/// for finding in diagnosis.findings.iter().filter(|finding| finding.severity > Severity::Notice) {
///     println!("{}: {}", finding.check, finding.message);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// `InvalidPath` if there is no such file, `ReadOnly` if it would have to be copied and is too large for that, `Io` if it cannot
/// be looked at at all. What else is wrong is a finding.
pub fn diagnose(path: impl AsRef<Path>, depth: Depth) -> Result<Diagnosis> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (diagnosis, is_certain) = look(path.as_ref(), depth)?;
        if is_certain || tries == TRIES {
            return Ok(diagnosis);
        }
    }
}

/// What is found, and whether the file has stayed as it was meanwhile.
fn look(path: &Path, depth: Depth) -> Result<(Diagnosis, bool)> {
    let mut findings = Findings::default();
    let before = state(path);
    let opened = match inspect(path) {
        Ok(opened) => opened,
        Err(error) => match error.kind() {
            ErrorKind::InvalidPath | ErrorKind::Io => return Err(error),
            kind => {
                let remedy = content::remedy(kind);
                findings.add("database", Severity::Error, error.to_string(), remedy);
                return Ok((Diagnosis { path: path.to_owned(), findings: findings.0 }, true));
            }
        },
    };
    sqlite(&mut findings);
    place::look(&opened, &mut findings);
    if content::is_database(&opened, &mut findings) {
        place::journal(&opened, &mut findings);
        content::look(&opened, depth, &mut findings);
    }
    let is_certain = !opened.is_still || before == state(path);
    let Opened { path, .. } = opened;
    Ok((Diagnosis { path, findings: findings.0 }, is_certain))
}

/// What changes when somebody writes a file that was nobody's.
fn state(path: &Path) -> (u64, u64, Option<std::time::SystemTime>) {
    let written = std::fs::metadata(path).and_then(|found| found.modified()).ok();
    (disk::length(path), disk::wal(path).0, written)
}

fn sqlite(findings: &mut Findings) {
    match version::check(rusqlite::version_number()) {
        Ok(()) => {
            findings.ok("sqlite", format!("SQLite {} is free of the WAL-reset bug", rusqlite::version()))
        }
        Err(error) => findings.add(
            "sqlite",
            Severity::Error,
            error.to_string(),
            "build with the feature `bundled`, or update the system's SQLite",
        ),
    }
}
