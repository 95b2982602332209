//! The parts of an open bus, how they hear of each other, and the order in which they end.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::error::Result;
use crate::message::Message;
use crate::sqlite::builder::Options;
use crate::sqlite::checkpoint::{Checkpointer, Pause};
use crate::sqlite::log::Log;
use crate::sqlite::open;
use crate::sqlite::peers::{self, Peer, Presence};
use crate::sqlite::process::Process;
use crate::sqlite::publishing::Quarantine;
use crate::sqlite::stream::Readers;
use crate::sqlite::tables::events::Damaged;
use crate::sqlite::tail::{Tail, TailSetup};
use crate::sqlite::wake::{Bell, WakeBits};
use crate::sqlite::writer::{CommitListener, WriteConnection, Writer};

pub(crate) struct Core {
    path: std::path::PathBuf,
    options: Options,
    process: Process,
    writer: Arc<Writer>,
    readers: Readers,
    checkpointer: Arc<Checkpointer>,
    bell: Arc<Bell>,
    presence: Arc<Option<Presence>>,
}

impl Core {
    pub(crate) fn open(path: &Path, options: Options) -> Result<Arc<Self>> {
        let opened = open::open(path, &options)?;
        let (opener, identity) = (opened.opener.clone(), opened.identity.clone());
        let links = Arc::new(Links::default());
        let quarantine = |links: &Arc<Links>| {
            let links = Arc::clone(links);
            move |damaged| links.quarantine(damaged)
        };
        let log = Log::open(&opener, identity.clone(), quarantine(&links))?;
        let bell = Arc::new(Bell::open(opener.path()));
        let setup = TailSetup {
            bell: Arc::clone(&bell),
            floor: options.floor,
            opener: opener.clone(),
            identity: identity.clone(),
            quarantine: Box::new(quarantine(&links)),
        };
        let tail = Tail::new(setup);
        let checkpointer = Arc::new(Checkpointer::new(opener.clone(), identity));
        let presence = Arc::new(Presence::take(opener.path(), &options.name()));
        let listener = Listener {
            bell: Arc::clone(&bell),
            presence: Arc::clone(&presence),
            tail: Arc::clone(&tail),
            checkpointer: Arc::clone(&checkpointer),
            links: Arc::clone(&links),
        };
        let conn = WriteConnection::new(opened, options.clone(), Arc::new(listener))?;
        let writer = Arc::new(Writer::new(conn, options.busy_deadline));
        let _ = links.writer.set(Arc::downgrade(&writer));
        let path = opener.path().to_owned();
        let process = Process::current();
        register(&presence, &writer);
        let readers = Readers { log, tail };
        Ok(Arc::new(Self { path, options, process, writer, readers, checkpointer, bell, presence }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails in a fork, which has none of the threads that the work would be given to.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Has every reader look.
    pub(crate) fn nudge(&self) {
        if self.process.check().is_ok() {
            self.bell.ring(WakeBits::EVERYTHING);
            self.readers.tail.nudge();
        }
    }

    /// Blocks while it reads.
    pub(crate) fn peers(&self) -> Result<Vec<Peer>> {
        let rows = self.readers.log.peers()?;
        let presence = (*self.presence).as_ref().ok_or_else(peers::unsupported)?;
        let (living, dead) = presence.sort(rows);
        if let Some(dead) = dead {
            self.writer.run_detached(dead, BOOKKEEPING);
        }
        Ok(living)
    }

    /// Ends everything; blocks until it has ended. What was queued is written first, so that streams of this process
    /// still get it; the last connection to close moves the WAL into the database.
    pub(crate) fn stop(&self) {
        if let Some(withdrawal) = self.presence.as_ref().as_ref().map(Presence::withdrawal) {
            self.writer.run_detached(withdrawal, LEAVING);
        }
        self.writer.stop();
        self.readers.tail.stop(None);
        self.readers.log.close();
        self.checkpointer.stop();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.process.check().is_err() {
            // What the parent's threads held when this process was forked is locked for ever here, SQLite's own
            // mutexes included: its connections must not even be closed.
            std::mem::forget((Arc::clone(&self.writer), self.readers.clone()));
            return;
        }
        self.stop();
    }
}

/// How long bookkeeping that nobody waits for tries to get the lock; it is done another time otherwise.
const BOOKKEEPING: Duration = Duration::from_secs(1);
/// The same on the way out. Whoever sees the row of one that has gone removes it.
const LEAVING: Duration = Duration::from_millis(100);

/// Lets others know of this bus, if they do not yet.
fn register(presence: &Option<Presence>, writer: &Writer) {
    if let Some(registration) = presence.as_ref().and_then(Presence::registration) {
        writer.run_detached(registration, BOOKKEEPING);
    }
}

/// Ways back to the writer for those that it was built after.
#[derive(Default)]
struct Links {
    writer: OnceLock<Weak<Writer>>,
    /// Rows reported by this process.
    reported: Mutex<HashSet<i64>>,
}

/// Rows remembered as reported; beyond it a row may be reported again, which changes nothing in the file.
const REPORTED: usize = 65_536;

impl Links {
    fn quarantine(&self, mut damaged: Vec<Damaged>) {
        {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.len() >= REPORTED {
                reported.clear();
            }
            damaged.retain(|damaged| reported.insert(damaged.row));
        }
        if let Some(writer) = self.writer.get().and_then(Weak::upgrade)
            && !damaged.is_empty()
        {
            writer.run_detached(Quarantine { damaged }, BOOKKEEPING);
        }
    }
}

/// Carries the writer's news to whom they concern.
struct Listener {
    bell: Arc<Bell>,
    presence: Arc<Option<Presence>>,
    tail: Arc<Tail>,
    checkpointer: Arc<Checkpointer>,
    links: Arc<Links>,
}

impl CommitListener for Listener {
    fn wants_events(&self) -> bool {
        self.tail.has_listeners()
    }

    fn committed(&self, changed: WakeBits, events: &[Message], appended: usize) -> Vec<Waker> {
        // Other processes first: they have further to go.
        self.bell.ring(changed);
        self.tail.committed(events, appended)
    }

    fn now_and_then(&self) {
        self.bell.check();
        if let Some(writer) = self.links.writer.get().and_then(Weak::upgrade) {
            register(&self.presence, &writer);
        }
    }

    fn wal_grew(&self, bytes: usize) -> bool {
        self.checkpointer.grew(bytes, || match self.links.writer.get() {
            Some(writer) => writer.clone() as Weak<dyn Pause>,
            None => Weak::<Writer>::new() as Weak<dyn Pause>,
        })
    }
}
