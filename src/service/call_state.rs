//! What a running handler and its service share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::call::CallControl;
use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::reply::Response;
use crate::service::desk::{Finished, Ticket, Traits, Verdict, millis};
use crate::service::pump::Pump;

/// One call while it runs.
pub(crate) struct CallState {
    pub(super) ticket: Ticket,
    pub(super) traits: Traits,
    pump: Weak<Pump>,
    parts: AtomicU32,
    cancelled: AtomicBool,
    /// The handler is to be dropped.
    abandoned: AtomicBool,
    waker: Notify,
}

impl CallState {
    pub(super) fn new(ticket: Ticket, traits: Traits, pump: &Arc<Pump>) -> Self {
        Self {
            ticket,
            traits,
            pump: Arc::downgrade(pump),
            parts: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            waker: Notify::new(),
        }
    }

    /// Tells the handler that its answer is wanted no more.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.waker.notify_waiters();
    }

    /// Has the handler dropped where it stands.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.cancel();
    }

    /// Returns when the handler is to be dropped.
    pub(super) async fn abandoned(&self) {
        self.until(&self.abandoned).await;
    }

    async fn until(&self, flag: &AtomicBool) {
        loop {
            // Registered before the look, so that what comes in between is not missed.
            let notified = self.waker.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if flag.load(Ordering::SeqCst) {
                return;
            }
            notified.await;
        }
    }

    fn pump(&self) -> Result<Arc<Pump>> {
        self.pump.upgrade().ok_or_else(Error::closed)
    }
}

impl CallControl for CallState {
    fn part(&self, part: Response) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let pump = self.pump()?;
            part.check_size(pump.desk().max_payload())?;
            let number = self.parts.fetch_add(1, Ordering::Relaxed) + 1;
            pump.desk().part(self.ticket, number, part).await
        })
    }

    fn extend(&self, lease: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let pump = self.pump()?;
            let until = pump.desk().awake_millis().saturating_add(millis(lease));
            pump.desk().extend(self.ticket, until).await?;
            pump.extended(self.ticket, until);
            Ok(())
        })
    }

    fn reply(&self, response: Response) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let pump = self.pump()?;
            response.check_size(pump.desk().max_payload())?;
            let (told, answer) = oneshot::channel();
            let verdict = Verdict::Answered(response);
            let finished = Finished { ticket: self.ticket, traits: self.traits, verdict };
            if !pump.answer(finished, told) {
                return Err(Error::lease_lost());
            }
            match answer.await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Error::lease_lost()),
                Err(_) => Err(Error::closed()),
            }
        })
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn cancelled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.until(&self.cancelled))
    }
}
