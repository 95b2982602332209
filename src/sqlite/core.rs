//! The parts of an open bus, and the order in which they begin and end.

use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use crate::error::Result;
use crate::sqlite::builder::Options;
use crate::sqlite::checkpoint::Checkpointer;
use crate::sqlite::connection::Opener;
use crate::sqlite::consume::Consumers;
use crate::sqlite::copying::Copying;
use crate::sqlite::links::{Links, Listener};
use crate::sqlite::log::Log;
use crate::sqlite::mortality::Mortality;
use crate::sqlite::open;
use crate::sqlite::peers::{self, Peer, Presence};
use crate::sqlite::process::Process;
use crate::sqlite::prune::Pruner;
use crate::sqlite::stats::Counters;
use crate::sqlite::stream::Readers;
use crate::sqlite::tail::Tail;
use crate::sqlite::wake::WakeBits;
use crate::sqlite::watcher::{Watcher, WatcherSetup};
use crate::sqlite::work::Work;
use crate::sqlite::writer::{WriteConnection, Writer};

pub(crate) struct Core {
    opener: Opener,
    options: Options,
    process: Process,
    writer: Arc<Writer>,
    readers: Readers,
    work: Arc<Work>,
    consumers: Arc<Consumers>,
    mortality: Arc<Mortality>,
    watcher: Arc<Watcher>,
    checkpointer: Arc<Checkpointer>,
    pruner: Arc<Pruner>,
    copying: Arc<Copying>,
    links: Arc<Links>,
}

impl Core {
    pub(crate) fn open(path: &Path, options: Options) -> Result<Arc<Self>> {
        let may_prune = options.prune;
        let opened = open::open(path, &options)?;
        let (opener, identity) = (opened.opener.clone(), opened.identity.clone());
        let path = opener.path().to_owned();
        let links = Arc::new(Links::new(&path, &options.name()));
        let quarantine = |links: &Arc<Links>| {
            let links = Arc::clone(links);
            move |damaged| links.quarantine(damaged)
        };
        let log = Log::open(&opener, identity.clone(), quarantine(&links))?;
        let (upkeep, chores) = (Arc::clone(&links), Arc::new(OnceLock::<Weak<Work>>::new()));
        let seldom = Arc::clone(&chores);
        let watcher = Watcher::new(WatcherSetup {
            opener: opener.clone(),
            identity: identity.clone(),
            bell: Arc::clone(&links.bell),
            floor: options.floor,
            counters: Arc::clone(&links.counters),
            upkeep: Box::new(move || {
                upkeep.upkeep();
                if let Some(work) = seldom.get().and_then(Weak::upgrade) {
                    work.upkeep();
                }
            }),
        });
        let tail = Tail::new(Arc::clone(&watcher), quarantine(&links));
        let mortality = Arc::new(Mortality::new(Arc::clone(&links)));
        let work =
            Work::new(options.clone(), Arc::clone(&links), Arc::clone(&watcher), Arc::clone(&mortality));
        let readers = Readers { log, tail: Arc::clone(&tail), counters: Arc::clone(&links.counters) };
        let consumers = Consumers::new(
            options.clone(),
            Arc::clone(&links),
            Arc::clone(&watcher),
            Arc::clone(&mortality),
            readers.clone(),
        );
        mortality.tell(vec![Arc::downgrade(&work) as _, Arc::downgrade(&consumers) as _]);
        let _ = chores.set(Arc::downgrade(&work));
        watcher.watch_for(vec![
            Arc::downgrade(&work) as _,
            Arc::downgrade(&consumers) as _,
            Arc::downgrade(&tail) as _,
        ]);
        let checkpointer = Arc::new(Checkpointer::new(opener.clone(), identity, Arc::clone(&links.counters)));
        let pruner = Pruner::new(Arc::clone(&readers.log), Arc::clone(&links), options.clone(), &path);
        let listener = Listener {
            tail: Arc::clone(&tail),
            work: Arc::clone(&work),
            checkpointer: Arc::clone(&checkpointer),
            pruner: Arc::clone(&pruner),
            links: Arc::clone(&links),
        };
        let counters = Arc::clone(&links.counters);
        let conn = WriteConnection::new(opened, options.clone(), Arc::new(listener), counters)?;
        let writer = Arc::new(Writer::new(conn, options.busy_deadline));
        links.lead_to(&writer);
        // Others learn of this bus behind its opening: a file that is locked opens as quickly as any.
        links.upkeep();
        if may_prune {
            pruner.start();
        }
        let process = Process::current();
        Ok(Arc::new(Self {
            opener,
            options,
            process,
            writer,
            readers,
            work,
            consumers,
            mortality,
            watcher,
            checkpointer,
            pruner,
            copying: Arc::default(),
            links,
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        self.opener.path()
    }

    pub(crate) fn opener(&self) -> &Opener {
        &self.opener
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

    pub(crate) fn consumers(&self) -> &Arc<Consumers> {
        &self.consumers
    }

    pub(crate) fn work(&self) -> &Arc<Work> {
        &self.work
    }

    pub(crate) fn pruner(&self) -> Arc<Pruner> {
        Arc::clone(&self.pruner)
    }

    pub(crate) fn copying(&self) -> &Arc<Copying> {
        &self.copying
    }

    pub(crate) fn presence(&self) -> Option<&Presence> {
        self.links.presence.as_ref()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.links.counters
    }

    /// Has every reader look.
    pub(crate) fn nudge(&self) {
        if self.process.check().is_ok() {
            self.links.bell.ring(WakeBits::EVERYTHING);
            self.work.nudge();
            self.consumers.nudge();
            self.watcher.wake();
        }
    }

    /// Who has the file open. Blocks while it reads.
    pub(crate) fn peers(&self) -> Result<Vec<Peer>> {
        self.links.upkeep();
        let rows = self.readers.log.peers()?;
        let presence = self.links.presence.as_ref().ok_or_else(peers::unsupported)?;
        let (living, dead) = presence.sort(rows);
        if let Some(dead) = dead {
            self.links.write_some_time(dead);
        }
        Ok(living)
    }

    /// Ends everything; blocks until it has ended. What was queued is written first, so that streams of this process
    /// still get it; the last connection to close moves the WAL into the database.
    pub(crate) fn stop(&self) {
        self.work.stop_all();
        self.consumers.stop();
        self.copying.stop();
        self.mortality.stop();
        self.pruner.stop(self.writer.is_led_here());
        self.links.leave();
        self.writer.stop();
        self.work.end_calls();
        self.readers.tail.end(None);
        self.watcher.stop();
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
