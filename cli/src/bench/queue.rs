//! `rowbus bench queue`: jobs that wait are done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rowbus::{Call, Durable, DurableExt, Job, Serve, handler_fn};
use tokio::sync::Notify;

use crate::bench::args::QueueArgs;
use crate::bench::measured::Measured;
use crate::bench::progress::Progress;
use crate::failure::Result;

/// Jobs that are enqueued in one transaction while the queue is filled.
const BATCH: u64 = 500;

pub(crate) async fn fill(
    bus: &dyn Durable,
    subject: &str,
    args: &QueueArgs,
    progress: Progress,
) -> Result<()> {
    let job = Job::new(subject, vec![b'x'; args.size as usize]);
    let mut left = args.messages;
    while left > 0 {
        let now = left.min(BATCH);
        bus.enqueue_all((0..now).map(|_| job.clone())).await?;
        progress.add(now);
        left -= now;
    }
    Ok(())
}

/// Does all jobs. It is over when the last completion is in the file.
pub(crate) async fn run(
    bus: &dyn Durable,
    subject: &str,
    args: &QueueArgs,
    progress: Progress,
) -> Result<Measured> {
    let (done, all_done) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let (messages, last) = (args.messages, Arc::clone(&all_done));
    let handler = handler_fn(move |_: Call| {
        if done.fetch_add(1, Ordering::Relaxed) + 1 == messages {
            last.notify_one();
        }
        progress.add(1);
        async { Ok(Vec::<u8>::new()) }
    });
    let began = Instant::now();
    let workers = usize::try_from(args.workers).unwrap_or(usize::MAX);
    let service = bus.serve_with(Serve::on(subject).concurrency(workers), Arc::new(handler)).await?;
    all_done.notified().await;
    service.stop().await?;
    Ok(Measured::of(Some(began.elapsed()), Vec::new()))
}
