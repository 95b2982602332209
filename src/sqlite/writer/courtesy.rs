//! Fairness between processes, which SQLite's lock does not have: who has just let go of it is the first to be back.
//!
//! A process that waits for the lock holds a shared lock on the sidecar. A process that has just committed looks whether
//! somebody does, and if so, stands back until all who waited have had their turn; then all are equal again. So the
//! processes of a busy file take turns in rounds. The kernel drops the lock of a process that dies; one that is stopped
//! while it waits holds up the others for an instant now and then, and never for good.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sqlite::sidecar;

/// How often a writer that nobody disputes the lock looks for others: seldom enough to cost it nothing.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// Between looks while it stands back.
const NAP: Duration = Duration::from_micros(100);
/// How long it stands back at most: a good many turns of others.
const LONGEST: Duration = Duration::from_millis(50);
/// How long it minds nobody after that: whoever still waits is stopped, or asleep for longer.
const IGNORE_FOR: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Courtesy {
    file: Option<File>,
    looked: Option<Instant>,
    back_since: Option<Instant>,
    ignore_until: Option<Instant>,
    /// It has had the lock since it last stood back.
    had_turn: bool,
    waiting: bool,
}

impl Courtesy {
    pub(crate) fn new(database: &Path) -> Self {
        let file = sidecar::open(database);
        Self { file, looked: None, back_since: None, ignore_until: None, had_turn: false, waiting: false }
    }

    /// How long to leave the lock to others before asking again; `None` if it may be taken now.
    pub(crate) fn stand_back(&mut self, now: Instant) -> Option<Duration> {
        let looked_just_now = self.back_since.is_none()
            && self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY);
        // Who waits is minded by others; and looking would take its own lock for another's.
        if self.waiting
            || !self.had_turn
            || looked_just_now
            || self.ignore_until.is_some_and(|until| now < until)
        {
            return None;
        }
        self.looked = Some(now);
        self.ignore_until = None;
        if !self.somebody_waits() {
            self.end_of_round();
            return None;
        }
        let since = *self.back_since.get_or_insert(now);
        if now.duration_since(since) >= LONGEST {
            self.ignore_until = Some(now + IGNORE_FOR);
            self.end_of_round();
            return None;
        }
        // Where somebody waits, the next look comes after the next turn, however soon that is.
        self.looked = None;
        Some(NAP)
    }

    fn end_of_round(&mut self) {
        self.back_since = None;
        self.had_turn = false;
    }

    /// The lock was had, and is free again.
    pub(crate) fn had_turn(&mut self) {
        self.had_turn = true;
    }

    /// Says that this process waits.
    pub(crate) fn wait(&mut self) {
        if !self.waiting
            && let Some(file) = &self.file
        {
            self.waiting = file.try_lock_shared().is_ok();
        }
    }

    /// Says that it does not wait any more.
    pub(crate) fn done_waiting(&mut self) {
        if std::mem::take(&mut self.waiting)
            && let Some(file) = &self.file
        {
            // A lock that cannot be let go of is let go of by the kernel when the file is closed.
            let _ = file.unlock();
        }
    }

    fn somebody_waits(&self) -> bool {
        let Some(file) = &self.file else { return false };
        match file.try_lock() {
            Ok(()) => {
                let _ = file.unlock();
                false
            }
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (tempfile::TempDir, Courtesy, Courtesy) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let (writer, waiter) = (Courtesy::new(&database), Courtesy::new(&database));
        (folder, writer, waiter)
    }

    #[test]
    fn who_had_its_turn_stands_back_until_nobody_waits() {
        let (_folder, mut writer, mut waiter) = two();
        let now = Instant::now();
        waiter.wait();
        assert_eq!(writer.stand_back(now), None, "it has not had its turn yet");
        writer.had_turn();
        assert_eq!(writer.stand_back(now), Some(NAP));
        assert_eq!(writer.stand_back(now + NAP), Some(NAP));
        waiter.done_waiting();
        assert_eq!(writer.stand_back(now + 2 * NAP), None);
    }

    #[test]
    fn a_writer_that_nobody_disputes_the_lock_looks_seldom() {
        let (_folder, mut writer, mut waiter) = two();
        let now = Instant::now();
        writer.had_turn();
        assert_eq!(writer.stand_back(now), None);
        waiter.wait();
        writer.had_turn();
        assert_eq!(writer.stand_back(now + LOOK_EVERY / 2), None);
        assert_eq!(writer.stand_back(now + LOOK_EVERY), Some(NAP));
    }

    #[test]
    fn one_that_waits_for_ever_holds_up_nobody_for_good() {
        let (_folder, mut writer, mut stopped) = two();
        let now = Instant::now();
        stopped.wait();
        writer.had_turn();
        assert_eq!(writer.stand_back(now), Some(NAP));
        assert_eq!(writer.stand_back(now + LONGEST), None);
        writer.had_turn();
        assert_eq!(writer.stand_back(now + LONGEST + IGNORE_FOR / 2), None);
        assert_eq!(writer.stand_back(now + LONGEST + IGNORE_FOR), Some(NAP));
    }

    #[test]
    fn without_a_sidecar_nobody_stands_back() {
        let mut alone = Courtesy::new(Path::new("/nowhere/at/all.db"));
        alone.wait();
        alone.had_turn();
        assert_eq!(alone.stand_back(Instant::now()), None);
    }
}
