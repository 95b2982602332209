//! What cases share: waiting with a limit, reading, and a seeded source of chance.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fixture::Fixture;
use crate::call::Call;
use crate::durable::Durable;
use crate::error::{ErrorKind, Result};
use crate::ext::MessengerExt;
use crate::handler::handler_fn;
use crate::job_handle::{JobHandle, JobInfo, JobState};
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::reply::Reply;
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{StartAt, Subscribe, Subscription};

/// How long a case waits for one item: far longer than any backend needs, and less than a case has. The tests
/// of the cases themselves wait for what never comes.
const WAIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 20 });

/// The next item, the end included.
pub(super) async fn item(stream: &mut Subscription) -> Option<Result<Message>> {
    match timeout(WAIT, stream.next()).await {
        Ok(item) => item,
        Err(_) => panic!("nothing came from the stream within {WAIT:?}"),
    }
}

/// The next message.
pub(super) async fn message(stream: &mut Subscription) -> Message {
    match item(stream).await {
        Some(Ok(message)) => message,
        Some(Err(error)) => panic!("a message was to come, and an error came: {error:?}"),
        None => panic!("a message was to come, and the stream ended"),
    }
}

/// The payload of the next message.
pub(super) async fn text(stream: &mut Subscription) -> String {
    text_of(&message(stream).await)
}

/// The next messages.
pub(super) async fn messages(stream: &mut Subscription, count: usize) -> Vec<Message> {
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        messages.push(message(stream).await);
    }
    messages
}

/// The payloads of the next messages.
pub(super) async fn texts(stream: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::with_capacity(count);
    for _ in 0..count {
        texts.push(text(stream).await);
    }
    texts
}

/// The messages before the one with this payload.
pub(super) async fn until(stream: &mut Subscription, sentinel: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let message = message(stream).await;
        if message.text() == Some(sentinel) {
            return messages;
        }
        messages.push(message);
    }
}

/// Asserts that the stream ends, without another item.
pub(super) async fn assert_end(stream: &mut Subscription) {
    if let Some(item) = item(stream).await {
        panic!("the stream was to end, and an item came: {item:?}");
    }
}

pub(super) fn text_of(message: &Message) -> String {
    message.text().expect("the payload is text").to_owned()
}

pub(super) fn sequences(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(Message::sequence).collect()
}

/// The error of a call that must fail.
pub(super) fn kind<T: Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("the call must fail").kind()
}

pub(super) fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

/// A stream that starts there.
pub(super) async fn from(bus: &Arc<dyn Messenger>, filter: &str, start: StartAt) -> Subscription {
    bus.subscribe(Subscribe::to(filter).from(start)).await.unwrap()
}

/// A message of which there will be many: not each is worth a flush of the disk.
pub(super) fn one_of_many(subject: &str, payload: impl Into<String>) -> Publish {
    Publish::new(subject, payload.into()).relaxed()
}

/// Publishes `0`, `1`, … as payloads, one after the other.
pub(super) async fn publish_numbers(
    bus: &Arc<dyn Messenger>,
    subject: &str,
    numbers: std::ops::Range<u64>,
) -> Vec<PubAck> {
    let mut acks = Vec::new();
    for number in numbers {
        acks.push(bus.send(one_of_many(subject, number.to_string())).await.unwrap());
    }
    acks
}

/// What [`publish_numbers`] publishes.
pub(super) fn numbers(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// Publishes on one handle after the other.
pub(super) async fn publish_on(buses: [&Arc<dyn Messenger>; 2], subject: &str, payload: &'static str) {
    for bus in buses {
        bus.publish(subject, payload).await.unwrap();
    }
}

/// Polls a future once.
pub(super) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Chance that is the same in every run: SplitMix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Waits for what must come.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    match timeout(WAIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("what was to come did not come within {WAIT:?}"),
    }
}

/// What handlers tell their case.
pub(super) fn told<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    unbounded_channel()
}

/// What a handler tells next.
pub(super) async fn heard<T>(told: &mut UnboundedReceiver<T>) -> T {
    within(told.recv()).await.expect("there is a handler that may tell")
}

/// What handlers tell next.
pub(super) async fn heard_all<T>(told: &mut UnboundedReceiver<T>, count: usize) -> Vec<T> {
    let mut heard_all = Vec::with_capacity(count);
    for _ in 0..count {
        heard_all.push(heard(told).await);
    }
    heard_all
}

/// Where handlers wait until their case lets them go on, one for each permit.
#[derive(Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(super) fn open(&self, permits: usize) {
        self.0.add_permits(permits);
    }

    pub(super) async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// The payload of a call.
pub(super) fn asked(call: &Call) -> String {
    text_of(call)
}

/// A service that answers with what it is asked.
pub(super) async fn serve_echo(bus: &Arc<dyn Messenger>, filter: &str) -> Service {
    bus.serve(filter, |call: Call| async move { Ok(asked(&call)) }).await.unwrap()
}

/// A service that tells what it is asked, and answers with it.
pub(super) async fn serve_telling(
    bus: &Arc<dyn Messenger>,
    serve: Serve,
) -> (Service, UnboundedReceiver<String>) {
    let (tell, told) = told();
    let handler = handler_fn(move |call: Call| {
        let _ = tell.send(asked(&call));
        async move { Ok(asked(&call)) }
    });
    (bus.serve_with(serve, Arc::new(handler)).await.unwrap(), told)
}

/// The text of the final reply.
pub(super) async fn ask(bus: &Arc<dyn Messenger>, subject: &str, body: &str) -> String {
    reply_text(&within(bus.request(subject, body.to_owned())).await.unwrap())
}

pub(super) fn reply_text(reply: &Reply) -> String {
    reply.text().expect("the reply is text").to_owned()
}

/// A request in a task of its own.
pub(super) fn spawn_call(bus: &Arc<dyn Messenger>, request: Request) -> JoinHandle<Result<Reply>> {
    let bus = Arc::clone(bus);
    tokio::spawn(async move { bus.call(request).await })
}

/// What a task of the case came to.
pub(super) async fn joined<T>(task: JoinHandle<T>) -> T {
    within(task).await.expect("the task does not panic")
}

/// Both handles as ones that keep jobs, if they do.
pub(super) fn durable(fixture: &Fixture) -> Option<[Arc<dyn Durable>; 2]> {
    let jobs = fixture.bus.capabilities().jobs;
    jobs.then(|| fixture.handles().map(|bus| bus.as_durable().expect("a bus with jobs is durable")))
}

/// How a job fares, where the backend tells.
pub(super) async fn fares(fixture: &Fixture, jobs: &Arc<dyn Durable>, job: &JobHandle) -> Option<JobInfo> {
    if !fixture.bus.capabilities().job_info {
        return None;
    }
    Some(jobs.job(job.id().clone()).await.unwrap())
}

/// The same as its state.
pub(super) async fn assert_state(
    fixture: &Fixture,
    jobs: &Arc<dyn Durable>,
    job: &JobHandle,
    state: JobState,
) {
    if let Some(info) = fares(fixture, jobs, job).await {
        assert_eq!(info.state, state);
    }
}
