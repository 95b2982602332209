//! Looks at the file again and again, on a thread of its own: a file that is locked keeps a look waiting, and never the keys.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rowbus::sqlite::Inspector;
use rowbus::{Message, Subject};
use tokio::sync::mpsc::Sender;

use crate::top::snapshot::Snapshot;
use crate::top::wake::Gate;

/// Messages of a subject that is looked into; the newest.
const MESSAGES: usize = 200;
/// A look may take this part of the time: a file that is slow to look at is looked at less often.
const SHARE: u32 = 10;

/// What is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Whether it is to look at the file from time to time.
    Pause(bool),
    /// To look into this subject each time, or into none any more.
    Into(Option<Subject>),
    /// To look now.
    Look,
}

/// What is told to who draws.
#[derive(Debug)]
pub(super) enum Told {
    Looked(Box<Snapshot>),
    /// The newest messages of a subject.
    Messages(Subject, Vec<Message>),
    /// The file cannot be looked at, and why.
    Trouble(String),
    /// How long an event took to be here.
    Woken(Duration),
    /// What was done has succeeded, in words.
    Done(String),
    /// Or has failed.
    Failed(String),
}

pub(super) struct Collector {
    db: PathBuf,
    interval: Duration,
    gate: Gate,
    told: Sender<Told>,
    /// The newest sequence that was looked at, and when; none of a file that was not seen yet.
    before: Option<(u64, Instant)>,
    incarnation: Option<String>,
    into: Option<Subject>,
    is_paused: bool,
}

impl Collector {
    pub(super) fn new(db: &Path, interval: Duration, gate: Gate, told: Sender<Told>) -> Self {
        let (before, incarnation) = (None, None);
        Self { db: db.to_owned(), interval, gate, told, before, incarnation, into: None, is_paused: false }
    }

    /// Looks until nobody asks or listens any more. Blocks.
    pub(super) fn run(mut self, asked: &Receiver<Ask>) {
        let mut due = Instant::now();
        loop {
            let wait = match self.is_paused {
                true => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => asked.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            let only_messages = match wait {
                Ok(Ask::Pause(is_paused)) => {
                    self.is_paused = is_paused;
                    continue;
                }
                Ok(Ask::Into(subject)) => {
                    self.into = subject;
                    true
                }
                Ok(Ask::Look) | Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let began = Instant::now();
            let told = if only_messages { self.look_into() } else { self.look() };
            let told = told.unwrap_or_else(|error| vec![Told::Trouble(error.to_string())]);
            for told in told {
                if self.told.blocking_send(told).is_err() {
                    return;
                }
            }
            if !only_messages {
                due = Instant::now() + self.interval.max(began.elapsed() * (SHARE - 1));
            }
        }
    }

    /// Opened anew each time: the file may be another by now, and one that nobody has open is read as one that stays as it is.
    fn look(&mut self) -> rowbus::Result<Vec<Told>> {
        let (mut snapshot, messages) = {
            let gate = Gate::clone(&self.gate);
            let _no_bus_comes_or_goes = gate.blocking_lock();
            let file = Inspector::open(&self.db)?;
            (self.take(&file)?, self.messages(&file)?)
        };
        let (now, through) = (Instant::now(), snapshot.published.through);
        // What was there before anybody looked tells no rate.
        snapshot.since = self.before.map(|(_, then)| now - then);
        self.before = Some((through, now));
        self.incarnation.clone_from(&snapshot.incarnation);
        Ok([Told::Looked(Box::new(snapshot))].into_iter().chain(messages).collect())
    }

    fn take(&mut self, file: &Inspector) -> rowbus::Result<Snapshot> {
        if let Some((after, _)) = self.before {
            let snapshot = Snapshot::take(file, after)?;
            if snapshot.incarnation == self.incarnation && after <= snapshot.published.through {
                return Ok(snapshot);
            }
            // Another file, or an older state of it.
            self.before = None;
        }
        Snapshot::take(file, 0)
    }

    fn look_into(&self) -> rowbus::Result<Vec<Told>> {
        let _no_bus_comes_or_goes = self.gate.blocking_lock();
        let messages = self.into.is_some().then(|| self.messages(&Inspector::open(&self.db)?)).transpose()?;
        Ok(messages.flatten().into_iter().collect())
    }

    fn messages(&self, file: &Inspector) -> rowbus::Result<Option<Told>> {
        let into = |subject: &Subject| Ok(Told::Messages(subject.clone(), file.newest(subject, MESSAGES)?));
        self.into.as_ref().map(into).transpose()
    }
}

#[cfg(test)]
mod tests {
    use rowbus::{Messenger, MessengerExt, SqliteBus};

    use super::*;

    async fn looked(collector: Collector, looks: usize) -> (Collector, Vec<Told>) {
        tokio::task::spawn_blocking(move || {
            let mut collector = collector;
            let told = (0..looks).flat_map(|_| collector.look().unwrap()).collect();
            (collector, told)
        })
        .await
        .unwrap()
    }

    fn snapshot(told: &Told) -> &Snapshot {
        match told {
            Told::Looked(snapshot) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_rate_begins_with_the_second_look_at_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (db, other) = (folder.path().join("a.db"), folder.path().join("b.db"));
        for (path, events) in [(&db, 3), (&other, 1)] {
            let bus = SqliteBus::open(path).await.unwrap();
            for _ in 0..events {
                bus.publish("a", "x").await.unwrap();
            }
            bus.close().await.unwrap();
        }
        let told = tokio::sync::mpsc::channel(1).0;
        let collector = Collector::new(&db, Duration::from_secs(1), Gate::default(), told);
        let (collector, told) = looked(collector, 2).await;
        let [first, second] = [&told[0], &told[1]].map(snapshot);
        assert_eq!((first.since, first.published.through, first.published.subjects.len()), (None, 3, 1));
        assert!(second.since.is_some() && second.published.events == 0);
        std::fs::rename(&other, &db).unwrap();
        let (_, told) = looked(collector, 1).await;
        assert_eq!((snapshot(&told[0]).since, snapshot(&told[0]).published.through), (None, 1));
    }

    #[tokio::test]
    async fn a_subject_that_is_looked_into_comes_with_each_look() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("a.db");
        let bus = SqliteBus::open(&db).await.unwrap();
        bus.publish("a", "x").await.unwrap();
        bus.close().await.unwrap();
        let told = tokio::sync::mpsc::channel(1).0;
        let mut collector = Collector::new(&db, Duration::from_secs(1), Gate::default(), told);
        collector.into = Some(Subject::new("a").unwrap());
        let (_, told) = looked(collector, 1).await;
        assert!(
            matches!(&told[1], Told::Messages(subject, messages) if subject == "a" && messages.len() == 1)
        );
    }
}
