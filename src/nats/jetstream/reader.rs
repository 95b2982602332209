//! A reader of a stream: it goes on from its own place whatever becomes of the connection and of the server.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config};
use async_nats::jetstream::message::Message as Arrived;
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::nats::jetstream::api::{Api, Make};
use crate::nats::jetstream::events::{self, Place};
use crate::nats::jetstream::failure;
use crate::nats::jetstream::position::{Missing, Position};
use crate::nats::jetstream::pull::{Pulled, Puller};
use crate::subscribe::StartAt;

/// The server forgets a consumer of whom nobody has asked anything for this long; its reader then makes another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Between tries to read again.
const AGAIN: Duration = Duration::from_millis(250);

/// Messages of a stream in the order of their sequences, each once.
pub(super) struct Reader {
    events: Api,
    /// None is every subject.
    filters: Vec<String>,
    /// Asked for at once.
    batch: usize,
    /// The sequence behind what was read.
    next: u64,
    /// It began with the newest of each subject, and has not read beyond those.
    newest_through: Option<u64>,
    gap: Option<Missing>,
    state: State,
}

enum State {
    Open(Box<Open>),
    Opening(BoxFuture<'static, Result<(Open, Option<Missing>)>>),
    Waiting(Pin<Box<Sleep>>),
}

/// A consumer on the server that acknowledges nothing, and is this reader's alone.
struct Open {
    events: Api,
    name: String,
    puller: Puller,
    /// The number of the next delivery. Where another comes, some were lost on their way.
    delivery: u64,
    /// It skips what has been superseded since the reader began, also of what was published since.
    skips: bool,
}

impl Reader {
    /// Reads from there on what one of these filters matches; none is every subject.
    pub(super) async fn open(
        events: &Api,
        filters: Vec<String>,
        start: StartAt,
        batch: usize,
    ) -> Result<Self> {
        let position = Position::find(events, start).await?;
        let (next, newest_through, gap) = (position.next, position.newest_through, position.gap);
        let (open, begins) = Open::new(events, &filters, position).await?;
        Ok(Self {
            events: events.clone(),
            filters,
            batch,
            next: next.max(begins),
            newest_through,
            gap,
            state: State::Open(Box::new(open)),
        })
    }

    /// The sequence behind what was read.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The next message. A gap is told where the stream has forgotten what was not read; the reader goes on behind it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Place, Box<Arrived>)>> {
        loop {
            if let Some((first, last)) = self.gap.take() {
                self.next = self.next.max(last + 1);
                return Poll::Ready(Err(Error::gap(first, last)));
            }
            match &mut self.state {
                State::Open(open) => {
                    if open.puller.is_idle() {
                        open.puller.ask(self.batch);
                    }
                    match open.puller.poll(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(Pulled::Message(arrived))) => {
                            let Some(place) = events::place(&arrived) else { continue };
                            if place.delivery != open.delivery {
                                self.reopen();
                                continue;
                            }
                            open.delivery += 1;
                            if let Some(through) = self.newest_through.filter(|at| place.sequence > *at) {
                                self.newest_through = None;
                                if open.skips {
                                    self.next = self.next.max(through + 1);
                                    self.reopen();
                                    continue;
                                }
                            }
                            if place.sequence >= self.next {
                                self.next = place.sequence + 1;
                                return Poll::Ready(Ok((place, arrived)));
                            }
                        }
                        Poll::Ready(Ok(Pulled::Over)) => {}
                        Poll::Ready(Ok(Pulled::Lost | Pulled::Gone) | Err(_)) => self.reopen(),
                    }
                }
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok((open, gap))) => {
                        self.state = State::Open(Box::new(open));
                        self.gap = gap;
                    }
                    Poll::Ready(Err(error)) if is_final(&error) => return Poll::Ready(Err(error)),
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, stream = %self.events.stream, "a reader tries again");
                        self.state = State::Waiting(Box::pin(sleep(AGAIN)));
                    }
                },
                State::Waiting(waiting) => match waiting.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.reopen(),
                },
            }
        }
    }

    fn reopen(&mut self) {
        let (events, filters) = (self.events.clone(), self.filters.clone());
        let (next, newest_through) = (self.next, self.newest_through);
        self.state = State::Opening(Box::pin(async move {
            let position = Position::again(&events, next, newest_through).await?;
            let gap = position.gap;
            let (mut open, _) = Open::new(&events, &filters, position).await?;
            open.skips = newest_through.is_some();
            Ok((open, gap))
        }));
    }
}

/// Whether it is of no use to try again: the stream is gone, or another of its name has less.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::CursorAhead { .. } | ErrorKind::Closed)
}

impl Open {
    /// Makes it, and tells with which sequence it begins.
    async fn new(events: &Api, filters: &[String], position: Position) -> Result<(Self, u64)> {
        let name = format!("rowbus-{}", Uuid::new_v4().simple());
        let config = Config {
            name: Some(name.clone()),
            deliver_policy: position.policy,
            ack_policy: AckPolicy::None,
            filter_subjects: filters.to_vec(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            ..Config::default()
        };
        let puller = Puller::new(&events.jetstream, &events.stream, &name).await?;
        let made = events.consumer(Make::New, &config).await;
        let made = made.map_err(|refusal| failure::refused("a reader was to be made", refusal))?;
        let begins = made.delivered.stream_sequence + 1;
        Ok((Self { events: events.clone(), name, puller, delivery: 1, skips: false }, begins))
    }
}

impl Drop for Open {
    /// The server need not wait until it forgets it.
    fn drop(&mut self) {
        let (events, name) = (self.events.clone(), std::mem::take(&mut self.name));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = events.delete_consumer(&name).await;
            });
        }
    }
}
