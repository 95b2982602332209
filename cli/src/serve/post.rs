//! How many requests are taken: all that come, or exactly so many.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use rowbus::Service;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Result;

/// One service, and the end of it.
///
/// A service takes the next request as soon as one is done. To take exactly so many, each post has a service that takes one
/// at a time, and stops it before the last one that it may take is done.
pub(super) struct Post {
    concurrency: usize,
    leave: Option<mpsc::Receiver<Leave>>,
}

/// What the handler of a post is to do when it is done with a request.
pub(super) struct Shift {
    budget: Arc<Budget>,
    leave: mpsc::Sender<Leave>,
}

/// Requests that may be taken beyond the first one of each post.
struct Budget(AtomicU64);

/// Told when the service takes nothing any more.
type Leave = oneshot::Sender<()>;

/// What happens to a service.
enum Event {
    Stopped,
    Left(Leave),
    Ended(rowbus::Result<()>),
}

impl Post {
    /// As many as it takes for `concurrency` requests at the same time and `count` in all, and what the handler of each
    /// needs if it is not to go on for ever.
    pub(super) fn all(concurrency: usize, count: Option<u64>) -> Vec<(Self, Option<Shift>)> {
        let Some(count) = count else {
            return vec![(Self { concurrency, leave: None }, None)];
        };
        let posts = count.min(concurrency as u64);
        let budget = Arc::new(Budget(AtomicU64::new(count - posts)));
        let post = |_| {
            let (leave, left) = mpsc::channel(1);
            (Self { concurrency: 1, leave: Some(left) }, Some(Shift { budget: Arc::clone(&budget), leave }))
        };
        (0..posts).map(post).collect()
    }

    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Waits for the end of the service: it has taken what it may, was told to stop, or ends by itself. Calls `stopping`
    /// when it was told to, and takes nothing any more.
    pub(super) async fn attend(
        mut self,
        mut service: Service,
        stop: impl Future<Output = ()>,
        stopping: impl FnOnce(),
    ) -> Result<()> {
        let left = async {
            match &mut self.leave {
                Some(leave) => leave.recv().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = stop => Event::Stopped,
            Some(leave) = left => Event::Left(leave),
            ended = service.ended() => Event::Ended(ended),
        };
        match event {
            Event::Stopped => {
                // Else its handler would wait to be heard, and the service for its handler.
                self.leave = None;
                end(service, stopping).await
            }
            Event::Left(leave) => {
                // The handler may return now.
                let draining = || {
                    let _ = leave.send(());
                };
                end(service, draining).await
            }
            Event::Ended(ended) => Ok(ended?),
        }
    }
}

/// Ends a service in good order; calls `draining` when it takes nothing any more.
async fn end(service: Service, draining: impl FnOnce()) -> Result<()> {
    let ended = service.stop();
    tokio::pin!(ended);
    let first = ended.as_mut().now_or_never();
    draining();
    match first {
        Some(ended) => Ok(ended?),
        None => Ok(ended.await?),
    }
}

impl Shift {
    /// To be called before the handler returns: else the service would take another one in between.
    pub(super) async fn done(&self) {
        let one_less = |left: u64| left.checked_sub(1);
        if self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return;
        }
        let (leave, left) = oneshot::channel();
        // Where nobody hears it, the service is at its end already.
        if self.leave.send(leave).await.is_ok() {
            let _ = left.await;
        }
    }
}
