//! What processes note of their deliveries, in one file, with times by the clock that they share.

use std::fmt::Display;
use std::path::Path;

use crate::lines::{self, Lines};

/// Notes lines for the test to judge when all is over.
pub(super) struct Log(Lines);

impl Log {
    pub(super) fn open(path: impl AsRef<Path>) -> Self {
        Self(Lines::open(path))
    }

    /// A line `process time what`.
    pub(super) fn note(&self, process: u32, at: u64, what: impl Display) {
        self.0.write(format_args!("{process} {at} {what}"));
    }

    /// Lines in one write, one for each of these, with the time that it is now.
    pub(super) fn note_all(&self, what: &str, sequences: impl IntoIterator<Item = u64>) {
        let (process, at) = (std::process::id(), now());
        self.0.write_all(sequences.into_iter().map(|sequence| format!("{process} {at} {what} {sequence}")));
    }
}

/// A line of the log.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) process: u32,
    pub(super) at: u64,
    pub(super) what: String,
    /// What comes behind the word.
    pub(super) numbers: Vec<u64>,
}

/// The whole lines so far, in the order in which they were written.
pub(super) fn notes(path: impl AsRef<Path>) -> Vec<Note> {
    let note = |line: &String| {
        let mut words = line.split(' ');
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (process, at) = (u32::try_from(number()).unwrap(), number());
        let what = words.next().unwrap().to_owned();
        Note { process, at, what, numbers: words.map(|word| word.parse().unwrap()).collect() }
    };
    lines::read(path).iter().map(note).collect()
}

/// Microseconds by the clock that all processes share.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) }, 0);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000 + u64::try_from(time.tv_nsec).unwrap() / 1_000
}
