//! Making a request, waiting for it, and taking it back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::error::{Error, ErrorKind, Result};
use crate::publish::Durability;
use crate::reply::{Reply, ReplySource};
use crate::request::RequestParts;
use crate::sqlite::tables::requests::{insert, keep, look};
use crate::sqlite::tables::{peers, replies};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::work::callers::Waiter;
use crate::sqlite::work::jobs::ROW;
use crate::sqlite::work::{Work, no_answer};
use crate::sqlite::writer::{Failure, Operation, Tx, row_size};

/// Writes a request down.
pub(crate) struct Ask {
    pub(crate) work: Arc<Work>,
    pub(crate) request: RequestParts,
    /// In awake milliseconds.
    pub(crate) deadline: i64,
    pub(crate) waiter: Arc<Waiter>,
    /// Requests whose replies were read.
    pub(crate) consumed: Vec<i64>,
}

impl Operation for Ask {
    type Output = ();

    // After a power cut nobody waits for it.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let subject = &self.request.subject;
        if self.request.if_served && !self.work.is_served(subject, &peers::list(tx.conn)?) {
            let message =
                format!("nobody serves {subject:?}, and the request was not to wait for somebody who does");
            return Err(Failure::Refused(Error::new(ErrorKind::NoResponders, message)));
        }
        let size = row_size(subject, &self.request.payload, &self.request.headers) + ROW;
        tx.check_room(size)?;
        remove_consumed(tx, &self.consumed)?;
        let caller = self.work.slot();
        let sequence =
            insert::request(tx.conn, self.waiter.id(), &self.request, self.deadline, caller, tx.now)?;
        // Before the commit, and so before any reply.
        self.work.callers.add(sequence, &self.waiter);
        tx.changed_requests(WakeBits::request(subject.as_str()));
        tx.wrote(size);
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        // The caller has given up between the two.
        if self.waiter.is_abandoned() {
            self.work.give_up(&self.waiter);
        }
    }
}

fn remove_consumed(tx: &mut Tx<'_>, consumed: &[i64]) -> rusqlite::Result<()> {
    for sequence in consumed {
        keep::remove(tx.conn, *sequence)?;
        replies::remove(tx.conn, *sequence)?;
    }
    Ok(())
}

/// Removes requests whose replies were read.
pub(crate) struct Consume {
    pub(crate) consumed: Vec<i64>,
}

impl Operation for Consume {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        remove_consumed(tx, &self.consumed)?;
        tx.changed_requests(WakeBits::NOTHING);
        Ok(())
    }
}

/// Takes a request back: it is not begun any more, and who works on it is told to stop.
pub(crate) struct Withdraw {
    pub(crate) work: Arc<Work>,
    pub(crate) sequence: i64,
    pub(crate) waiter: Arc<Waiter>,
}

impl Operation for Withdraw {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let (sequence, id) = (self.sequence, self.waiter.id());
        if look::withdraw(tx.conn, sequence, id)? > 0 {
            replies::remove(tx.conn, sequence)?;
        } else if look::ask_to_stop(tx.conn, sequence, id, tx.now)? > 0 {
            let holder = look::holder(tx.conn, sequence)?;
            tx.changed_requests(holder.map_or(WakeBits::EVERYTHING, WakeBits::peer));
        }
        tx.changed_requests(WakeBits::NOTHING);
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        self.work.stop_cancelled();
    }
}

/// A request that is waited for; dropping it takes the request back.
pub(crate) struct Pending {
    work: Arc<Work>,
    waiter: Arc<Waiter>,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    ended: bool,
}

impl Pending {
    pub(crate) fn new(
        work: Arc<Work>,
        waiter: Arc<Waiter>,
        deadline: Pin<Box<Sleep>>,
        timeout: Duration,
    ) -> Self {
        Self { work, waiter, deadline, timeout, ended: false }
    }

    fn arrived(&mut self, item: Result<Reply>) -> Result<Reply> {
        if !matches!(&item, Ok(reply) if !reply.is_final()) {
            self.ended = true;
            self.work.consumed(self.waiter.sequence());
        }
        item
    }
}

impl ReplySource for Pending {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        let (polled, more) = self.waiter.poll(cx);
        if more {
            self.work.look_for_replies();
        }
        match polled {
            Poll::Ready(item) => Poll::Ready(Some(self.arrived(item))),
            Poll::Pending if self.deadline.as_mut().poll(cx).is_ready() => {
                // What has arrived since is an answer in time.
                if let (Poll::Ready(item), _) = self.waiter.poll(cx) {
                    return Poll::Ready(Some(self.arrived(item)));
                }
                // Whoever works on it is told, though the caller may keep what it holds.
                self.ended = true;
                self.work.give_up(&self.waiter);
                Poll::Ready(Some(Err(no_answer(self.timeout))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.ended {
            self.work.give_up(&self.waiter);
        }
    }
}
