//! `rowbus bench pub`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rowbus::{Messenger, Publish};
use tokio::task::JoinSet;

use crate::bench::args::PubArgs;
use crate::bench::clock::nanos;
use crate::bench::measured::Measured;
use crate::bench::progress::Progress;
use crate::bench::site::Site;
use crate::failure::{Failure, Result};

pub(crate) async fn run(site: &Site, args: &PubArgs, progress: Progress) -> Result<Measured> {
    let message = Publish::new(&*site.subject, vec![b'x'; args.size as usize]);
    let taken = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..args.publishers() {
        let publisher = Publisher {
            bus: Arc::clone(&site.bus),
            message: message.clone(),
            messages: args.messages,
            taken: Arc::clone(&taken),
            progress: progress.clone(),
        };
        tasks.spawn(publisher.run());
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended.map_err(|error| Failure::failed(format!("a publisher ended: {error}")))??);
    }
    Ok(Measured::of(Some(began.elapsed()), times))
}

/// One of those that publish at once.
struct Publisher {
    bus: Arc<dyn Messenger>,
    message: Publish,
    /// How many all of them publish, and how many they have begun with.
    messages: u64,
    taken: Arc<AtomicU64>,
    progress: Progress,
}

impl Publisher {
    /// How long each of its messages took, in nanoseconds.
    async fn run(self) -> Result<Vec<u64>> {
        let mut times = Vec::new();
        while self.taken.fetch_add(1, Ordering::Relaxed) < self.messages {
            let began = Instant::now();
            self.bus.send(self.message.clone()).await?;
            times.push(nanos(began.elapsed()));
            self.progress.add(1);
        }
        Ok(times)
    }
}
