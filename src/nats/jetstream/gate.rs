//! The end of a bus: what has begun may finish, nothing new begins, and readers are told.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::{Error, Result};
use crate::future::BoxFuture;

/// As many operations may be under way at the same time.
const PASSES: u32 = 1 << 20;

#[derive(Debug)]
pub(super) struct Gate {
    /// Given out in turn, so that who asks behind the one that closes gets none.
    passes: Arc<Semaphore>,
    ending: watch::Sender<bool>,
}

/// The right to finish what was begun.
pub(super) struct Pass(
    #[expect(dead_code, reason = "held until what was begun is over")] OwnedSemaphorePermit,
);

impl Gate {
    pub(super) fn new() -> Self {
        Self { passes: Arc::new(Semaphore::new(PASSES as usize)), ending: watch::Sender::new(false) }
    }

    /// For what begins something.
    pub(super) async fn enter(&self) -> Result<Pass> {
        let pass = Arc::clone(&self.passes).acquire_owned().await;
        pass.map(Pass).map_err(|_| Error::closed())
    }

    /// Ends what only reads.
    pub(super) fn end_reading(&self) {
        self.ending.send_replace(true);
    }

    /// Lets nothing begin, and waits until what has begun is over.
    pub(super) async fn close(&self) {
        self.end_reading();
        // Whoever closes it while this waits has had all passes.
        if let Ok(all) = self.passes.acquire_many(PASSES).await {
            self.passes.close();
            drop(all);
        }
    }

    /// Lets nothing begin, and waits for nothing.
    pub(super) fn end(&self) {
        self.end_reading();
        self.passes.close();
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Done when reading ends.
    pub(super) fn ending(&self) -> BoxFuture<'static, ()> {
        let mut ending = self.ending.subscribe();
        Box::pin(async move {
            // Without a sender the bus is gone, and so is what it reads.
            let _ = ending.wait_for(|ending| *ending).await;
        })
    }
}
