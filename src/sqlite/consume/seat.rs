//! What an inbox has of its consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::error::Result;
use crate::future::BoxFuture;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::feed::Feed;
use crate::sqlite::consume::member::{Member, Seen};
use crate::sqlite::consume::tidy::{Leave, Release};
use crate::sqlite::tables::consumers::ConsumerRow;

/// A place among the members; dropping it leaves, once it was taken.
pub(super) struct Seat {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) runtime: Handle,
    taken: AtomicBool,
}

impl Seat {
    pub(super) fn new(consumers: &Arc<Consumers>, member: Arc<Member>, runtime: Handle) -> Self {
        Self { consumers: Arc::clone(consumers), member, runtime, taken: AtomicBool::new(false) }
    }

    /// It is in the file that the member is there.
    pub(super) fn take(&self) {
        self.taken.store(true, Ordering::SeqCst);
        self.consumers.add(&self.member);
    }

    /// Leaves, and returns when that is written. Where it cannot be, or this is dropped before, it is written some time.
    pub(super) async fn leave(&mut self) -> Result<()> {
        if !self.taken.load(Ordering::SeqCst) {
            return Ok(());
        }
        let leave = self.consumers.leave(&self.member);
        self.consumers.writer()?.run(leave).await?;
        self.taken.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Leaves; that is written some time.
    pub(super) fn leave_soon(&self) {
        if self.taken.swap(false, Ordering::SeqCst) {
            self.consumers.write_some_time(self.consumers.leave(&self.member));
        }
    }

    /// Notes how far there was nothing for the consumer, for when this leaves.
    pub(super) fn has_seen(&self, consumer: &ConsumerRow, handed: u64, feed: Option<&Feed>) {
        let seen = |through| Seen { revision: consumer.revision, handed, through };
        self.member.state().seen = feed.and_then(Feed::caught_up).map(seen);
    }

    /// Gives back what was not handed over.
    pub(super) fn give_back(&self) {
        let taken = self.member.take_ready();
        if !taken.is_empty() {
            let consumers = Arc::clone(&self.consumers);
            let release = Release { consumers, consumer: self.member.consumer, taken };
            self.consumers.write_some_time(release);
        }
    }

    pub(super) fn pause(&self, pause: Duration) -> BoxFuture<'static, ()> {
        let _entered = self.runtime.enter();
        Box::pin(tokio::time::sleep(pause))
    }
}

impl Consumers {
    /// What tells everybody that a member has left; it may be written more than once.
    pub(super) fn leave(self: &Arc<Self>, member: &Arc<Member>) -> Leave {
        let taken = member.take_all_ready();
        let (token, seen) = {
            let mut state = member.state();
            (state.left, state.said_at) = (true, Some(Instant::now()));
            (state.token, state.seen)
        };
        let (consumers, member) = (Arc::clone(self), Arc::clone(member));
        Leave { consumers, member, peer: self.peer(), token, taken, seen }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave_soon();
    }
}
