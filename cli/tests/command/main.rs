//! The command as its users meet it: the real binary, on real files.

// Helpers are not `#[test]`s, and a test may fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod bench;
mod corpus;
mod formats;
mod other_writers;
#[cfg(target_os = "linux")]
mod peers;
mod publishing;
mod read_only;
mod real_log;
mod starting;
mod streaming;
mod support;
