//! Ring and wait, `src/sqlite/wake/slot.rs` itself, through the interleavings of two ringers and two
//! sleepers with up to two preemptions. (With three it passes as well, in a minute and a half; faults of this kind show with two.)
//!
//! The file is a number that is read and written with no order of its own: less than SQLite gives. loom has no futex, so
//! that one is modelled: the word is compared with its lock held, as the kernel does.
#![cfg(test)]

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

#[path = "../../../src/sqlite/wake/slot.rs"]
mod slot;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc; // a model that is given up half-way cannot drop loom's own

use slot::Slot;

const RINGERS: usize = 2;
const SLEEPERS: usize = 2;
const BITS: u64 = 0b100;

#[derive(Default)]
struct Bus {
    /// Commits in the file.
    file: AtomicUsize,
    sleepers: [Sleeper; SLEEPERS],
}

#[derive(Default)]
struct Sleeper {
    slot: Slot,
    futex: Mutex<()>,
    woken: Condvar,
}

impl Sleeper {
    fn wait(&self, rings: u32) {
        let futex = self.futex.lock().unwrap();
        if self.slot.bell().load(Ordering::Relaxed) == rings {
            drop(self.woken.wait(futex).unwrap());
        }
    }

    fn wake(&self) {
        let _futex = self.futex.lock().unwrap();
        self.woken.notify_one();
    }
}

fn commit_and_ring(bus: &Bus) {
    bus.file.fetch_add(1, Ordering::Relaxed);
    slot::committed();
    ring(bus);
}

/// The same without the fence.
fn commit_and_ring_wrongly(bus: &Bus) {
    bus.file.fetch_add(1, Ordering::Relaxed);
    ring(bus);
}

fn ring(bus: &Bus) {
    for sleeper in &bus.sleepers {
        if sleeper.slot.ring(BITS) {
            sleeper.wake();
        }
    }
}

/// Sleeps until it has seen every commit.
fn follow(bus: &Bus, sleeper: &Sleeper) {
    loop {
        let rings = sleeper.slot.arm(BITS);
        if bus.file.load(Ordering::Relaxed) == RINGERS {
            sleeper.slot.disarm();
            return;
        }
        sleeper.wait(rings);
        sleeper.slot.disarm();
    }
}

/// The same with the mark made after looking.
fn follow_wrongly(bus: &Bus, sleeper: &Sleeper) {
    loop {
        if bus.file.load(Ordering::Relaxed) == RINGERS {
            return;
        }
        let rings = sleeper.slot.arm(BITS);
        sleeper.wait(rings);
    }
}

/// A sleeper for whom nobody rings any more stands still, which loom reports as a deadlock.
fn model(commit: fn(&Bus), follow: fn(&Bus, &Sleeper)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let bus = Arc::new(Bus::default());
        let mut threads = Vec::new();
        for _ in 0..RINGERS {
            let bus = Arc::clone(&bus);
            threads.push(thread::spawn(move || commit(&bus)));
        }
        for at in 1..SLEEPERS {
            let bus = Arc::clone(&bus);
            threads.push(thread::spawn(move || follow(&bus, &bus.sleepers[at])));
        }
        follow(&bus, &bus.sleepers[0]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn loses_a_wake(commit: fn(&Bus), follow: fn(&Bus, &Sleeper)) -> bool {
    let lost = std::panic::catch_unwind(|| model(commit, follow));
    lost.is_err_and(|why| why.downcast_ref::<String>().is_some_and(|why| why.contains("deadlock")))
}

#[test]
fn no_wake_is_lost() {
    model(commit_and_ring, follow);
}

#[test]
fn a_wake_is_lost_if_the_mark_is_made_after_looking() {
    assert!(loses_a_wake(commit_and_ring, follow_wrongly));
}

#[test]
fn a_wake_is_lost_without_the_fence_between_commit_and_ring() {
    assert!(loses_a_wake(commit_and_ring_wrongly, follow));
}
