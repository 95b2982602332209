//! Who waits for replies: the caller of a request, or a reader of a job's replies.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::inmem::broker::Broker;
use crate::reply::{Reply, ReplySource};

/// Dropped, it withdraws its request; a job goes on.
pub(super) struct Caller {
    broker: Arc<Broker>,
    id: Arc<str>,
    reader: u64,
    /// How many parts it has read.
    cursor: usize,
}

impl Caller {
    pub(super) fn new(broker: Arc<Broker>, id: Arc<str>, reader: u64) -> Self {
        Self { broker, id, reader, cursor: 0 }
    }
}

impl ReplySource for Caller {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        let Self { broker, id, reader, cursor } = self;
        broker.step(|state, _| state.requests.poll_reply(id, *reader, cursor, cx.waker())).map(Some)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.broker.step(|state, now| state.requests.leave(&self.id, self.reader, now));
    }
}
