//! The bus beside a raw loop over SQLite, in turns in one run: `cargo bench --bench throughput`.
//!
//! Raw is a loop over rusqlite with cached statements, BEGIN IMMEDIATE and COMMIT, into a table of id, subject, data and
//! created_at with an index on (subject, id), at the same `synchronous`; for jobs one that claims with a commit and completes
//! with another. Each figure is the median of the rounds; the ratio is the median of the ratios of each round, since the
//! machine's speed drifts. `cargo bench --bench throughput -- --rounds N --seconds S` measures longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod bus;
mod raw;

use std::time::Duration;

use rowbus::Durability;

/// Bytes of payload in every measurement.
pub const PAYLOAD: [u8; 128] = [b'x'; 128];
pub const SUBJECT: &str = "bench.orders.created";

/// How long each measurement of each round takes.
#[derive(Clone, Copy)]
pub struct Plan {
    rounds: usize,
    time: Duration,
    replay: usize,
}

fn main() {
    let number = |name: &str, default: f64| {
        let mut args = std::env::args().skip_while(|arg| arg != name);
        args.nth(1).map_or(default, |value| value.parse().expect("a number"))
    };
    let plan = Plan {
        rounds: number("--rounds", 5.0) as usize,
        time: Duration::from_secs_f64(number("--seconds", 1.0)),
        replay: number("--replay", 500_000.0) as usize,
    };
    let only = std::env::args().skip_while(|arg| arg != "--only").nth(1);
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    println!(
        "{:<46} {:>12} {:>12} {:>7}",
        "work (128 bytes, median of rounds)", "rowbus/s", "raw/s", "ratio"
    );
    for durability in [Durability::Relaxed, Durability::Full] {
        let level = format!("{durability:?}");
        if wanted("alone") {
            let work = format!("publish alone, {level}");
            let raw = || raw::alone(durability, plan.time);
            compare(&work, plan.rounds, || bus::alone(durability, plan.time), raw);
            let work = format!("publish alone in a task, {level}");
            compare(&work, plan.rounds, || bus::alone_in_a_task(durability, plan.time), raw);
        }
        for waiting in [64, 256] {
            if wanted("waiting") {
                let work = format!("{waiting} waiting publishers, {level}; raw: batches of 100");
                compare(
                    &work,
                    plan.rounds,
                    || bus::waiting(waiting, durability, plan.time),
                    || raw::batches(100, durability, plan.time),
                );
            }
        }
        if wanted("join") {
            let work = format!("256 joined in one task, {level}; raw: batches of 100");
            compare(
                &work,
                plan.rounds,
                || bus::joined(256, durability, plan.time),
                || raw::batches(100, durability, plan.time),
            );
        }
        if wanted("publish_all") {
            let work = format!("publish_all of 100, {level}; raw: batches of 100");
            compare(
                &work,
                plan.rounds,
                || bus::batches(100, durability, plan.time),
                || raw::batches(100, durability, plan.time),
            );
        }
    }
    for waiting in [20_000, 1_000_000] {
        for durability in [Durability::Relaxed, Durability::Full] {
            if wanted("claims") {
                let ours = bus::Backlog::new(waiting, durability);
                let theirs = raw::Backlog::new(waiting, durability);
                for batch in [1, 128] {
                    let work = format!("claims by {batch}, {waiting} waiting, {durability:?}");
                    let (ours, theirs) =
                        (|| ours.claims(batch, plan.time), || theirs.claims(batch, plan.time));
                    compare(&work, plan.rounds, ours, theirs);
                }
            }
        }
    }
    if wanted("replay") {
        compare(
            "replay of the log; raw: SELECT",
            plan.rounds,
            || bus::replay(plan.replay),
            || raw::replay(plan.replay),
        );
    }
    if wanted("elsewhere") {
        let (p50, p99) = bus::elsewhere(500);
        println!("publish to delivery by another bus on the file: p50 {p50:.0} µs, p99 {p99:.0} µs");
    }
    if wanted("reader") {
        bus::slow_reader(plan.time);
    }
}

/// Measures both in turns, and prints a row.
fn compare(work: &str, rounds: usize, bus: impl Fn() -> f64, raw: impl Fn() -> f64) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who goes first changes, so that neither always finds the machine warm.
        let (our, their) = if round % 2 == 0 {
            let our = bus();
            (our, raw())
        } else {
            let their = raw();
            (bus(), their)
        };
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }
    println!(
        "{work:<46} {:>12.0} {:>12.0} {:>7.2}",
        median(&mut ours),
        median(&mut theirs),
        median(&mut ratios)
    );
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
