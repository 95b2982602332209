//! What has events handled in transactions, one batch after the other, until it is to end.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crate::consumer::AckPolicy;
use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::effect::batch::{Batch, Handled, Status};
use crate::sqlite::consume::effect::{Ending, Handle};
use crate::sqlite::consume::feed::Feed;
use crate::sqlite::consume::load::{Loaded, reload};
use crate::sqlite::consume::place::{Enlist, Next};
use crate::sqlite::consume::recovery::Recovery;
use crate::sqlite::consume::seat::Seat;
use crate::sqlite::off_runtime;
use crate::sqlite::tables::consumers::ConsumerRow;

pub(super) struct Driver {
    seat: Seat,
    consumer: ConsumerRow,
    handle: Arc<Handle>,
    ending: Ends,
    /// `None` until the consumer was read, and while another member has the place.
    feed: Option<Feed>,
    /// Of the active member of a cumulative consumer.
    token: Option<i64>,
    look: bool,
    load: bool,
    /// The position after the last transaction.
    handled: u64,
    /// Events up to here have a transaction each: one of them has spoilt that of all.
    alone_through: u64,
    /// So has the next that comes again.
    alone_again: bool,
    /// The event whose transaction could not be committed, and why.
    blame: Option<(u64, String)>,
    recovery: Recovery,
}

/// Tells that it has ended when it is dropped, by its runtime as well.
struct Ends(Arc<Ending>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

/// What is to be done next.
enum Work {
    Handle,
    Load,
    /// The log could not be read.
    TryAgain(Error),
    End(Option<Error>),
}

/// Events that share a transaction, at most.
const MOST: usize = 64;

impl Driver {
    pub(super) fn new(seat: Seat, consumer: ConsumerRow, handle: Arc<Handle>, ending: Arc<Ending>) -> Self {
        let ending = Ends(ending);
        Self {
            seat,
            consumer,
            handle,
            ending,
            feed: None,
            token: None,
            look: true,
            load: true,
            handled: 0,
            alone_through: 0,
            alone_again: false,
            blame: None,
            recovery: Recovery::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let error = loop {
            let done = match poll_fn(|cx| self.poll_work(cx)).await {
                Work::Load => self.load().await,
                Work::Handle => self.handle().await,
                Work::TryAgain(error) => Err(error),
                Work::End(error) => break error,
            };
            let Err(error) = done else {
                self.recovery.done();
                continue;
            };
            match self.recovery.pause(&self.seat, error) {
                Ok(pause) => {
                    (self.look, self.load) = (true, true);
                    pause.await;
                }
                Err(error) => break Some(error),
            }
        };
        // Others may go on from here.
        self.seat.has_seen(&self.consumer, self.handled, self.feed.as_ref());
        let left = self.seat.leave().await.err();
        let error = error.or(left).filter(|error| error.kind() != ErrorKind::Closed);
        self.ending.0.end(error);
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Work> {
        loop {
            let news = self.seat.member.news(cx.waker());
            if news.closed || self.ending.0.is_to_stop() {
                return Poll::Ready(Work::End(None));
            }
            if let Some(error) = self.seat.member.take_stop() {
                return Poll::Ready(Work::End(Some(error)));
            }
            let stands_by = self.is_cumulative() && self.token.is_none();
            self.look |= news.look;
            self.load |= news.reload || news.back || (news.look && stands_by);
            if std::mem::take(&mut self.load) {
                return Poll::Ready(Work::Load);
            }
            if self.consumer.is_paused || self.is_backing_off() {
                return Poll::Pending;
            }
            let Some(feed) = &mut self.feed else { return Poll::Pending };
            match feed.read_ahead(cx, MOST) {
                Err(gap) if matches!(gap.kind(), ErrorKind::Gap { .. }) => {
                    tracing::warn!(error = %gap, consumer = %self.consumer.name, "events may be missing");
                    continue;
                }
                Err(error) => return Poll::Ready(Work::TryAgain(error)),
                Ok(()) => {}
            }
            if feed.is_empty() && !self.look {
                return Poll::Pending;
            }
            self.look = false;
            return Poll::Ready(Work::Handle);
        }
    }

    fn is_cumulative(&self) -> bool {
        self.consumer.settings.ack_policy == AckPolicy::Cumulative
    }

    fn consumers(&self) -> &Arc<Consumers> {
        &self.seat.consumers
    }

    /// Whether what failed is to wait a while longer.
    fn is_backing_off(&self) -> bool {
        let until = self.seat.member.state().retry_at;
        until.is_some_and(|until| until > self.consumers().unix_millis())
    }

    /// Reads the consumer, and sees whose the place is.
    async fn load(&mut self) -> Result<()> {
        let gone = Error::no_such_consumer(&self.consumer.name);
        self.look = true;
        if !self.is_cumulative() {
            let Loaded { consumer, feed } = reload(&self.seat, &self.consumer).await?.ok_or(gone)?;
            (self.consumer, self.feed) = (consumer, Some(feed));
            return Ok(());
        }
        let (consumers, member) = (Arc::clone(self.consumers()), Arc::clone(&self.seat.member));
        let enlisted = self.consumers().writer()?.run(Enlist { consumers, member }).await?;
        (self.consumer, self.token, self.feed) = (enlisted.consumer.ok_or(gone)?, enlisted.token, None);
        if self.token.is_some() {
            let (readers, consumer) = (self.consumers().readers().clone(), self.consumer.clone());
            let runtime = self.seat.runtime.clone();
            let feed = off_runtime(move || Feed::open(&readers, &consumer, consumer.position, runtime));
            self.feed = Some(feed.await?);
        }
        Ok(())
    }

    async fn handle(&mut self) -> Result<()> {
        let ahead = self.feed.as_ref().map(|feed| feed.ahead(MOST)).unwrap_or_default();
        let alone = self.blame.is_some()
            || self.alone_again
            || ahead.first().is_some_and(|next| next.sequence() <= self.alone_through);
        let called = Arc::new(AtomicU64::new(0));
        let batch = Batch {
            consumers: Arc::clone(self.consumers()),
            member: Arc::clone(&self.seat.member),
            consumer: self.consumer.clone(),
            token: self.token,
            ahead,
            most: if alone { 1 } else { MOST },
            handle: Arc::clone(&self.handle),
            called: Arc::clone(&called),
            blame: self.blame.take(),
        };
        match self.consumers().writer()?.run(batch).await {
            Ok(handled) => {
                self.handled(handled);
                Ok(())
            }
            Err(error) if is_of_a_handler(&error) => {
                // What it has written cannot be committed: alone it is known whose fault that is, and counts as its failure.
                let sequence = called.load(Ordering::SeqCst);
                if alone && sequence > 0 {
                    self.blame = Some((sequence, error.to_string()));
                } else {
                    (self.alone_through, self.alone_again) = (self.alone_through.max(sequence), true);
                    if sequence == 0 {
                        return Err(error);
                    }
                }
                self.look = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn handled(&mut self, handled: Handled) {
        for gone in &handled.gone {
            tracing::warn!(error = %gone, consumer = %self.consumer.name, "events may be missing");
        }
        match handled.status {
            Status::Done => {
                self.alone_again = false;
                self.look |= handled.more;
                self.handled = handled.position;
                if let Some(feed) = &mut self.feed {
                    feed.pass(handled.position);
                }
                // What was said of the event is in the row.
                self.load |= !matches!(handled.next, Next::On);
            }
            Status::Paused => self.consumer.is_paused = true,
            Status::Changed => self.load = true,
            // It is tried again up to there one by one, and then it is known whose statement it was.
            Status::RolledBack => {
                (self.alone_through, self.alone_again, self.look) = (handled.sequence, true, true);
            }
        }
    }
}

/// Whether what handlers have written may be the cause: a constraint that is only checked by COMMIT, for one.
fn is_of_a_handler(error: &Error) -> bool {
    error.kind() == ErrorKind::Database
}
