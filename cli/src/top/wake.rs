//! How long events take from their publish to another process: this one.
//!
//! A bus of its own waits for the next event, four times a second at most, so that it costs publishers a wake now and then and
//! this process a page of the log. The log has times in whole milliseconds, cut off; so what is measured is too long by up to
//! one, and never too short.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rowbus::sqlite::Migrate;
use rowbus::{Messenger, MessengerExt, SqliteBus};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::failure::Result;
use crate::top::collect::Told;

/// Between two events that are waited for.
const REST: Duration = Duration::from_millis(250);
/// Before a bus that failed is opened again.
const AGAIN: Duration = Duration::from_secs(5);
/// Times that are kept.
const KEPT: usize = 128;
/// What is older was not published now: an import has the times of then.
const LONGEST: Duration = Duration::from_secs(60);

/// The newest times.
#[derive(Clone, Debug, Default)]
pub(super) struct Wakes(VecDeque<Duration>);

impl Wakes {
    pub(super) fn push(&mut self, time: Duration) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    /// What half and nearly all of them stay within.
    pub(super) fn percentiles(&self) -> Option<(Duration, Duration)> {
        let mut times: Vec<_> = self.0.iter().copied().collect();
        times.sort_unstable();
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some((rank(50)?, rank(99)?))
    }
}

/// Buses of this process are opened and closed one after the other, and not while the file is looked at: looking at a file
/// that nobody has open closes a handle of it, and with it goes the lock that SQLite has just taken for the bus.
pub(super) type Gate = Arc<Mutex<()>>;

/// Measures until it is told to stop, and closes its bus.
pub(super) async fn measure(
    db: PathBuf,
    gate: Gate,
    told: mpsc::Sender<Told>,
    mut stop: oneshot::Receiver<()>,
) {
    // Why it cannot be measured is told by the look at the file as well, or is no more than that.
    while until_it_fails(&db, &gate, &told, &mut stop).await.is_err() {
        tokio::select! {
            _ = &mut stop => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Returns without an error when it was told to stop, or nobody listens.
async fn until_it_fails(
    db: &Path,
    gate: &Gate,
    told: &mpsc::Sender<Told>,
    stop: &mut oneshot::Receiver<()>,
) -> Result<()> {
    let bus = {
        let _nobody_looks = gate.lock().await;
        let builder = SqliteBus::builder(db).name("rowbus top").create(false).migrate(Migrate::Manual);
        builder.open().await?
    };
    let outcome = tokio::select! {
        _ = stop => Ok(()),
        outcome = wait_for_events(&bus, told) => outcome,
    };
    let _nobody_looks = gate.lock().await;
    // It has no more to say: what was measured has been told.
    let _ = bus.close().await;
    outcome
}

async fn wait_for_events(bus: &SqliteBus, told: &mpsc::Sender<Told>) -> Result<()> {
    loop {
        let mut stream = bus.stream(">").await?;
        let Some(message) = stream.next().await else { return Ok(()) };
        let published = Duration::from_millis(message?.unix_millis().try_into().unwrap_or(u64::MAX));
        drop(stream);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(time) = now.checked_sub(published).filter(|time| *time < LONGEST)
            && told.send(Told::Woken(time)).await.is_err()
        {
            return Ok(());
        }
        tokio::time::sleep(REST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_stay_within() {
        let mut wakes = Wakes::default();
        assert_eq!(wakes.percentiles(), None);
        for millis in 1..=200 {
            wakes.push(Duration::from_millis(millis));
        }
        let [half, nearly_all] = [136, 199].map(Duration::from_millis);
        assert_eq!(wakes.percentiles(), Some((half, nearly_all)));
    }
}
