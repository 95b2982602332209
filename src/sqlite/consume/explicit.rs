//! An inbox of an explicit consumer: it reads ahead in the log, leases what nobody has taken yet, and hands that over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::delivery::{Delivery, DeliveryControl};
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::inbox::InboxSource;
use crate::retry::millis;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::claim::{Claim, Claimed, Status};
use crate::sqlite::consume::control::Leased;
use crate::sqlite::consume::feed::Feed;
use crate::sqlite::consume::load::{Loaded, reload};
use crate::sqlite::consume::member::Member;
use crate::sqlite::consume::pacing::Pacing;
use crate::sqlite::consume::recovery::Recovery;
use crate::sqlite::consume::seat::Seat;
use crate::sqlite::tables::consumers::ConsumerRow;

pub(super) struct ExplicitInbox {
    seat: Seat,
    consumer: ConsumerRow,
    control: Arc<dyn DeliveryControl>,
    /// `None` until the consumer was read.
    feed: Option<Feed>,
    pacing: Pacing,
    /// Errors that it survives.
    items: VecDeque<Error>,
    step: Option<Step>,
    recovery: Recovery,
    /// There may be something to take that the feed does not tell of.
    look: bool,
    reload: bool,
    /// Nothing can be taken before something is settled.
    is_full: bool,
    /// How many it may still hand over; it takes no more.
    left: usize,
    finished: bool,
}

enum Step {
    Claim(BoxFuture<'static, Result<Claimed>>),
    Load(BoxFuture<'static, Result<Option<Loaded>>>),
    Pause(BoxFuture<'static, ()>),
}

impl ExplicitInbox {
    pub(super) fn new(seat: Seat, consumer: ConsumerRow) -> Self {
        Self {
            control: control(&seat, &consumer),
            seat,
            consumer,
            feed: None,
            pacing: Pacing::new(),
            items: VecDeque::new(),
            step: None,
            recovery: Recovery::default(),
            look: true,
            reload: true,
            is_full: false,
            left: usize::MAX,
            finished: false,
        }
    }

    fn consumers(&self) -> &Arc<Consumers> {
        &self.seat.consumers
    }

    fn member(&self) -> &Arc<Member> {
        &self.seat.member
    }

    fn claim(&self, want: usize) -> BoxFuture<'static, Result<Claimed>> {
        let settings = &self.consumer.settings;
        let claim = Claim {
            consumers: Arc::clone(self.consumers()),
            member: Arc::clone(self.member()),
            revision: self.consumer.revision,
            peer: self.consumers().peer(),
            lease: millis(settings.ack_wait),
            max_ack_pending: settings.max_ack_pending,
            max_deliver: i64::from(settings.max_deliver),
            ahead: self.feed.as_ref().map(|feed| feed.ahead(want)).unwrap_or_default(),
            want,
        };
        let consumers = Arc::clone(self.consumers());
        Box::pin(async move { consumers.writer()?.run(claim).await })
    }

    fn claimed(&mut self, claimed: Claimed) {
        self.pacing.took(claimed.taken.len(), Instant::now());
        self.items.extend(claimed.gone);
        self.is_full = claimed.is_full;
        match claimed.status {
            Status::Taken => {
                self.look |= claimed.more;
                if let Some(feed) = &mut self.feed {
                    feed.pass(claimed.position);
                }
            }
            Status::Paused => {
                self.consumer.is_paused = true;
                self.seat.give_back();
            }
            Status::Changed => self.reload = true,
        }
    }

    fn loaded(&mut self, loaded: Option<Loaded>) {
        let Some(Loaded { consumer, feed }) = loaded else {
            return self.fail(Error::no_such_consumer(&self.consumer.name));
        };
        if consumer.epoch != self.consumer.epoch {
            self.member().forget_all();
        }
        self.feed = Some(feed);
        self.consumer = consumer;
        self.control = control(&self.seat, &self.consumer);
        (self.look, self.is_full) = (true, false);
        self.member().state().lease = millis(self.consumer.settings.ack_wait);
        if self.consumer.is_paused {
            self.seat.give_back();
        }
    }

    fn fail(&mut self, error: Error) {
        self.finished = true;
        self.seat.leave_soon();
        // The end of the bus is the end of its inboxes, and no fault of theirs.
        if error.kind() != ErrorKind::Closed {
            self.items.push_back(error);
        }
    }

    /// A step that could not be taken is tried again, unless that is of no use.
    fn failed(&mut self, error: Error) {
        match self.recovery.pause(&self.seat, error) {
            Ok(pause) => {
                (self.look, self.reload) = (true, true);
                self.step = Some(Step::Pause(pause));
            }
            Err(error) => self.fail(error),
        }
    }

    /// Goes on with the step that is under way.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let outcome = match &mut self.step {
            None => return Poll::Ready(()),
            Some(Step::Pause(pause)) => {
                std::task::ready!(pause.as_mut().poll(cx));
                self.step = None;
                return Poll::Ready(());
            }
            Some(Step::Claim(claim)) => {
                let claimed = std::task::ready!(claim.as_mut().poll(cx));
                self.step = None;
                claimed.map(|claimed| self.claimed(claimed))
            }
            Some(Step::Load(load)) => {
                let loaded = std::task::ready!(load.as_mut().poll(cx));
                self.step = None;
                loaded.map(|loaded| self.loaded(loaded)).inspect_err(|_| self.reload = true)
            }
        };
        match outcome {
            Ok(()) => self.recovery.done(),
            Err(error) => self.failed(error),
        }
        Poll::Ready(())
    }

    /// All that was read was handed out, by this member or others.
    fn note_seen(&self) {
        self.seat.has_seen(&self.consumer, 0, self.feed.as_ref());
    }

    fn hand_over(&mut self) -> Option<Delivery> {
        let wait = millis(self.consumer.settings.ack_wait);
        let ready = self.member().hand_over(self.consumers().awake_millis(), wait)?;
        self.left = self.left.saturating_sub(1);
        let attempt = u32::try_from(ready.attempt).unwrap_or(u32::MAX);
        Some(Delivery::new(ready.message, attempt, Arc::clone(&self.control)))
    }
}

fn control(seat: &Seat, consumer: &ConsumerRow) -> Arc<dyn DeliveryControl> {
    let (consumers, member) = (Arc::clone(&seat.consumers), Arc::clone(&seat.member));
    Arc::new(Leased { consumers, member, epoch: consumer.epoch })
}

impl InboxSource for ExplicitInbox {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        loop {
            if let Some(error) = self.items.pop_front() {
                return Poll::Ready(Some(Err(error)));
            }
            if self.finished {
                return Poll::Ready(None);
            }
            let news = self.member().news(cx.waker());
            self.look |= news.look;
            self.reload |= news.reload;
            if news.closed {
                self.finished = true;
                continue;
            }
            if let Some(error) = self.member().take_stop() {
                self.fail(error);
                continue;
            }
            // What is to be read anew may have been taken from its holders.
            if !self.reload
                && !self.consumer.is_paused
                && let Some(delivery) = self.hand_over()
            {
                return Poll::Ready(Some(Ok(delivery)));
            }
            if self.step.is_some() {
                std::task::ready!(self.poll_step(cx));
                continue;
            }
            if std::mem::take(&mut self.reload) {
                self.step = Some(Step::Load(reload(&self.seat, &self.consumer)));
                continue;
            }
            if self.consumer.is_paused {
                return Poll::Pending;
            }
            // Nothing that was taken before waits to be handed over here.
            let want = self.pacing.want().min(self.left);
            let Some(feed) = &mut self.feed else {
                self.reload = true;
                continue;
            };
            if let Err(error) = feed.read_ahead(cx, want) {
                match error.kind() {
                    ErrorKind::Gap { .. } => self.items.push_back(error),
                    _ => self.failed(error),
                }
                continue;
            }
            if !self.look && (feed.is_empty() || self.is_full) {
                return Poll::Pending;
            }
            self.look = false;
            self.step = Some(Step::Claim(self.claim(want)));
        }
    }

    fn limit(&mut self, most: u64) {
        self.left = usize::try_from(most).unwrap_or(usize::MAX);
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        self.finished = true;
        self.note_seen();
        Box::pin(self.seat.leave())
    }
}

impl Drop for ExplicitInbox {
    fn drop(&mut self) {
        self.note_seen();
    }
}
