//! The systems: each plays its roles, which are the same for all, on a file or a server that the stage provides.

pub mod bell;
pub mod effectum;
pub mod honker;
pub mod nats;
pub mod raw;
pub mod rowbus;
pub mod stage;

use std::time::Duration;

use crate::process::{linger, ready, report};

/// What a process is to do. `address` is the path of a file, or the address of a server.
pub enum Role {
    PublishOne {
        level: String,
        time: Duration,
    },
    PublishMany {
        level: String,
        time: Duration,
    },
    Fill {
        count: usize,
    },
    Replay {
        count: usize,
    },
    Send {
        count: usize,
    },
    Receive {
        count: usize,
        idle_streams: usize,
    },
    Idle {
        streams: usize,
        token: String,
    },
    /// Answers each request with its own body.
    Serve,
    /// As many callers, each of which asks again when it has its reply.
    Request {
        time: Duration,
        callers: usize,
    },
    Enqueue {
        count: usize,
    },
    Claim(Claim),
}

/// Claims jobs and completes them, at most `batch` at a time, until the time is over or those that wait are done.
pub struct Claim {
    pub level: String,
    pub time: Duration,
    pub batch: usize,
    pub waiting: usize,
}

pub fn play(words: &[&str]) {
    let [system, address, role @ ..] = words else { panic!("no role in {words:?}") };
    let role = Role::parse(role);
    match *system {
        "rowbus" => rowbus::play(address, role),
        "raw" => raw::play(address, role),
        "futex" => bell::play(address, role),
        "honker" => honker::play(address, role),
        "nats-core" => nats::core::play(address, role),
        "jetstream" => nats::jetstream::play(address, role),
        _ => panic!("unknown system {system}"),
    }
}

impl Role {
    fn parse(words: &[&str]) -> Self {
        let time = |seconds: &str| Duration::from_secs_f64(seconds.parse().unwrap());
        match *words {
            ["publish-one", level, seconds] => {
                Self::PublishOne { level: level.to_owned(), time: time(seconds) }
            }
            ["publish-many", level, seconds] => {
                Self::PublishMany { level: level.to_owned(), time: time(seconds) }
            }
            ["fill", count] => Self::Fill { count: count.parse().unwrap() },
            ["replay", count] => Self::Replay { count: count.parse().unwrap() },
            ["send", count] => Self::Send { count: count.parse().unwrap() },
            ["receive", count, streams] => {
                Self::Receive { count: count.parse().unwrap(), idle_streams: streams.parse().unwrap() }
            }
            ["idle", streams, token] => {
                Self::Idle { streams: streams.parse().unwrap(), token: token.to_owned() }
            }
            ["serve"] => Self::Serve,
            ["request", seconds, callers] => {
                Self::Request { time: time(seconds), callers: callers.parse().unwrap() }
            }
            ["enqueue", count] => Self::Enqueue { count: count.parse().unwrap() },
            ["claim", level, seconds, batch, waiting] => Self::Claim(Claim {
                level: level.to_owned(),
                time: time(seconds),
                batch: batch.parse().unwrap(),
                waiting: waiting.parse().unwrap(),
            }),
            _ => panic!("unknown role {words:?}"),
        }
    }
}

/// In the role of filling a log or a queue: says that it is done.
pub fn filled() {
    ready();
    report(&());
}

/// In the role of one that does nothing.
pub fn idle() {
    ready();
    linger();
}
