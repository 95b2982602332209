//! The half that sends: a window of publishes under way, in order whatever fails.
//!
//! **Order.** Each message is sent on the condition that the stream's last one is that in front of it, by its id; the first behind a
//! look, that nothing was stored since. So when one of the window is refused or lost with a connection, all behind it are refused
//! as well: nothing is stored out of order, however late it arrives. Then the window is dropped, the stream looked at, and
//! what it does not have is sent again. (A condition on the sequence alone would not do: what others store in between moves
//! it on, and the second of a window would be taken though the first was refused.)
//!
//! **Others in the stream** break the condition. The window is halved each time, and grows again while nothing comes in
//! between; with a single message under way there is nothing that it could overtake, and after a few conflicts it goes without.

mod looking;
mod outcome;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use crate::bridge::forward::Route;
use crate::bridge::handover::{Half, Handover};
use crate::bridge::identity::Identity;
use crate::bridge::link::Link;
use crate::bridge::look::Look;
use crate::bridge::note::Note;
use crate::bridge::outgoing::{Behind, Outgoing};
use crate::bridge::pause::Pauses;
use crate::bridge::search::Search;
use crate::bridge::sender::looking::Looked;
use crate::bridge::status::Board;
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::nats::headers::wire_len;
use crate::sqlite::SqliteBus;

/// How often it is looked at whether the connection is still the same, while something is under way.
const TICK: Duration = Duration::from_millis(100);
/// Conflicts in a row with a single message under way, after which it goes without a condition.
const CONFLICTS: u32 = 3;

type Ack = BoxFuture<'static, std::result::Result<PublishAck, PublishError>>;

/// A message that was sent.
struct InFlight {
    outgoing: Outgoing,
    ack: Ack,
}

pub(super) struct Sender {
    pub(super) bus: SqliteBus,
    pub(super) route: Arc<Route>,
    pub(super) link: Link,
    pub(super) identity: Identity,
    pub(super) handover: Arc<Handover>,
    pub(super) board: Arc<Board>,
    /// Read and flushed, and not sent.
    queue: VecDeque<Outgoing>,
    in_flight: VecDeque<InFlight>,
    /// What is known of the stream; `None` if it is to be looked at before anything is sent.
    look: Option<Look>,
    /// A search in the stream that has failed, and is to go on.
    search: Option<Search>,
    /// The connection on which what is under way was sent.
    connection: Option<u64>,
    /// The stream's last message once everything that is under way is stored.
    last: Behind,
    /// Nothing was sent since it was looked.
    is_fresh: bool,
    /// What is noted in the file, as far as it is known.
    note: Option<Note>,
    /// The stream has every event up to here.
    stored_through: u64,
    /// Done with, and not handed over.
    done: Option<Delivery>,
    window: usize,
    /// Acknowledged in a row.
    acked: usize,
    /// Conflicts in a row.
    conflicts: u32,
    pauses: Pauses,
    tick: Pin<Box<Sleep>>,
}

/// What there is to see to.
enum Event {
    Answer(std::result::Result<PublishAck, PublishError>),
    Events(Vec<Outgoing>),
    Tick,
    End,
}

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to, or there is nothing more to come.
    Done,
    /// The stream has lost what it had acknowledged, and the consumer was moved back in front of that.
    MovedBack,
}

impl Sender {
    pub(super) fn new(
        (bus, link): (SqliteBus, Link),
        (route, identity): (Arc<Route>, Identity),
        (handover, board): (Arc<Handover>, Arc<Board>),
    ) -> Self {
        let window = route.window;
        Self {
            bus,
            route,
            link,
            identity,
            handover,
            board,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            look: None,
            search: None,
            connection: None,
            last: Behind::Sequence(0),
            is_fresh: false,
            note: None,
            stored_through: 0,
            done: None,
            window,
            acked: 0,
            conflicts: 0,
            pauses: Pauses::default(),
            tick: Box::pin(sleep(TICK)),
        }
    }

    /// Sends what comes. An error is one of the file's, or says that file and stream do not belong together.
    pub(super) async fn run(&mut self, mut batches: mpsc::Receiver<Vec<Outgoing>>) -> Result<End> {
        loop {
            if self.handover.is_ending() {
                self.queue.clear();
                if self.in_flight.is_empty() {
                    return Ok(End::Done);
                }
            }
            if !self.queue.is_empty() {
                if self.look.is_none() {
                    match self.look().await? {
                        Looked::Whole => {}
                        Looked::Cut => return Ok(End::MovedBack),
                        Looked::InVain(error) => {
                            self.wait(&error).await;
                            continue;
                        }
                    }
                }
                self.fill().await?;
                if self.look.is_none() || (self.in_flight.is_empty() && !self.queue.is_empty()) {
                    continue;
                }
            }
            match self.next(&mut batches).await {
                Event::Answer(Ok(ack)) => self.stored(&ack),
                Event::Answer(Err(error)) => self.failed(error).await?,
                Event::Events(events) => self.queue.extend(events),
                Event::Tick if self.link.connection() == self.connection => {}
                Event::Tick => {
                    self.let_go();
                    self.board.waits(&Error::new(
                        ErrorKind::Disconnected,
                        "the connection to the NATS server was lost",
                    ));
                }
                Event::End if self.in_flight.is_empty() && self.queue.is_empty() => return Ok(End::Done),
                Event::End => {}
            }
        }
    }

    async fn next(&mut self, batches: &mut mpsc::Receiver<Vec<Outgoing>>) -> Event {
        poll_fn(|cx| {
            self.handover.watch(Half::Sender, cx);
            if let Some(head) = self.in_flight.front_mut()
                && let Poll::Ready(answer) = head.ack.as_mut().poll(cx)
            {
                return Poll::Ready(Event::Answer(answer));
            }
            // What was acknowledged at once is handed over at once.
            self.hand_over();
            if self.queue.is_empty() {
                match batches.poll_recv(cx) {
                    Poll::Ready(Some(events)) => return Poll::Ready(Event::Events(events)),
                    Poll::Ready(None) if self.in_flight.is_empty() => return Poll::Ready(Event::End),
                    _ => {}
                }
            }
            if self.in_flight.is_empty() {
                return if self.handover.is_ending() { Poll::Ready(Event::End) } else { Poll::Pending };
            }
            self.poll_tick(cx)
        })
        .await
    }

    /// Says how far it came, for the file.
    pub(super) fn hand_over(&mut self) {
        if let Some(done) = self.done.take() {
            self.handover.done(done, self.note.clone());
        }
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.tick.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.tick.as_mut().reset(Instant::now() + TICK);
        Poll::Ready(Event::Tick)
    }

    /// Sends as much as the window has room for.
    async fn fill(&mut self) -> Result<()> {
        while self.in_flight.len() < self.window {
            let Some(look) = &self.look else { return Ok(()) };
            let Some(next) = self.queue.front() else { return Ok(()) };
            if next.sequence() <= self.stored_through {
                if let Some(next) = self.queue.pop_front() {
                    self.pass_over(next);
                }
                continue;
            }
            let sequence = next.sequence();
            let subject = self.route.subject(next.delivery.subject());
            let behind = (self.window > 1 || self.conflicts < CONFLICTS).then_some(&self.last);
            let message = match self.message(look, next, &subject, behind) {
                Ok(message) => message,
                // What is in front of it first; and then what the stream takes by now.
                Err(_) if !self.in_flight.is_empty() => return Ok(()),
                Err(_) if !self.is_fresh => {
                    self.look = None;
                    return Ok(());
                }
                Err(reason) => {
                    if let Some(next) = self.queue.pop_front() {
                        self.refuse(next, reason).await?;
                    }
                    continue;
                }
            };
            let ack: Ack = match self.link.jetstream.send_publish(subject, message).await {
                Ok(ack) => ack.into_future(),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            };
            if let Some(outgoing) = self.queue.pop_front() {
                self.in_flight.push_back(InFlight { outgoing, ack });
            }
            (self.last, self.is_fresh) = (Behind::Event(sequence), false);
        }
        Ok(())
    }

    /// The message that becomes of an event; or why the stream can never take it.
    fn message(
        &self,
        look: &Look,
        outgoing: &Outgoing,
        subject: &str,
        behind: Option<&Behind>,
    ) -> std::result::Result<PublishMessage, String> {
        let stream = &look.stream.name;
        if !look.takes(subject) {
            return Err(format!("stream {stream} takes no subject {subject}"));
        }
        let headers = outgoing.headers(&self.identity, stream, behind).map_err(|error| error.to_string())?;
        let payload = outgoing.delivery.payload();
        let limit = self.link.max_payload().min(look.max_message.unwrap_or(usize::MAX));
        let size = wire_len(&headers) + payload.len();
        if size > limit {
            return Err(format!("{size} bytes with headers, and the server takes {limit}"));
        }
        Ok(PublishMessage::build().headers(headers).payload(payload.clone()))
    }
}
