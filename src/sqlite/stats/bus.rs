//! What a bus has done since it was opened.

use crate::sqlite::stats::Histogram;

/// What this bus has done since it was opened; other buses on the file count for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusStats {
    /// Transactions committed by this bus.
    pub commits: u64,
    /// Events appended by them.
    pub published: u64,
    /// Events handed to streams of this bus, each stream counted.
    pub delivered: u64,
    /// Operations in each transaction: how many callers shared a commit.
    pub operations: Histogram,
    /// Time from begin to the end of the commit of each transaction that was flushed to the disk, in microseconds.
    pub flushed_micros: Histogram,
    /// The same of each that was not.
    pub relaxed_micros: Histogram,
    /// Times that the file was found locked by another connection.
    pub busy_waits: u64,
    /// Times that a transaction stood back, so that another process that waited had its turn.
    pub stood_back: u64,
    /// Publishes and jobs that were refused since too little of the disk is left.
    pub disk_full: u64,
    /// Times that the thread which waits for commits woke up.
    pub wakes: Wakes,
    /// What went from the WAL into the database.
    pub checkpoints: Checkpoints,
}

/// Why the watcher's thread woke up, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wakes {
    /// Another bus rang after a commit.
    pub bell: u64,
    /// Its sleep was over, and it looked by itself.
    pub floor: u64,
    /// The idle watch on the WAL saw a write.
    pub watch: u64,
    /// It was told to by this bus: a commit that could not be handed over, a stream that joined, a timer that changed.
    pub own: u64,
    /// Of `bell` and `watch`, those after which there was nothing for anybody of this bus.
    pub needless: u64,
}

/// What this bus moved from the WAL into the database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoints {
    /// Checkpoints that were run.
    pub count: u64,
    /// Pages that were in the WAL and are in the database after them; those of a WAL that is moved in several rounds are counted
    /// once.
    pub pages: u64,
    /// How long each took, in microseconds.
    pub micros: Histogram,
    /// Those made with writers held off, so that the WAL begins anew.
    pub restarts: u64,
    /// Those that cut the WAL to nothing, since the file was idle or the disk nearly full.
    pub truncations: u64,
}
