//! Every program in `examples/`, and every example in `docs/sql.md`, does what it says; so do the tables of the README and of
//! `docs/defaults.md`.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod consumers;
mod defaults;
mod jetstream;
mod page;
mod programs;
mod sql;
mod sql_clients;
mod sql_consumers;
mod sql_jobs;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// For what must happen at all: far longer than it ever takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{command:?} has not ended after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stderr.is_empty(), "{command:?}: {status}\n{stderr}");
    String::from_utf8(stdout).unwrap().replace("\r\n", "\n")
}
