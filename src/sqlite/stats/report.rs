//! What is told of a bus without being asked for: once a minute, through `tracing`, and each second to the `metrics` facade. A bus
//! that does nothing tells nothing.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sqlite::disk;
use crate::sqlite::stats::{BusStats, Counters};

/// Between two summaries.
const EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Reporter {
    database: PathBuf,
    last: Mutex<(Instant, BusStats)>,
    #[cfg(feature = "metrics")]
    exporter: super::metrics::Exporter,
}

impl Reporter {
    pub(crate) fn new(database: &Path) -> Self {
        Self {
            database: database.to_owned(),
            last: Mutex::new((Instant::now(), Counters::default().read())),
            #[cfg(feature = "metrics")]
            exporter: super::metrics::Exporter::default(),
        }
    }

    /// To be called once a second at most, while the bus does something.
    pub(crate) fn report(&self, counters: &Counters) {
        #[cfg(feature = "metrics")]
        self.exporter.export(counters, &self.database);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = last.0.elapsed().as_secs();
        if seconds < EVERY.as_secs() {
            return;
        }
        let (before, now) = (std::mem::replace(&mut last.1, counters.read()), &last.1);
        tracing::debug!(
            path = %self.database.display(),
            seconds,
            commits = now.commits - before.commits,
            published = now.published - before.published,
            delivered = now.delivered - before.delivered,
            busy_waits = now.busy_waits - before.busy_waits,
            checkpoints = now.checkpoints.count - before.checkpoints.count,
            needless_wakes = now.wakes.needless - before.wakes.needless,
            wal_bytes = disk::wal(&self.database).0,
            "the bus has done this"
        );
        last.0 = Instant::now();
    }
}
