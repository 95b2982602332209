//! How the parts of a bus hear of each other: ways back to the writer for those that it was built after, and what is seen
//! to now and then.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::sqlite::checkpoint::{Checkpointer, Pause};
use crate::sqlite::peers::Presence;
use crate::sqlite::prune::Pruner;
use crate::sqlite::publishing::Quarantine;
use crate::sqlite::stats::{Counters, Reporter};
use crate::sqlite::tables::events::Damaged;
use crate::sqlite::tail::Tail;
use crate::sqlite::wake::Bell;
use crate::sqlite::work::Work;
use crate::sqlite::writer::{Commit, CommitListener, Operation, Writer};

pub(crate) struct Links {
    pub(crate) bell: Arc<Bell>,
    pub(crate) presence: Option<Presence>,
    pub(crate) counters: Arc<Counters>,
    reporter: Reporter,
    writer: OnceLock<Weak<Writer>>,
    /// Rows reported by this process.
    reported: Mutex<HashSet<i64>>,
}

/// Rows remembered as reported; beyond it a row may be reported again, which changes nothing in the file.
const REPORTED: usize = 65_536;
/// How long bookkeeping that nobody waits for tries to get the lock; it is done another time otherwise.
const BOOKKEEPING: Duration = Duration::from_secs(1);
/// The same on the way out. Whoever sees the row of one that has gone removes it.
const LEAVING: Duration = Duration::from_millis(500);

impl Links {
    pub(crate) fn new(database: &Path, name: &str) -> Self {
        Self {
            bell: Arc::new(Bell::open(database)),
            presence: Presence::take(database, name),
            counters: Arc::default(),
            reporter: Reporter::new(database),
            writer: OnceLock::new(),
            reported: Mutex::default(),
        }
    }

    pub(crate) fn lead_to(&self, writer: &Arc<Writer>) {
        let _ = self.writer.set(Arc::downgrade(writer));
    }

    /// Sees to the sidecar, which may have been deleted or replaced, and to the row that tells others of this bus.
    pub(crate) fn upkeep(&self) {
        self.bell.check();
        self.reporter.report(&self.counters);
        if let Some(registration) = self.presence.as_ref().and_then(Presence::registration) {
            self.write(registration, BOOKKEEPING);
        }
    }

    pub(crate) fn quarantine(&self, mut damaged: Vec<Damaged>) {
        {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.len() >= REPORTED {
                reported.clear();
            }
            damaged.retain(|damaged| reported.insert(damaged.row));
        }
        if !damaged.is_empty() {
            self.write_some_time(Quarantine { damaged });
        }
    }

    pub(crate) fn write_some_time<O: Operation>(&self, operation: O) {
        self.write(operation, BOOKKEEPING);
    }

    /// Takes the row away that tells others of this bus.
    pub(crate) fn leave(&self) {
        if let Some(presence) = &self.presence {
            self.write(presence.withdrawal(), LEAVING);
        }
    }

    /// The same on the way out: it is done if it can be at once.
    pub(crate) fn write_leaving<O: Operation>(&self, operation: O) {
        self.write(operation, LEAVING);
    }

    /// The writer, while there is one.
    pub(crate) fn writer(&self) -> Option<Arc<Writer>> {
        self.writer.get().and_then(Weak::upgrade)
    }

    /// What holds writers off.
    fn pause(&self) -> Weak<dyn Pause> {
        match self.writer.get() {
            Some(writer) => writer.clone() as Weak<dyn Pause>,
            None => Weak::<Writer>::new() as Weak<dyn Pause>,
        }
    }

    fn write<O: Operation>(&self, operation: O, within: Duration) {
        if let Some(writer) = self.writer() {
            writer.run_detached(operation, within);
        }
    }
}

/// Carries the writer's news to whom they concern.
pub(crate) struct Listener {
    pub(crate) tail: Arc<Tail>,
    pub(crate) work: Arc<Work>,
    pub(crate) checkpointer: Arc<Checkpointer>,
    pub(crate) pruner: Arc<Pruner>,
    pub(crate) links: Arc<Links>,
}

impl CommitListener for Listener {
    fn wants_events(&self) -> bool {
        self.tail.has_listeners()
    }

    fn committed(&self, commit: Commit<'_>) -> Vec<Waker> {
        // Events are told by their ids, whoever publishes them.
        if commit.appended == 0 {
            self.pruner.committed();
        }
        // Other processes first: they have further to go.
        self.links.bell.ring(commit.changed);
        if commit.requests {
            self.work.committed(commit.changed);
        }
        self.tail.committed(commit.events, commit.appended)
    }

    fn now_and_then(&self) {
        self.links.upkeep();
        self.work.upkeep();
    }

    fn is_checkpointing(&self) -> bool {
        self.checkpointer.is_at_work()
    }

    fn wal_grew(&self, bytes: u64) -> bool {
        let grew = self.checkpointer.grew(bytes, || self.links.pause());
        // About as much as was written: there may be more than is to be kept.
        if grew {
            self.pruner.wake();
        }
        grew
    }

    fn disk_is_full(&self) {
        self.checkpointer.cut(|| self.links.pause());
    }
}
