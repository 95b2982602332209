//! How a file and a bus fare.

pub(crate) mod bus;
pub(crate) mod counters;
mod file;
mod histogram;
mod inspect;
#[cfg(feature = "metrics")]
mod metrics;
mod recent;
mod report;

use std::sync::Arc;

pub use bus::{BusStats, Checkpoints, Wakes};
pub(crate) use counters::Counters;
pub use file::{Count, FileStats, RequestCounts};
pub use histogram::Histogram;
pub use inspect::Inspector;
pub(crate) use inspect::{Copy, Opened, file_stats, open as inspect};
pub use recent::{Activity, SubjectActivity};
pub(crate) use report::Reporter;

use crate::error::Result;
use crate::sqlite::core::Core;
use crate::sqlite::{SqliteBus, off_runtime, peers};

/// How a bus and its file fare; from [`SqliteBus::stats`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// What is in the file, whoever put it there.
    pub file: FileStats,
    /// What this bus has done since it was opened.
    pub bus: BusStats,
}

impl SqliteBus {
    /// How the file and this bus fare. With the feature `metrics` what is in the file is exported as well, as of this call.
    ///
    /// The file is looked at on one snapshot, and however large it is the look is short: what
    /// would have to be counted row by row is counted up to a bound, and says so.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// use rowbus::{MessengerExt, SqliteBus};
    ///
    /// let bus = SqliteBus::open(&path).await?;
    /// bus.publish("orders.created", "{}").await?;
    /// let stats = bus.stats().await?;
    /// assert_eq!((stats.file.events.count, stats.bus.published), (1, 1));
    /// println!("{} µs to commit, mostly", stats.bus.flushed_micros.quantile(0.5));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As any reading verb.
    pub async fn stats(&self) -> Result<Stats> {
        self.core().check_process()?;
        let core = Arc::clone(&self.core);
        off_runtime(move || read(&core)).await
    }
}

/// Blocks while it reads.
fn read(core: &Core) -> Result<Stats> {
    let presence = core.presence();
    let is_alive = presence.map(|presence| |slot: i64| presence.is_alive(slot));
    let look = file::Look {
        path: core.path(),
        now: core.options().clock.unix_millis(),
        is_alive: is_alive.as_ref().map(|is_alive| is_alive as &dyn Fn(i64) -> bool),
        own: presence.map(peers::Presence::slot),
    };
    let file = core.readers().log.read("reading how the file fares", |conn| file::read(conn, &look))?;
    #[cfg(feature = "metrics")]
    metrics::export_file(&file);
    Ok(Stats { file, bus: core.counters().read() })
}
