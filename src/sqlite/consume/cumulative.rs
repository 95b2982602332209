//! An inbox of a cumulative consumer: the active member reads the log in order, the others wait for its place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::delivery::{Delivery, DeliveryControl};
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::inbox::InboxSource;
use crate::message::Message;
use crate::sqlite::consume::control::InPlace;
use crate::sqlite::consume::feed::Feed;
use crate::sqlite::consume::place::{Enlist, Enlisted};
use crate::sqlite::consume::recovery::Recovery;
use crate::sqlite::consume::seat::Seat;
use crate::sqlite::off_runtime;
use crate::sqlite::tables::consumers::ConsumerRow;

pub(super) struct CumulativeInbox {
    seat: Seat,
    consumer: ConsumerRow,
    /// Of the active member.
    place: Option<Active>,
    /// The last event that was handed over.
    handed: u64,
    items: VecDeque<Error>,
    step: Option<Step>,
    recovery: Recovery,
    /// It is to see where it stands.
    enlist: bool,
    finished: bool,
}

struct Active {
    control: Arc<dyn DeliveryControl>,
    feed: Feed,
    /// Events that were given up on before.
    given_up: Vec<u64>,
}

/// Where it stands, and what it has before it if it has the place.
type Stand = (Enlisted, Option<Feed>);

enum Step {
    Enlist(BoxFuture<'static, Result<Stand>>),
    Pause(BoxFuture<'static, ()>),
}

impl CumulativeInbox {
    pub(super) fn new(seat: Seat, consumer: ConsumerRow) -> Self {
        Self {
            seat,
            handed: consumer.position,
            consumer,
            place: None,
            items: VecDeque::new(),
            step: None,
            recovery: Recovery::default(),
            enlist: true,
            finished: false,
        }
    }

    /// Takes the place or stands by.
    fn enlist(&self) -> BoxFuture<'static, Result<Stand>> {
        let (consumers, member) = (Arc::clone(&self.seat.consumers), Arc::clone(&self.seat.member));
        let (runtime, handed, epoch) = (self.seat.runtime.clone(), self.handed, self.consumer.epoch);
        Box::pin(async move {
            let enlist = Enlist { consumers: Arc::clone(&consumers), member };
            let enlisted = consumers.writer()?.run(enlist).await?;
            let feed = match (&enlisted.consumer, enlisted.token) {
                (Some(consumer), Some(_)) => {
                    // What it has handed over and nobody acknowledged is not handed over twice by the same member.
                    let is_same = consumer.epoch == epoch;
                    let after = consumer.position.max(if is_same { handed } else { 0 });
                    let (readers, consumer) = (consumers.readers().clone(), consumer.clone());
                    Some(off_runtime(move || Feed::open(&readers, &consumer, after, runtime)).await?)
                }
                _ => None,
            };
            Ok((enlisted, feed))
        })
    }

    fn stands(&mut self, (enlisted, feed): Stand) {
        let Some(consumer) = enlisted.consumer else {
            return self.fail(Error::no_such_consumer(&self.consumer.name));
        };
        if consumer.epoch != self.consumer.epoch {
            self.handed = consumer.position;
        }
        self.consumer = consumer;
        self.place = enlisted.token.zip(feed).map(|(token, feed)| Active {
            control: Arc::new(InPlace {
                consumers: Arc::clone(&self.seat.consumers),
                member: Arc::clone(&self.seat.member),
                epoch: self.consumer.epoch,
                token,
            }),
            feed,
            given_up: enlisted.given_up,
        });
        if self.place.is_none() {
            self.handed = 0;
        }
    }

    fn fail(&mut self, error: Error) {
        (self.finished, self.place) = (true, None);
        self.seat.leave_soon();
        // The end of the bus is the end of its inboxes, and no fault of theirs.
        if error.kind() != ErrorKind::Closed {
            self.items.push_back(error);
        }
    }

    /// What could not be done is tried again, unless that is of no use.
    fn failed(&mut self, error: Error) {
        match self.recovery.pause(&self.seat, error) {
            Ok(pause) => {
                (self.enlist, self.place) = (true, None);
                self.step = Some(Step::Pause(pause));
            }
            Err(error) => self.fail(error),
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.step {
            None => {}
            Some(Step::Pause(pause)) => {
                ready!(pause.as_mut().poll(cx));
                self.step = None;
            }
            Some(Step::Enlist(enlist)) => {
                let stand = ready!(enlist.as_mut().poll(cx));
                self.step = None;
                match stand {
                    Ok(stand) => {
                        self.recovery.done();
                        self.stands(stand);
                    }
                    Err(error) => self.failed(error),
                }
            }
        }
        Poll::Ready(())
    }

    /// What was handed over need not be done with.
    fn note_seen(&self) {
        self.seat.has_seen(&self.consumer, self.handed, self.place.as_ref().map(|place| &place.feed));
    }

    /// Whether what failed is to wait a while longer.
    fn is_backing_off(&self) -> bool {
        let until = self.seat.member.state().retry_at;
        until.is_some_and(|until| until > self.seat.consumers.unix_millis())
    }

    fn delivery(&mut self, message: Message) -> Option<Delivery> {
        let control = Arc::clone(&self.place.as_ref()?.control);
        self.handed = message.sequence();
        let attempt = self.consumer.failures_of(message.sequence()) + 1;
        Some(Delivery::new(message, u32::try_from(attempt).unwrap_or(u32::MAX), control))
    }
}

impl InboxSource for CumulativeInbox {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        loop {
            if let Some(error) = self.items.pop_front() {
                return Poll::Ready(Some(Err(error)));
            }
            if self.finished {
                return Poll::Ready(None);
            }
            let news = self.seat.member.news(cx.waker());
            if news.closed {
                self.finished = true;
                continue;
            }
            if let Some(stopped) = self.seat.member.take_stop() {
                self.fail(stopped);
                continue;
            }
            if news.back {
                (self.place, self.handed) = (None, 0);
            }
            self.enlist |= news.reload || news.back || (news.look && self.place.is_none());
            if self.step.is_some() {
                ready!(self.poll_step(cx));
                continue;
            }
            if std::mem::take(&mut self.enlist) {
                self.step = Some(Step::Enlist(self.enlist()));
                continue;
            }
            let backing_off = self.is_backing_off();
            let Some(active) = self.place.as_mut().filter(|_| !self.consumer.is_paused && !backing_off)
            else {
                return Poll::Pending;
            };
            match ready!(active.feed.poll_next(cx)) {
                Some(Ok(message)) if active.given_up.contains(&message.sequence()) => {}
                Some(Ok(message)) => return Poll::Ready(self.delivery(message).map(Ok)),
                Some(Err(error)) if matches!(error.kind(), ErrorKind::Gap { .. }) => {
                    self.items.push_back(error)
                }
                Some(Err(error)) => self.failed(error),
                None => self.finished = true,
            }
        }
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        self.finished = true;
        self.note_seen();
        self.place = None;
        Box::pin(self.seat.leave())
    }
}

impl Drop for CumulativeInbox {
    fn drop(&mut self) {
        self.note_seen();
    }
}
