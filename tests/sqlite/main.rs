//! The bus on a file: facts that take several processes, real faults, or a file that somebody else has touched.
#![cfg(feature = "sqlite")]
#![allow(missing_docs, unsafe_code)] // it forks, and gives up rights
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)] // helpers of tests are tests

mod child;
mod faults;
mod opening;
mod plain_sql;
mod processes;
mod streams;
#[cfg(unix)]
mod unix;

use std::path::PathBuf;
use std::time::Duration;

use rowbus::{Durability, Message, Result, SqliteBus, StartAt, Subscribe, Subscription};
use rowbus::{Messenger, rusqlite::Connection};

/// For what must happen at all: far longer than it ever takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own, and the path of a bus in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// In memory where the system has a folder for that: for facts that a slow disk should have no say in.
    pub(crate) fn without_disk() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap() }
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

/// Waits until this holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
