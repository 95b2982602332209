//! A bridge that works, as its program holds it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::bridge::forward::{Forward, Route};
use crate::bridge::handover::Handover;
use crate::bridge::link::Link;
use crate::bridge::session::{self, Parts};
use crate::bridge::status::{Board, BridgeState, BridgeStatus};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::nats::NatsBus;
use crate::sqlite::SqliteBus;

/// Forwards a filter of a file's log to a JetStream stream, until it is stopped or dropped, or the bus is closed.
///
/// ```no_run
/// # #[tokio::main] async fn main() -> rowbus::Result<()> {
/// use rowbus::bridge::Bridge;
/// use rowbus::{NatsBus, SqliteBus};
///
/// let bus = SqliteBus::open("till.db").await?;
/// let nats = NatsBus::connect("nats://127.0.0.1:4222").await?;
/// let bridge = Bridge::forward("orders.>").prefix("till-7").stream("ORDERS").to(&nats).start(&bus).await?;
/// // The program goes on; what it publishes arrives in the stream, now or when the line is up again.
/// let status = bridge.wait_for(|status| status.forwarded >= 100).await;
/// println!("{} up to event {}", status.state, status.position);
/// bridge.stop().await
/// # }
/// ```
#[must_use = "a bridge that is dropped forwards nothing more"]
pub struct Bridge {
    bus: SqliteBus,
    handover: Arc<Handover>,
    board: Arc<Board>,
    task: Mutex<Option<JoinHandle<()>>>,
    ended: Arc<Mutex<Option<Error>>>,
}

impl Bridge {
    /// A bridge for what this filter matches.
    pub fn forward<F>(filter: F) -> Forward
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        Forward::new(filter.try_into().map_err(Error::from))
    }

    pub(super) async fn begin(bus: SqliteBus, target: NatsBus, route: Route) -> Result<Self> {
        let inbox = session::open(&bus, &route).await?;
        let (handover, board) = (Arc::new(Handover::default()), Arc::new(Board::new()));
        let parts = Parts {
            bus: bus.clone(),
            link: Link::new(target.connection(), route.patience),
            route: Arc::new(route),
            handover: Arc::clone(&handover),
            board: Arc::clone(&board),
        };
        let ended = Arc::new(Mutex::new(None));
        let task = tokio::spawn({
            let (ended, board) = (Arc::clone(&ended), Arc::clone(&board));
            async move {
                let outcome = session::run(parts, inbox).await;
                let error = outcome.err();
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = error.clone();
                board.change(|status| {
                    status.state = BridgeState::Stopped;
                    status.last_error = error.or(status.last_error.take());
                });
            }
        });
        Ok(Self { bus, handover, board, task: Mutex::new(Some(task)), ended })
    }

    /// How it fares.
    pub fn status(&self) -> BridgeStatus {
        self.board.get()
    }

    /// How many sequences its position is behind the newest event of the file, of whichever subject.
    ///
    /// # Errors
    /// As any reading verb.
    pub async fn lag(&self) -> Result<u64> {
        Ok(self.bus.newest().await?.saturating_sub(self.board.get().position))
    }

    /// Waits until its status is as wanted, or it has ended, and gives the status then.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&BridgeStatus) -> bool) -> BridgeStatus {
        let mut watch = self.board.watch();
        let found = watch.wait_for(|status| wanted(status) || status.state == BridgeState::Stopped).await;
        found.map_or_else(|_| self.board.get(), |status| status.clone())
    }

    /// Waits until it has ended by itself: at the end of the bus, or with the error that it cannot go on from.
    ///
    /// # Errors
    /// `CursorAhead` if the file was set back; `NotFound` if its consumer was deleted; whatever the file cannot be read or written for.
    pub async fn ended(&self) -> Result<()> {
        self.wait_for(|_| false).await;
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Ends it: nothing more is sent, what is under way is waited for while there is a connection, and how far it came is
    /// written down. Its status can still be asked for.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    pub async fn stop(&self) -> Result<()> {
        self.handover.stop();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("status", &self.board.get()).finish_non_exhaustive()
    }
}
