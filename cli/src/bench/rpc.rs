//! `rowbus bench rpc`: this process asks, and a second one of this program answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rowbus::{Messenger, Request};
use tokio::task::JoinSet;

use crate::bench::args::RpcArgs;
use crate::bench::clock::nanos;
use crate::bench::measured::Measured;
use crate::bench::progress::Progress;
use crate::bench::second::Second;
use crate::bench::site::Site;
use crate::failure::{Failure, Result};
use crate::signals::Stop;

pub(crate) async fn run(site: &Site, args: &RpcArgs, progress: Progress, stop: Stop) -> Result<Measured> {
    Second::with(&site.address, &["answer", &site.subject], stop, async |_| {
        let request = Request::to(&*site.subject, vec![b'x'; args.size as usize]);
        // The first request of a file meets what is made once, such as the memory that processes share.
        site.bus.call(request.clone()).await?;
        let taken = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        let began = Instant::now();
        for _ in 0..args.callers() {
            let (bus, request) = (Arc::clone(&site.bus), request.clone());
            callers.spawn(call(bus, request, args.messages, Arc::clone(&taken), progress.clone()));
        }
        let mut times = Vec::new();
        while let Some(ended) = callers.join_next().await {
            times.extend(ended.map_err(|error| Failure::failed(format!("a caller ended: {error}")))??);
        }
        Ok(Measured::of(Some(began.elapsed()), times))
    })
    .await
}

/// One of those that ask at once: how long each of its requests took, in nanoseconds.
async fn call(
    bus: Arc<dyn Messenger>,
    request: Request,
    requests: u64,
    taken: Arc<AtomicU64>,
    progress: Progress,
) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    while taken.fetch_add(1, Ordering::Relaxed) < requests {
        let began = Instant::now();
        bus.call(request.clone()).await?;
        times.push(nanos(began.elapsed()));
        progress.add(1);
    }
    Ok(times)
}
