//! The bus on a file: facts that take several processes, real faults, or a file that somebody else has touched.
#![cfg(feature = "sqlite")]
#![allow(missing_docs, unsafe_code)] // it forks, and gives up rights
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)] // helpers of tests are tests

mod backups;
mod child;
#[cfg(target_os = "linux")]
mod consumers;
#[cfg(target_os = "linux")]
mod doorbell;
mod faults;
#[cfg(target_os = "linux")]
mod full_disk;
mod importing;
#[cfg(target_os = "linux")]
mod kills;
#[cfg(target_os = "linux")]
mod lines;
#[cfg(target_os = "linux")]
mod linux;
mod migrating;
#[cfg(all(target_os = "linux", feature = "nats", feature = "testing"))]
mod nats_bridge;
mod opening;
mod outbox;
#[cfg(target_os = "linux")]
mod peers;
mod plain_sql;
mod processes;
mod requests;
#[cfg(target_os = "linux")]
mod retention;
mod salvaging;
#[cfg(target_os = "linux")]
mod servers;
#[cfg(target_os = "linux")]
mod steady;
mod streams;
#[cfg(unix)]
mod unix;
#[cfg(target_os = "linux")]
mod wal;

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rowbus::{Durability, Message, Result, SqliteBus, StartAt, Subscribe, Subscription};
use rowbus::{Messenger, rusqlite::Connection};

/// For what must happen at all: far longer than it ever takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own, and the path of a bus in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    _beside: Beside,
}

/// Tests run beside each other, but for those that judge how processes share: for them the machine has to be quiet.
#[allow(dead_code)] // guards
enum Beside {
    Others(RwLockReadGuard<'static, ()>),
    Nobody(RwLockWriteGuard<'static, ()>),
}

static QUIET: RwLock<()> = RwLock::new(());

impl Beside {
    fn others() -> Self {
        Self::Others(QUIET.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn nobody() -> Self {
        Self::Nobody(QUIET.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { _beside: Beside::others(), folder: tempfile::tempdir().unwrap() }
    }

    /// In memory where the system has a folder for that: for facts that a slow disk should have no say in.
    pub(crate) fn without_disk() -> Self {
        Self { _beside: Beside::others(), folder: without_disk() }
    }

    /// The same, while no other test of this binary has a place.
    pub(crate) fn quiet() -> Self {
        Self { _beside: Beside::nobody(), folder: without_disk() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("bus.db")
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn open(&self) -> SqliteBus {
        SqliteBus::builder(self.path()).durability(Durability::Relaxed).open().await.unwrap()
    }

    /// The file through plain SQL, as another program sees it.
    pub(crate) fn sql(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }
}

fn without_disk() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) async fn from_oldest(bus: &SqliteBus, filter: &str) -> Subscription {
    bus.subscribe(Subscribe::to(filter).from(StartAt::Oldest)).await.unwrap()
}

/// The next item, which has to come.
pub(crate) async fn next(stream: &mut Subscription) -> Result<Message> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an item in time").expect("the stream goes on")
}

/// The next so many messages, as texts.
pub(crate) async fn texts(stream: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::with_capacity(count);
    for _ in 0..count {
        texts.push(next(stream).await.unwrap().text().unwrap().to_owned());
    }
    texts
}

/// Waits until the bus has said that it is there, which it does behind its opening; from then on it writes no more than it is told.
pub(crate) async fn listed(bus: &SqliteBus) {
    let start = std::time::Instant::now();
    while bus.peers().await.is_ok_and(|peers| !peers.iter().any(|peer| peer.is_self)) {
        assert!(start.elapsed() < PATIENCE, "the bus is never listed");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until this holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
