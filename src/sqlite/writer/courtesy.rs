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
/// How long after somebody waited it looks each time: in a round, nobody has two turns.
const DISPUTED_FOR: Duration = Duration::from_millis(20);
/// How long the lock was free for all who waited to have it: they nap for less.
const LEFT_FOR: Duration = Duration::from_micros(500);
/// Between looks while it stands back.
const NAP: Duration = Duration::from_micros(100);
/// How long it stands back while nobody else commits: whoever waits is stopped, or asleep for longer.
const IN_VAIN: Duration = Duration::from_millis(50);
/// How long it stands back at most.
const LONGEST: Duration = Duration::from_millis(200);
/// How long it minds nobody after that: twice as long each time, so that an instant in which the machine was busy costs
/// little evenness, and one that is stopped for good costs little time.
const IGNORE_FIRST: Duration = Duration::from_millis(10);
const IGNORE_LONGEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Courtesy {
    file: Option<File>,
    looked: Option<Instant>,
    /// Somebody waited not long before this.
    disputed_until: Option<Instant>,
    back: Option<Back>,
    ignore_until: Option<Instant>,
    ignore_for: Duration,
    /// When it last had the lock, if that was since it last stood back.
    had_turn: Option<Instant>,
    waiting: bool,
}

/// Standing back.
#[derive(Debug)]
struct Back {
    since: Instant,
    progress_at: Instant,
    /// Changes when somebody else commits.
    version: i64,
}

impl Courtesy {
    pub(crate) fn new(database: &Path) -> Self {
        let file = sidecar::open(database);
        if let Err(error) = &file {
            let path = sidecar::path(database);
            tracing::warn!(path = %path.display(), %error, "the sidecar cannot be used; processes will be less even");
        }
        let file = file.ok();
        Self {
            file,
            looked: None,
            disputed_until: None,
            back: None,
            ignore_until: None,
            ignore_for: IGNORE_FIRST,
            had_turn: None,
            waiting: false,
        }
    }

    /// How long to leave the lock to others before asking again; `None` if it may be taken now. `version` tells commits of
    /// others apart.
    pub(crate) fn stand_back(&mut self, now: Instant, version: impl FnOnce() -> i64) -> Option<Duration> {
        let passed = |time: Option<Instant>| time.is_none_or(|time| now >= time);
        let look = !passed(self.disputed_until) || passed(self.looked.map(|looked| looked + LOOK_EVERY));
        // Who waits is minded by others; and looking would take its own lock for another's.
        let left = self.back.is_none() && passed(self.had_turn.map(|had| had + LEFT_FOR));
        if self.waiting || left || !look || !passed(self.ignore_until) {
            return None;
        }
        self.looked = Some(now);
        if !self.somebody_waits() {
            self.ignore_for = IGNORE_FIRST;
            self.end_of_round();
            return None;
        }
        self.disputed_until = Some(now + DISPUTED_FOR);
        let version = version();
        let back = self.back.get_or_insert(Back { since: now, progress_at: now, version });
        if back.version != version {
            (back.version, back.progress_at) = (version, now);
        }
        if now.duration_since(back.progress_at) >= IN_VAIN || now.duration_since(back.since) >= LONGEST {
            self.ignore_until = Some(now + self.ignore_for);
            self.ignore_for = (self.ignore_for * 2).min(IGNORE_LONGEST);
            self.end_of_round();
            return None;
        }
        Some(NAP)
    }

    fn end_of_round(&mut self) {
        self.back = None;
        self.had_turn = None;
    }

    /// The lock was had, and is free again.
    pub(crate) fn had_turn(&mut self, now: Instant) {
        self.had_turn = Some(now);
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
        assert_eq!(writer.stand_back(now, || 0), None, "it has not had its turn yet");
        writer.had_turn(now);
        assert_eq!(writer.stand_back(now, || 0), Some(NAP));
        assert_eq!(writer.stand_back(now + NAP, || 0), Some(NAP));
        waiter.done_waiting();
        assert_eq!(writer.stand_back(now + 2 * NAP, || 0), None);
    }

    #[test]
    fn a_writer_that_nobody_disputes_the_lock_looks_seldom() {
        let (_folder, mut writer, mut waiter) = two();
        let now = Instant::now();
        writer.had_turn(now);
        assert_eq!(writer.stand_back(now, || 0), None);
        waiter.wait();
        writer.had_turn(now);
        assert_eq!(writer.stand_back(now + LOOK_EVERY / 2, || 0), None);
        assert_eq!(writer.stand_back(now + LOOK_EVERY, || 0), Some(NAP));
    }

    #[test]
    fn who_left_the_lock_alone_for_longer_than_a_waiter_naps_does_not_look() {
        let (_folder, mut writer, mut waiter) = two();
        let now = Instant::now();
        writer.had_turn(now);
        waiter.wait();
        assert_eq!(writer.stand_back(now + LEFT_FOR, || 0), None);
    }

    #[test]
    fn one_that_waits_for_ever_holds_up_nobody_for_good() {
        let (_folder, mut writer, mut stopped) = two();
        let now = Instant::now();
        stopped.wait();
        writer.had_turn(now);
        assert_eq!(writer.stand_back(now, || 0), Some(NAP));
        assert_eq!(writer.stand_back(now + IN_VAIN, || 0), None);
        let again = now + IN_VAIN + IGNORE_FIRST;
        writer.had_turn(again);
        assert_eq!(writer.stand_back(again - IGNORE_FIRST / 2, || 0), None);
        assert_eq!(writer.stand_back(again, || 0), Some(NAP));
        assert_eq!(writer.stand_back(again + IN_VAIN, || 0), None);
        let later = again + IN_VAIN + IGNORE_FIRST;
        writer.had_turn(later);
        assert_eq!(writer.stand_back(later, || 0), None, "twice as long");
    }

    #[test]
    fn it_stands_back_longer_while_others_commit_and_not_for_ever() {
        let (_folder, mut writer, mut waiter) = two();
        let now = Instant::now();
        waiter.wait();
        writer.had_turn(now);
        for turn in 0..4 {
            assert_eq!(writer.stand_back(now + turn * IN_VAIN, || i64::from(turn)), Some(NAP));
        }
        assert_eq!(writer.stand_back(now + LONGEST, || 9), None);
    }

    #[test]
    fn without_a_sidecar_nobody_stands_back() {
        let mut alone = Courtesy::new(Path::new("/nowhere/at/all.db"));
        alone.wait();
        alone.had_turn(Instant::now());
        assert_eq!(alone.stand_back(Instant::now(), || 0), None);
    }
}
