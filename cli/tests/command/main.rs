//! The command as its users meet it: the real binary, on real files.

// Helpers are not `#[test]`s, and a test may fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod bench;
mod consumers;
mod copies;
mod corpus;
#[cfg(unix)]
mod dead_events;
#[cfg(unix)]
mod dead_letters;
mod doctor;
mod durable;
mod formats;
#[cfg(unix)]
mod jobs;
mod other_writers;
#[cfg(target_os = "linux")]
mod peers;
mod publishing;
mod read_only;
mod real_log;
#[cfg(unix)]
mod requesting;
mod retention;
#[cfg(unix)]
mod serving;
mod starting;
mod stats;
mod streaming;
mod support;
