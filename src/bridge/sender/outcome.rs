//! What became of an event, and what follows from that.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::publish::PublishAck;
use tokio::time::sleep;

use crate::bridge::failure::{Refusal, judge};
use crate::bridge::handover::Half;
use crate::bridge::outgoing::Outgoing;
use crate::bridge::sender::Sender;
use crate::error::{Error, ErrorKind, Result};

/// The longest time that a connection that is back is not noticed.
const NAP: Duration = Duration::from_secs(1);

impl Sender {
    pub(super) fn pass_over(&mut self, outgoing: Outgoing) {
        self.board.goes_on(|status| {
            status.found += 1;
            status.position = status.position.max(outgoing.sequence());
        });
        self.done = Some(outgoing.delivery);
    }

    /// Keeps what the stream can never take as a dead letter of the file.
    pub(super) async fn refuse(&mut self, outgoing: Outgoing, reason: String) -> Result<()> {
        tracing::warn!(
            sequence = outgoing.sequence(),
            reason,
            "an event cannot be forwarded, and is a dead letter now"
        );
        outgoing.delivery.term(reason).await?;
        self.board.goes_on(|status| {
            status.refused += 1;
            status.position = status.position.max(outgoing.sequence());
        });
        self.done = Some(outgoing.delivery);
        Ok(())
    }

    /// The first under way is in the stream.
    pub(super) fn stored(&mut self, ack: &PublishAck) {
        let Some(head) = self.in_flight.pop_front() else { return };
        let sequence = head.outgoing.sequence();
        self.stored_through = sequence;
        if !ack.duplicate
            && let Some(note) = &mut self.note
        {
            (note.sequence, note.stream_sequence) = (sequence, ack.sequence);
        }
        self.board.goes_on(|status| {
            status.position = sequence;
            if ack.duplicate { status.found += 1 } else { status.forwarded += 1 }
        });
        self.done = Some(head.outgoing.delivery);
        self.pauses.over();
        self.acked += 1;
        if self.acked >= self.window {
            (self.acked, self.conflicts) = (0, 0);
            self.window = self.window.saturating_mul(2).min(self.route.window);
        }
    }

    /// The first under way is not in the stream, or nobody knows.
    pub(super) async fn failed(&mut self, error: PublishError) -> Result<()> {
        match judge(error) {
            Refusal::NotInOrder => {
                self.let_go();
                self.acked = 0;
                self.conflicts = if self.window == 1 { self.conflicts + 1 } else { 0 };
                self.window = (self.window / 2).max(1);
                self.board.change(|status| status.conflicts += 1);
            }
            Refusal::Never(reason) => {
                let head = self.in_flight.pop_front();
                self.let_go();
                if let Some(head) = head {
                    self.refuse(head.outgoing, reason).await?;
                }
            }
            Refusal::Passing(error) => {
                self.let_go();
                self.wait(&error).await;
            }
        }
        Ok(())
    }

    /// What is under way is to be sent again, unless a look shows that it is there.
    pub(super) fn let_go(&mut self) {
        self.look = None;
        let held: Vec<_> = self.in_flight.drain(..).map(|sent| sent.outgoing).collect();
        held.into_iter().rev().for_each(|outgoing| self.queue.push_front(outgoing));
    }

    /// Waits a while, or until the connection is back, or it is to end.
    pub(super) async fn wait(&mut self, error: &Error) {
        let subject = self.queue.front().map(|next| self.route.subject(next.delivery.subject()));
        let silence = match error.kind() {
            ErrorKind::Disconnected => self.link.why_silent(subject.as_deref()),
            _ => None,
        };
        self.board.waits(silence.as_ref().unwrap_or(error));
        self.hand_over();
        let was = self.link.connection();
        let mut left = self.pauses.next();
        while !left.is_zero() && self.link.connection() == was {
            let nap = left.min(NAP);
            left -= nap;
            let mut nap = Box::pin(sleep(nap));
            let ends = poll_fn(|cx| {
                self.handover.watch(Half::Sender, cx);
                if self.handover.is_ending() {
                    Poll::Ready(true)
                } else {
                    nap.as_mut().poll(cx).map(|()| false)
                }
            });
            if ends.await {
                return;
            }
        }
    }
}
