//! The half that reads the file: it has what is to be sent flushed first, and writes down what is done.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::bridge::handover::{Half, Handover};
use crate::bridge::note;
use crate::bridge::outgoing::Outgoing;
use crate::bridge::status::Board;
use crate::defaults::{BRIDGE_BATCH_BYTES, BRIDGE_WINDOW};
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::inbox::Inbox;
use crate::sqlite::SqliteBus;

pub(super) struct Reader {
    pub(super) bus: SqliteBus,
    pub(super) bridge: String,
    pub(super) inbox: Inbox,
    pub(super) handover: Arc<Handover>,
    pub(super) board: Arc<Board>,
    /// Told with the next event.
    pub(super) gap: Option<(u64, u64)>,
    /// An error behind events that were gathered.
    pub(super) failed: Option<Error>,
}

enum Turn {
    Events(Vec<Outgoing>),
    /// Something is done that the file does not know of.
    Done,
    End,
}

impl Reader {
    /// Reads until the bus closes, or the bridge is to end.
    pub(super) async fn run(&mut self, out: mpsc::Sender<Vec<Outgoing>>) -> Result<()> {
        loop {
            match self.turn().await? {
                Turn::Events(events) => {
                    self.write(true).await?;
                    if out.send(events).await.is_err() {
                        return Ok(());
                    }
                }
                Turn::Done => self.write(false).await?,
                Turn::End => return Ok(()),
            }
        }
    }

    async fn turn(&mut self) -> Result<Turn> {
        poll_fn(|cx| {
            self.handover.watch(Half::Reader, cx);
            if self.handover.is_ending() {
                return Poll::Ready(Ok(Turn::End));
            }
            let gathered = self.gather(cx);
            self.board.has_place(self.bus.has_place(self.inbox.name()));
            match gathered {
                Err(error) => Poll::Ready(Err(error)),
                Ok(Poll::Ready(events)) if events.is_empty() => Poll::Ready(Ok(Turn::End)),
                Ok(Poll::Ready(events)) => Poll::Ready(Ok(Turn::Events(events))),
                Ok(Poll::Pending) if self.handover.has_done() => Poll::Ready(Ok(Turn::Done)),
                Ok(Poll::Pending) => Poll::Pending,
            }
        })
        .await
    }

    /// What is at hand, up to a batch. None at all is the end of the bus.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Poll<Vec<Outgoing>>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < BRIDGE_WINDOW && bytes < BRIDGE_BATCH_BYTES {
            match Pin::new(&mut self.inbox).poll_next(cx) {
                Poll::Ready(Some(Ok(delivery))) => {
                    bytes += delivery.weight();
                    events.push(Outgoing { delivery, gap: self.gap.take() });
                }
                Poll::Ready(Some(Err(error))) => match error.kind() {
                    ErrorKind::Gap { first, last } => self.missing(first, last),
                    _ if events.is_empty() => return Err(error),
                    _ => {
                        self.failed = Some(error);
                        break;
                    }
                },
                Poll::Ready(None) => break,
                Poll::Pending if events.is_empty() => return Ok(Poll::Pending),
                Poll::Pending => break,
            }
        }
        Ok(Poll::Ready(events))
    }

    fn missing(&mut self, first: u64, last: u64) {
        self.board.gap(first, last);
        let (from, through) = self.gap.unwrap_or((first, last));
        self.gap = Some((from.min(first), through.max(last)));
    }

    /// Writes down what is done; and, before anything of it is sent, has what was read flushed. One commit for both; where it is two, the
    /// note is first: a position that the note does not cover would hide that the stream was cut behind it.
    pub(super) async fn write(&mut self, flush: bool) -> Result<()> {
        let (done, note) = self.handover.take_done();
        let note = note.map(|note| (note::key(&self.bridge), note.to_string()));
        let mark = async {
            match (flush, done.is_some()) {
                (true, _) => self.bus.flush(note).await,
                (false, true) => self.bus.note(note).await,
                (false, false) => Ok(()),
            }
        };
        let (marked, acked) = both(mark, acknowledge(done.as_ref())).await;
        acked.and(marked)
    }
}

async fn acknowledge(done: Option<&Delivery>) -> Result<()> {
    match done {
        Some(delivery) => delivery.ack().await,
        None => Ok(()),
    }
}

/// Both of these, at the same time.
pub(super) async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            unfinished => {
                (first, second) = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}
