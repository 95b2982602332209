//! The command as its users meet it: the real binary, on real files.

// Helpers are not `#[test]`s, and a test may fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod bench;
#[cfg(unix)]
mod colours;
mod consumers;
mod copies;
mod corpus;
#[cfg(unix)]
mod dead_events;
#[cfg(unix)]
mod dead_letters;
mod doctor;
mod durable;
mod every_verb;
mod formats;
#[cfg(unix)]
mod jobs;
mod migrating;
mod nats;
#[cfg(unix)]
mod nats_bench;
#[cfg(unix)]
mod nats_bridge;
#[cfg(unix)]
mod nats_page;
mod other_writers;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(unix)]
mod picture;
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
#[cfg(unix)]
mod stopping;
mod streaming;
mod support;
#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod top;
#[cfg(unix)]
mod transcript;
mod verbs;
