//! What one look at the file has found.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rowbus::sqlite::{Activity, Count, FileStats, Inspector, Peer};
use rowbus::{ConsumerInfo, DeadLetter};

use crate::top::numbers;

/// Dead letters that are listed; the newest.
const LETTERS: usize = 100;

/// The file at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// By the wall clock.
    pub(super) time: DateTime<Utc>,
    /// Since the look before; `None` of the first one at a file.
    pub(super) since: Option<Duration>,
    pub(super) file_bytes: u64,
    pub(super) free_bytes: u64,
    pub(super) wal_bytes: u64,
    pub(super) disk_available: Option<u64>,
    pub(super) events: Counted,
    /// Each state by its name; none of a file that is older than jobs.
    pub(super) jobs: Vec<(&'static str, Counted)>,
    pub(super) dead: Counted,
    pub(super) quarantined: Counted,
    /// The newest dead letters, the newest first.
    pub(super) letters: Vec<DeadLetter>,
    pub(super) consumers: Vec<ConsumerInfo>,
    /// `None` where it cannot be told who is alive.
    pub(super) peers: Option<Vec<PeerLine>>,
    pub(super) incarnation: Option<String>,
    pub(super) published: Published,
}

/// A number of rows, counted up to a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) count: u64,
    pub(super) is_exact: bool,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", numbers::count(self.count), if self.is_exact { "" } else { "+" })
    }
}

impl From<Count> for Counted {
    fn from(count: Count) -> Self {
        Self { count: count.count, is_exact: count.is_exact }
    }
}

/// Who has the file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerLine {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) serves: usize,
}

impl From<&Peer> for PeerLine {
    fn from(peer: &Peer) -> Self {
        Self { name: peer.name.clone(), pid: peer.pid, serves: peer.serves.len() }
    }
}

/// What was published since the look before.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    /// The newest sequence.
    pub(super) through: u64,
    pub(super) events: u64,
    pub(super) subjects: Vec<OnSubject>,
}

/// What was published on one subject; an estimate where not all events were looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OnSubject {
    pub(super) subject: String,
    pub(super) events: f64,
    pub(super) bytes: f64,
}

impl From<Activity> for Published {
    fn from(activity: Activity) -> Self {
        // Those that were looked at stand for all.
        let share = activity.published as f64 / activity.sampled.max(1) as f64;
        let subjects = activity.subjects.into_iter().map(|found| OnSubject {
            subject: found.subject,
            events: found.events as f64 * share,
            bytes: found.bytes as f64 * share,
        });
        Self { through: activity.through, events: activity.published, subjects: subjects.collect() }
    }
}

impl Snapshot {
    /// Looks at the file: what was published is that behind the sequence `after`. Blocks.
    pub(super) fn take(file: &Inspector, after: u64) -> rowbus::Result<Self> {
        let activity = file.activity(after)?;
        let stats = file.stats()?;
        let letters =
            if stats.dead_letters.count > 0 { file.newest_dead_letters(LETTERS)? } else { Vec::new() };
        Ok(Self { published: activity.into(), letters, ..stats.into() })
    }
}

impl From<FileStats> for Snapshot {
    fn from(stats: FileStats) -> Self {
        let jobs =
            stats.requests.map(|requests| requests.by_state().map(|(name, count)| (name, count.into())));
        Self {
            time: Utc::now(),
            since: None,
            file_bytes: stats.file_bytes,
            free_bytes: stats.free_pages.saturating_mul(stats.page_bytes),
            wal_bytes: stats.wal_bytes,
            disk_available: stats.disk_available,
            events: stats.events.into(),
            jobs: jobs.map(Vec::from).unwrap_or_default(),
            dead: stats.dead_letters.into(),
            quarantined: stats.quarantined.into(),
            letters: Vec::new(),
            consumers: stats.consumers.unwrap_or_default(),
            peers: stats.peers.map(|peers| peers.iter().map(PeerLine::from).collect()),
            incarnation: stats.incarnation,
            published: Published::default(),
        }
    }
}
