//! `rowbus bench pub`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rowbus::{Messenger, Publish, SqliteBus};
use tokio::task::JoinSet;

use crate::bench::SUBJECT;
use crate::bench::args::PubArgs;
use crate::bench::clock::nanos;
use crate::bench::percentiles::Percentiles;
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::failure::{Failure, Result};
use crate::status::Status;

pub(crate) async fn run(bus: &SqliteBus, args: PubArgs, status: &Status) -> Result<Report> {
    let message = Publish::new(SUBJECT, vec![b'x'; args.size as usize]);
    // More publishers than messages would have nothing to do.
    let publishers = args.publishers.min(args.messages);
    let taken = Arc::new(AtomicU64::new(0));
    let progress = Progress::new(status, "publishing", args.messages)?;
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..publishers {
        let publisher = Publisher {
            bus: bus.clone(),
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
    let elapsed = began.elapsed();
    Ok(Report {
        work: "pub",
        messages: args.messages,
        size: args.size,
        publishers: Some(publishers),
        durability: args.level.durability(),
        delivery: None,
        elapsed: Some(elapsed),
        latency: Percentiles::of(times),
    })
}

/// One of those that publish at once.
struct Publisher {
    bus: SqliteBus,
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
