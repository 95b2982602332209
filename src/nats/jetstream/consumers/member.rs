//! A member of a consumer: it asks for one delivery at a time, when it is polled.
//!
//! So nothing is delivered to it that nobody gets: the server would count that as an attempt.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::message::Message as Arrived;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use super::control::Control;
use super::{generations, settings};
use crate::consumer_settings::ConsumerSettings;
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::inbox::InboxSource;
use crate::message::Message;
use crate::nats::jetstream::answer::{Answer, tell};
use crate::nats::jetstream::events;
use crate::nats::jetstream::position::Missing;
use crate::nats::jetstream::pull::{Pulled, Puller};
use crate::nats::jetstream::streams::Streams;

/// Between tries to ask again.
const AGAIN: Duration = Duration::from_millis(250);

pub(super) struct Member {
    streams: Arc<Streams>,
    name: String,
    control: Arc<Control>,
    gap: Option<Missing>,
    /// No gap up to here is told again.
    told_through: u64,
    ending: BoxFuture<'static, ()>,
    state: State,
}

enum State {
    Open(Open),
    Opening(BoxFuture<'static, Result<(Open, Option<Missing>)>>),
    Waiting(Pin<Box<Sleep>>),
    /// What was delivered too often is given up on, and then it goes on.
    Burying(BoxFuture<'static, ()>, Option<Open>),
    Over,
}

/// The consumer as it was found, and where it delivers.
struct Open {
    settings: ConsumerSettings,
    puller: Puller,
}

impl Member {
    pub(super) async fn new(streams: Arc<Streams>, info: &Info, gap: Option<Missing>) -> Result<Self> {
        let name = generations::of(&info.name).0.to_owned();
        let open = Open::new(&streams, info).await?;
        let control = Arc::new(Control::new(Arc::clone(&streams), &name));
        let ending = streams.gate.ending();
        Ok(Self { streams, name, control, gap, told_through: 0, ending, state: State::Open(open) })
    }

    /// Looks for the consumer again: it may have been changed, moved or deleted.
    fn reopen(&mut self) {
        let (streams, name) = (Arc::clone(&self.streams), self.name.clone());
        self.state = State::Opening(Box::pin(async move {
            let info = generations::existing(&streams.events, &name).await?;
            let gap = streams.gap_behind(&info).await?;
            Ok((Open::new(&streams, &info).await?, gap))
        }));
    }

    /// What came, as the delivery that it is; `None` if it is handed to nobody.
    fn deliver(&mut self, arrived: &Arrived) -> Option<Delivery> {
        let State::Open(open) = &self.state else { return None };
        let (place, message) = events::delivered(&self.streams.subjects, arrived)?;
        let reply = arrived.message.reply.clone()?;
        let Some(message) = message else {
            // Nobody could read it: it would come again for ever.
            tracing::warn!(
                subject = %arrived.message.subject, sequence = place.sequence, consumer = %self.name,
                "what lies in the stream is no event of this bus, and is not delivered again"
            );
            let jetstream = self.streams.jetstream.clone();
            tokio::spawn(async move { tell(&jetstream, &reply, Answer::Never("it cannot be read")).await });
            return None;
        };
        if place.attempt > open.settings.max_deliver {
            let (control, jetstream) = (Arc::clone(&self.control), self.streams.jetstream.clone());
            let burying = Box::pin(bury(control, jetstream, message, open.settings.max_deliver, reply));
            if let State::Open(open) = std::mem::replace(&mut self.state, State::Over) {
                self.state = State::Burying(burying, Some(open));
            }
            return None;
        }
        self.control.hold(&message, place.attempt, reply, &open.settings);
        Some(Delivery::new(message, place.attempt, Arc::clone(&self.control) as _))
    }

    /// Ends the pull, and has what came of it come again. A task does it, which the end of the bus waits for.
    fn give_back(&mut self) -> Option<JoinHandle<()>> {
        let State::Open(open) = std::mem::replace(&mut self.state, State::Over) else { return None };
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let streams = Arc::clone(&self.streams);
        Some(runtime.spawn(async move {
            let _pass = streams.gate.enter().await;
            for arrived in open.puller.end(&streams.connection).await {
                if let Some(reply) = &arrived.message.reply
                    && let Err(error) = tell(&streams.jetstream, reply, Answer::Again(Duration::ZERO)).await
                {
                    tracing::debug!(%error, "what a member has left comes again when its time is over");
                }
            }
        }))
    }
}

async fn bury(
    control: Arc<Control>,
    jetstream: async_nats::jetstream::Context,
    message: Message,
    attempts: u32,
    reply: async_nats::Subject,
) {
    let told = match control.bury(&message, attempts, Vec::new(), "exhausted").await {
        Ok(()) => tell(&jetstream, &reply, Answer::Never("exhausted")).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        tracing::debug!(%error, "an event that is given up on comes once more");
    }
}

impl Open {
    async fn new(streams: &Streams, info: &Info) -> Result<Self> {
        let puller = Puller::new(&streams.jetstream, &streams.events.stream, &info.name).await?;
        let settings = settings::of(info, &streams.subjects);
        Ok(Self { settings, puller })
    }
}

impl InboxSource for Member {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        loop {
            if matches!(self.state, State::Over) {
                return Poll::Ready(None);
            }
            if self.ending.as_mut().poll(cx).is_ready() {
                self.give_back();
                continue;
            }
            let told = self.told_through;
            if let Some((first, last)) = self.gap.take().filter(|(_, last)| *last > told) {
                self.told_through = last;
                let first = first.max(told + 1);
                return Poll::Ready(Some(Err(Error::gap(first, last))));
            }
            match &mut self.state {
                State::Open(open) => {
                    if open.puller.is_idle() {
                        open.puller.ask(1);
                    }
                    match ready!(open.puller.poll(cx)) {
                        Ok(Pulled::Message(arrived)) => {
                            if let Some(delivery) = self.deliver(&arrived) {
                                return Poll::Ready(Some(Ok(delivery)));
                            }
                        }
                        Ok(Pulled::Over | Pulled::Lost | Pulled::Gone) | Err(_) => self.reopen(),
                    }
                }
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok((open, gap)) => {
                        self.state = State::Open(open);
                        self.gap = gap;
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        self.control.lose_all();
                        self.state = State::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                    Err(error) => {
                        tracing::debug!(%error, consumer = %self.name, "a member tries again");
                        self.state = State::Waiting(Box::pin(sleep(AGAIN)));
                    }
                },
                State::Waiting(waiting) => {
                    ready!(waiting.as_mut().poll(cx));
                    self.reopen();
                }
                State::Burying(burying, open) => {
                    ready!(burying.as_mut().poll(cx));
                    self.state = open.take().map_or(State::Over, State::Open);
                }
                State::Over => {}
            }
        }
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        let given_back = self.give_back();
        Box::pin(async {
            if let Some(given_back) = given_back {
                // A task that is gone has ended with its runtime.
                let _ = given_back.await;
            }
            Ok(())
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.give_back();
    }
}
