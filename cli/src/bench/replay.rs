//! `rowbus bench sub`.

use std::time::Instant;

use rowbus::{Messenger, MessengerExt, Publish, SqliteBus, StartAt, Subscribe, defaults};

use crate::bench::SUBJECT;
use crate::bench::args::SubArgs;
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::failure::{Failure, Result};
use crate::status::Status;

/// Payload of one batch while the log is filled: enough to be quick, and little enough for any disk's write-ahead log.
const BATCH_BYTES: usize = 4 << 20;
/// Messages read between two looks at the rest of the world, which would weigh on each if each had one.
const STRETCH: u64 = 1_024;

pub(crate) async fn run(bus: &SqliteBus, args: SubArgs, status: &Status) -> Result<Report> {
    fill(bus, &args, Progress::new(status, "filling", args.messages)?).await?;

    let progress = Progress::new(status, "reading", args.messages)?;
    let began = Instant::now();
    let mut stream = bus.subscribe(Subscribe::to(SUBJECT).from(StartAt::Oldest)).await?;
    for read in 1..=args.messages {
        let message = stream.next().await;
        message.ok_or_else(|| Failure::failed("the stream ended before the log did"))??;
        if read % STRETCH == 0 {
            progress.add(STRETCH);
            // A stream that has always more at hand would never let a signal be noticed.
            tokio::task::yield_now().await;
        }
    }
    let elapsed = began.elapsed();
    Ok(Report {
        work: "sub",
        messages: args.messages,
        size: args.size,
        publishers: None,
        durability: rowbus::Durability::Relaxed,
        delivery: None,
        elapsed: Some(elapsed),
        latency: None,
    })
}

async fn fill(bus: &SqliteBus, args: &SubArgs, progress: Progress) -> Result<()> {
    let size = args.size as usize;
    let message = Publish::new(SUBJECT, vec![b'x'; size]);
    let batch = (BATCH_BYTES / size.max(1)).clamp(1, defaults::BATCH) as u64;
    let mut left = args.messages;
    while left > 0 {
        let now = left.min(batch);
        bus.publish_all((0..now).map(|_| message.clone())).await?;
        progress.add(now);
        left -= now;
    }
    Ok(())
}
