//! What the cases of consumers share.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;

use super::fixture::Fixture;
use super::support::{durable, poll_once, text_of, within};
use crate::consumer::{AckPolicy, Consumer};
use crate::consumer_info::ConsumerInfo;
use crate::delivery::Delivery;
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::inbox::Inbox;
use crate::retry::Backoff;

pub(super) const HOUR: Duration = Duration::from_secs(3_600);

/// Both handles as ones that keep consumers, if they do.
pub(super) fn consumers(fixture: &Fixture) -> Option<[Arc<dyn Durable>; 2]> {
    durable(fixture).filter(|_| fixture.bus.capabilities().consumers)
}

/// The same, where they may be cumulative.
pub(super) fn in_order(fixture: &Fixture) -> Option<[Arc<dyn Durable>; 2]> {
    consumers(fixture).filter(|_| fixture.bus.capabilities().cumulative_consumers)
}

/// The ways to acknowledge that the backend has.
pub(super) fn policies(fixture: &Fixture) -> Vec<AckPolicy> {
    let cumulative = fixture.bus.capabilities().cumulative_consumers;
    [AckPolicy::Explicit].into_iter().chain(cumulative.then_some(AckPolicy::Cumulative)).collect()
}

/// A consumer `c` of `a`, of which each delivery is acknowledged on its own.
pub(super) fn explicit() -> Consumer {
    Consumer::durable("c").filter("a")
}

/// A consumer `c` of `a`, of which an acknowledgement counts for everything before.
pub(super) fn cumulative() -> Consumer {
    explicit().ack_policy(AckPolicy::Cumulative)
}

/// So short that a case can wait for it.
pub(super) fn short() -> Backoff {
    Backoff::fixed(Duration::from_millis(20))
}

pub(super) async fn open(bus: &Arc<dyn Durable>, consumer: Consumer) -> Inbox {
    within(bus.consumer(consumer)).await.unwrap()
}

pub(super) async fn info(bus: &Arc<dyn Durable>) -> ConsumerInfo {
    bus.consumer_info("c").await.unwrap()
}

/// How a consumer fares as soon as so much is pending: a server may count a moment after it has acknowledged.
pub(super) async fn pending(bus: &Arc<dyn Durable>, name: &str, count: u64) -> ConsumerInfo {
    let counted = async {
        loop {
            let info = bus.consumer_info(name).await.unwrap();
            if info.num_pending == count {
                return info;
            }
            tokio::task::yield_now().await;
        }
    };
    within(counted).await
}

/// The next item, the end included.
pub(super) async fn entry(inbox: &mut Inbox) -> Option<Result<Delivery>> {
    within(inbox.next()).await
}

/// The next delivery.
pub(super) async fn delivery(inbox: &mut Inbox) -> Delivery {
    delivered(entry(inbox).await)
}

/// The next deliveries.
pub(super) async fn deliveries(inbox: &mut Inbox, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::with_capacity(count);
    for _ in 0..count {
        deliveries.push(delivery(inbox).await);
    }
    deliveries
}

/// The payloads of the next deliveries, each of which is acknowledged.
pub(super) async fn acked_texts(inbox: &mut Inbox, count: usize) -> Vec<String> {
    let mut texts = Vec::with_capacity(count);
    for _ in 0..count {
        let delivery = delivery(inbox).await;
        within(delivery.ack()).await.unwrap();
        texts.push(text_of(&delivery));
    }
    texts
}

/// The next delivery to any of these, and to which.
pub(super) async fn any(inboxes: &mut [Inbox]) -> (usize, Delivery) {
    let next = poll_fn(|cx| {
        for (at, inbox) in inboxes.iter_mut().enumerate() {
            if let Poll::Ready(item) = Pin::new(inbox).poll_next(cx) {
                return Poll::Ready((at, delivered(item)));
            }
        }
        Poll::Pending
    });
    within(next).await
}

/// Asserts that there is nothing at hand. That nothing comes later is seen by what comes in its place.
pub(super) async fn assert_idle(inbox: &mut Inbox) {
    if let Poll::Ready(item) = poll_once(pin!(inbox.next())).await {
        panic!("nothing was to come, and an item came: {item:?}");
    }
}

/// The error that is the next item.
pub(super) async fn failure(inbox: &mut Inbox) -> Error {
    match entry(inbox).await {
        Some(Err(error)) => error,
        other => panic!("an error was to come, and this came: {other:?}"),
    }
}

/// The error that is the next item, and the last.
pub(super) async fn last_failure(inbox: &mut Inbox) -> Error {
    let error = failure(inbox).await;
    assert_inbox_ends(inbox).await;
    error
}

pub(super) async fn assert_inbox_ends(inbox: &mut Inbox) {
    if let Some(item) = entry(inbox).await {
        panic!("the inbox was to end, and an item came: {item:?}");
    }
}

/// Asserts that this member has it no more.
pub(super) async fn assert_lost(delivery: &Delivery) {
    let error = within(delivery.ack()).await.expect_err("it was lost");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}

pub(super) fn texts_of(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| text_of(delivery)).collect()
}

fn delivered(item: Option<Result<Delivery>>) -> Delivery {
    match item {
        Some(Ok(delivery)) => delivery,
        Some(Err(error)) => panic!("a delivery was to come, and an error came: {error:?}"),
        None => panic!("a delivery was to come, and the inbox ended"),
    }
}
