//! `rowbus bench sub`.

use std::time::Instant;

use futures_util::future::try_join_all;
use rowbus::{MessengerExt, Publish, StartAt, Subscribe, defaults};

use crate::bench::args::SubArgs;
use crate::bench::measured::Measured;
use crate::bench::progress::Progress;
use crate::bench::site::Site;
use crate::failure::{Failure, Result};

/// Payload of one batch while the log is filled: enough to be quick, and little enough for any disk's write-ahead log.
const BATCH_BYTES: usize = 4 << 20;
/// Messages read between two looks at the rest of the world, which would weigh on each if each had one.
const STRETCH: u64 = 1_024;

pub(crate) async fn run(site: &Site, args: &SubArgs, progress: Progress) -> Result<Measured> {
    let began = Instant::now();
    let mut stream = site.bus.subscribe(Subscribe::to(&*site.subject).from(StartAt::Oldest)).await?;
    for read in 1..=args.messages {
        let message = stream.next().await;
        message.ok_or_else(|| Failure::failed("the stream ended before the log did"))??;
        if read % STRETCH == 0 {
            progress.add(STRETCH);
            // A stream that has always more at hand would never let a signal be noticed.
            tokio::task::yield_now().await;
        }
    }
    Ok(Measured::of(Some(began.elapsed()), Vec::new()))
}

pub(crate) async fn fill(site: &Site, args: &SubArgs, progress: Progress) -> Result<()> {
    // Without a past there is nothing to be filled for.
    drop(site.bus.subscribe(Subscribe::to(&*site.subject).from(StartAt::Oldest)).await?);
    let in_one = site.bus.capabilities().atomic_batches;
    let size = args.size as usize;
    let message = Publish::new(&*site.subject, vec![b'x'; size]);
    let batch = (BATCH_BYTES / size.max(1)).clamp(1, defaults::BATCH) as u64;
    let mut left = args.messages;
    while left > 0 {
        let now = left.min(batch);
        let batch = (0..now).map(|_| message.clone());
        if in_one {
            site.bus.publish_all(batch).await?;
        } else {
            try_join_all(batch.map(|message| site.bus.send(message))).await?;
        }
        progress.add(now);
        left -= now;
    }
    Ok(())
}
