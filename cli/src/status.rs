//! What is told on standard error while all is well.

use std::io::Write;

use crate::escape::Escaped;

/// Says what the command does, unless it was asked to be quiet.
#[derive(Clone)]
pub(crate) struct Status {
    quiet: bool,
    bus: String,
}

impl Status {
    pub(crate) fn new(quiet: bool, bus: impl Into<String>) -> Self {
        Self { quiet, bus: bus.into() }
    }

    /// Whether nothing is to be told.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The bus as the user named it: a file or a server.
    pub(crate) fn bus(&self) -> &str {
        &self.bus
    }

    pub(crate) fn say(&self, line: &str) {
        self.say_bytes(line.as_bytes());
    }

    /// The same with what may be no text.
    pub(crate) fn say_bytes(&self, line: &[u8]) {
        if !self.quiet {
            // Status that nobody can read is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{}", Escaped(line));
        }
    }
}
