//! A member of a cumulative consumer: it reads while it has the place, and stands by while another has it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Request, Subscriber};
use chrono::Utc;
use futures_core::Stream;
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use super::held::Held;
use super::seat::{Seat, View};
use super::store::{BEYOND_INACTIVE, BY, Kept};
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::future::BoxFuture;
use crate::inbox::InboxSource;
use crate::nats::jetstream::events;
use crate::nats::jetstream::failure;
use crate::nats::jetstream::reader::Reader;
use crate::nats::jetstream::streams::Streams;
use crate::subscribe::StartAt;

/// Asked for at once.
const READ_AHEAD: usize = 256;
/// Between tries to reach the server again.
const AGAIN: Duration = Duration::from_millis(250);
/// Who stands by asks so often whether the active member is still there.
const ASKED_EVERY: Duration = Duration::from_secs(2);
/// That nobody hears what the active member is asked counts if it is so again after this time.
const ASKED_AGAIN: Duration = Duration::from_millis(100);
/// Where word of a change may have been lost with a connection, the record is looked at this often.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Member {
    seat: Arc<Seat>,
    /// What others write.
    changes: Subscriber,
    /// Others are told by the server when this is no more.
    presence: Subscriber,
    reading: Option<Reading>,
    /// What is under way; it is finished before anything is read.
    working: Option<BoxFuture<'static, Work>>,
    /// Watches this active member, and takes the place if it is no more.
    watching: Option<(String, BoxFuture<'static, ()>)>,
    pause: Option<(i64, Pin<Box<Sleep>>)>,
    ending: BoxFuture<'static, ()>,
    over: bool,
}

/// The reader, and what it was opened for.
struct Reading {
    reader: Reader,
    backs: u64,
    filters: Vec<Filter>,
}

enum Work {
    Done,
    Opened(Result<Box<Reading>>),
    Skipped(Error),
}

impl Member {
    pub(super) async fn new(streams: Arc<Streams>, name: &str, kept: Kept) -> Result<Self> {
        let id = Uuid::new_v4().simple().to_string();
        let client = streams.jetstream.client();
        let subscribe = async |subject: String| client.subscribe(subject).await.map_err(failure::unreachable);
        let presence = subscribe(streams.subjects.member(&id)).await?;
        let changes = subscribe(streams.subjects.consumer(name)).await?;
        let ending = streams.gate.ending();
        let seat = Arc::new(Seat::new(Arc::clone(&streams), name, id, kept));
        // It may have been changed before the server knew that somebody wants to hear of it.
        seat.look_again();
        let weak = Arc::downgrade(&seat);
        streams.connection.spawn(async move {
            loop {
                sleep(LOOKED_AT_EVERY).await;
                let Some(seat) = weak.upgrade() else { return };
                seat.look_again();
                let due = seat.quiet().is_some_and(|(quiet, threshold)| {
                    quiet >= threshold / 3 + Duration::from_secs(BEYOND_INACTIVE / 3)
                });
                if due && let Err(error) = seat.touch().await {
                    tracing::debug!(%error, "a consumer was not kept for longer");
                }
            }
        });
        Ok(Self {
            seat,
            changes,
            presence,
            reading: None,
            working: None,
            watching: None,
            pause: None,
            ending,
            over: false,
        })
    }

    /// Hears what others have written; `false` if the client has ended.
    fn hear(&mut self, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(asked) = Pin::new(&mut self.presence).poll_next(cx) {
            if asked.is_none() {
                return false;
            }
        }
        while let Poll::Ready(changed) = Pin::new(&mut self.changes).poll_next(cx) {
            let Some(changed) = changed else { return false };
            let by = changed.headers.as_ref().and_then(|map| map.get(BY));
            if by.is_none_or(|by| by.as_str() != self.seat.id) {
                self.seat.look_again();
            }
        }
        true
    }

    /// A task does it: the record's turn is not to be held by what nobody polls.
    fn work(&mut self, work: impl Future<Output = Result<()>> + Send + 'static) {
        let (name, work) = (self.seat.name.clone(), tokio::spawn(work));
        self.working = Some(Box::pin(async move {
            if let Ok(Err(error)) = work.await {
                tracing::debug!(%error, consumer = %name, "a member tries again");
                sleep(AGAIN).await;
            }
            Work::Done
        }));
    }

    /// Takes what was read; `None` if it is handed to nobody.
    fn poll_reader(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        match ready!(reading.reader.poll(cx)) {
            Ok((place, arrived)) => {
                let message = events::delivered(&self.seat.streams.subjects, &arrived);
                let message = message.and_then(|(_, message)| message);
                let handed = self.seat.hand(reading.backs, place.sequence, message.is_some());
                Poll::Ready(message.zip(handed).map(|(message, (place, attempt))| {
                    let held = Held::new(&self.seat, place);
                    Ok(Delivery::new(message, attempt, Arc::new(held)))
                }))
            }
            Err(error) => match error.kind() {
                ErrorKind::Gap { first, last } => {
                    let (seat, backs) = (Arc::clone(&self.seat), reading.backs);
                    let skipped = tokio::spawn(async move {
                        // Where it cannot be noted, the next member is told as well.
                        if let Err(error) = seat.skip((first, last)).await {
                            tracing::debug!(%error, "a gap was not noted");
                        }
                        seat.read_through(backs, last);
                    });
                    self.working = Some(Box::pin(async move {
                        // A task that is gone has ended with its runtime.
                        let _ = skipped.await;
                        Work::Skipped(error)
                    }));
                    Poll::Ready(None)
                }
                _ => {
                    self.end();
                    Poll::Ready(Some(Err(error)))
                }
            },
        }
    }

    fn open_reader(&mut self, backs: u64, from: u64, filters: Vec<Filter>) {
        self.reading = None;
        let seat = Arc::clone(&self.seat);
        self.working = Some(Box::pin(async move {
            let lie = filters.iter().map(|filter| seat.streams.subjects.events(filter)).collect();
            let opened = Reader::open(&seat.streams.events, lie, StartAt::Sequence(from), READ_AHEAD).await;
            if opened.as_ref().is_err_and(|error| error.is_transient()) {
                sleep(AGAIN).await;
            }
            Work::Opened(opened.map(|reader| Box::new(Reading { reader, backs, filters })))
        }));
    }

    fn stand_by(&mut self, holder: String) {
        if self.watching.as_ref().is_some_and(|(watched, _)| *watched == holder) {
            return;
        }
        let (seat, watched) = (Arc::clone(&self.seat), holder.clone());
        let watching = async move {
            loop {
                if seat.is_gone(&watched).await {
                    let (takes, from) = (Arc::clone(&seat), watched.clone());
                    match tokio::spawn(async move { takes.take(Some(&from)).await }).await {
                        Ok(Err(error)) => tracing::debug!(%error, "a place was not taken over"),
                        _ => return seat.look_again(),
                    }
                }
                sleep(ASKED_EVERY).await;
            }
        };
        self.watching = Some((holder, Box::pin(watching)));
    }

    /// It has its last item.
    fn end(&mut self) -> Option<BoxFuture<'static, Result<()>>> {
        self.seat.has_left();
        self.reading = None;
        self.working = None;
        self.watching = None;
        if std::mem::replace(&mut self.over, true) {
            return None;
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let seat = Arc::clone(&self.seat);
        self.seat.streams.connection.spawn(async move {
            let left = match seat.streams.enter().await {
                Ok(_pass) => seat.leave().await,
                Err(error) => Err(error),
            };
            let _ = tell.send(left);
        });
        Some(Box::pin(async { told.await.unwrap_or_else(|_| Err(Error::closed())) }))
    }
}

impl Seat {
    /// Whether the server says that nobody hears what this member is asked.
    async fn is_gone(&self, member: &str) -> bool {
        let client = self.streams.jetstream.client();
        for again in [false, true] {
            if again {
                sleep(ASKED_AGAIN).await;
            }
            let request = Request::new().timeout(Some(AGAIN));
            let asked = client.send_request(self.streams.subjects.member(member), request).await;
            if !asked.is_err_and(|error| error.kind() == RequestErrorKind::NoResponders) {
                return false;
            }
        }
        true
    }
}

impl InboxSource for Member {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            if self.ending.as_mut().poll(cx).is_ready() || !self.hear(cx) {
                self.end();
                continue;
            }
            self.seat.wakes(cx);
            if let Some(last) = self.seat.take_last() {
                self.end();
                return Poll::Ready(Some(Err(last)));
            }
            if let Some(working) = &mut self.working {
                let done = ready!(working.as_mut().poll(cx));
                self.working = None;
                match done {
                    Work::Done => {}
                    Work::Opened(Ok(reading)) => self.reading = Some(*reading),
                    Work::Opened(Err(error)) if error.is_transient() => {}
                    Work::Opened(Err(error)) => {
                        self.end();
                        return Poll::Ready(Some(Err(error)));
                    }
                    Work::Skipped(gap) => return Poll::Ready(Some(Err(gap))),
                }
                continue;
            }
            let view = self.seat.view();
            if !matches!(view, View::StandBy(_) | View::Look) {
                self.watching = None;
            }
            match view {
                View::Look => {
                    let seat = Arc::clone(&self.seat);
                    self.work(async move { seat.look().await });
                }
                View::Gone => {
                    self.end();
                    return Poll::Ready(Some(Err(Error::no_such_consumer(&self.seat.name))));
                }
                View::Wait => return Poll::Pending,
                View::Take => {
                    let seat = Arc::clone(&self.seat);
                    self.work(async move { seat.take(None).await });
                }
                View::StandBy(holder) => {
                    self.stand_by(holder);
                    if let Some((_, watching)) = &mut self.watching {
                        ready!(watching.as_mut().poll(cx));
                        self.watching = None;
                    }
                }
                View::WaitUntil(at) => {
                    if self.pause.as_ref().is_none_or(|(until, _)| *until != at) {
                        let left = at.saturating_sub(Utc::now().timestamp_millis()).max(0).unsigned_abs() + 1;
                        self.pause = Some((at, Box::pin(sleep(Duration::from_millis(left)))));
                    }
                    if let Some((_, pause)) = &mut self.pause {
                        ready!(pause.as_mut().poll(cx));
                        self.pause = None;
                    }
                }
                View::Read { backs, from, filters } => {
                    let fits = |open: &Reading| open.backs == backs && open.filters == filters;
                    if !self.reading.as_ref().is_some_and(fits) {
                        self.open_reader(backs, from, filters);
                    } else if let Some(item) = ready!(self.poll_reader(cx)) {
                        return Poll::Ready(Some(item));
                    }
                }
            }
        }
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            match self.end() {
                Some(left) => left.await,
                None => Ok(()),
            }
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}
