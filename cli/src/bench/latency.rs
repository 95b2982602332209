//! `rowbus bench latency`: this process publishes, and a second one of this program receives.

use rowbus::MessengerExt;

use crate::bench::args::LatencyArgs;
use crate::bench::clock;
use crate::bench::measured::Measured;
use crate::bench::progress::Progress;
use crate::bench::second::Second;
use crate::bench::site::Site;
use crate::failure::{Failure, Result};
use crate::signals::Stop;

pub(crate) async fn run(site: &Site, args: &LatencyArgs, progress: Progress, stop: Stop) -> Result<Measured> {
    Second::with(&site.address, &["receive", &site.subject], stop, async |second| {
        let publish = async |payload| Ok(site.bus.publish(&*site.subject, payload).await.map(drop)?);
        deliver(second, publish, args, &progress).await
    })
    .await
}

/// Publishes one after the other, and has the second process say how long each took.
pub(crate) async fn deliver(
    second: &mut Second,
    mut publish: impl AsyncFnMut(Vec<u8>) -> Result<()>,
    args: &LatencyArgs,
    progress: &Progress,
) -> Result<Measured> {
    let mut deliver = async || {
        tokio::time::sleep(args.pause).await;
        publish(clock::stamped(args.size as usize)).await?;
        let line = second.line().await?;
        line.parse().map_err(|_| Failure::failed(format!("the second process said {line:?}")))
    };
    // The first message of a file meets what is made once, such as the memory that processes share.
    let _: u64 = deliver().await?;
    let mut times = Vec::new();
    for _ in 0..args.messages {
        times.push(deliver().await?);
        progress.add(1);
    }
    Ok(Measured::of(None, times))
}
