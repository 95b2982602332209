//! Line 10: futures that are dropped.

use std::collections::HashMap;
use std::pin::pin;
use std::task::Poll;

use super::fixture::Fixture;
use super::support::{Chance, assert_end, from, kind, one_of_many, poll_once, text, text_of, until};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::publish::Publish;
use crate::subscribe::{StartAt, Subscribe, Subscription};

/// A stream of all that was published since, or a live one where there is no replay.
async fn everything(fixture: &Fixture, live: Subscription) -> Subscription {
    if fixture.bus.capabilities().replay { from(&fixture.bus, ">", StartAt::Oldest).await } else { live }
}

/// Polls a future up to twice, and drops it if it is not done.
pub(super) async fn begin<T>(future: impl Future<Output = T>, chance: &mut Chance) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..chance.below(3) {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        if chance.below(2) == 0 {
            tokio::task::yield_now().await;
        }
    }
    None
}

pub(super) async fn dropping_the_future_of_a_publish_leaves_it_wholly_done_or_wholly_not(fixture: &Fixture) {
    let live = fixture.bus.subscribe(Subscribe::to(">").buffer(2_048)).await.unwrap();
    let mut chance = Chance(10);
    let mut acknowledged = HashMap::new();
    for number in 0..1_000 {
        let text = number.to_string();
        // The ways to the disk differ by durability.
        let publish =
            if chance.below(8) == 0 { Publish::new("a", text.clone()) } else { one_of_many("a", &*text) };
        if let Some(ack) = begin(fixture.bus.send(publish), &mut chance).await {
            acknowledged.insert(text, ack.unwrap().sequence);
        }
    }
    fixture.bus.publish("a", "end").await.expect("the bus goes on");
    let mut log = everything(fixture, live).await;
    fixture.second().publish("a", "another").await.expect("the other handle goes on");
    let mut found = HashMap::new();
    for message in until(&mut log, "another").await {
        let twice = found.insert(text_of(&message), message.sequence());
        assert_eq!(twice, None, "{:?} is there twice", message.text());
    }
    for (text, sequence) in acknowledged {
        assert_eq!(found.get(&text), Some(&sequence), "{text:?} was acknowledged");
    }
}

pub(super) async fn dropping_the_future_of_a_batch_leaves_it_wholly_done_or_wholly_not(fixture: &Fixture) {
    if !fixture.bus.capabilities().atomic_batches {
        return;
    }
    let live = fixture.bus.subscribe(Subscribe::to(">").buffer(2_048)).await.unwrap();
    let mut chance = Chance(11);
    let mut acknowledged = Vec::new();
    for number in 0..200 {
        let batch = (0..5).map(|member| one_of_many("a", format!("{number}.{member}"))).collect();
        if let Some(acks) = begin(fixture.bus.send_all(batch), &mut chance).await {
            assert_eq!(acks.unwrap().len(), 5);
            acknowledged.push(number);
        }
    }
    fixture.bus.publish("a", "end").await.expect("the bus goes on");
    let mut log = everything(fixture, live).await;
    let found: Vec<String> = until(&mut log, "end").await.iter().map(text_of).collect();
    let mut whole = Vec::new();
    for batch in found.chunks(5) {
        let number = batch[0].strip_suffix(".0").and_then(|number| number.parse().ok());
        let number: u64 = number.expect("a batch begins with its first member");
        assert_eq!(batch, (0..5).map(|member| format!("{number}.{member}")).collect::<Vec<_>>());
        assert!(!whole.contains(&number), "batch {number} is there twice");
        whole.push(number);
    }
    assert!(acknowledged.iter().all(|number| whole.contains(number)), "what was acknowledged is there");
}

pub(super) async fn dropping_the_future_of_a_subscribe_leaves_nothing_behind(fixture: &Fixture) {
    let mut chance = Chance(12);
    let starts =
        if fixture.bus.capabilities().replay { [StartAt::New, StartAt::Oldest] } else { [StartAt::New; 2] };
    for round in 0..200 {
        let subscribe = Subscribe::to("a").from(starts[round % 2]);
        drop(begin(fixture.bus.subscribe(subscribe), &mut chance).await);
        fixture.bus.send(one_of_many("a", "before")).await.unwrap();
    }
    let mut stream = fixture.bus.stream("a").await.unwrap();
    fixture.bus.publish("a", "after").await.unwrap();
    assert_eq!(text(&mut stream).await, "after");
}

pub(super) async fn dropping_the_future_of_the_next_item_loses_nothing(fixture: &Fixture) {
    let mut stream = fixture.bus.stream("a").await.unwrap();
    for number in 0..100 {
        assert!(poll_once(pin!(stream.next())).await.is_pending());
        fixture.second().send(one_of_many("a", number.to_string())).await.unwrap();
        // At any point of its arrival.
        let polled = poll_once(pin!(stream.next())).await;
        match polled {
            Poll::Ready(item) => assert_eq!(text_of(&item.unwrap().unwrap()), number.to_string()),
            Poll::Pending => assert_eq!(text(&mut stream).await, number.to_string()),
        }
    }
}

pub(super) async fn dropping_the_future_of_a_close_leaves_a_bus_that_can_be_closed(fixture: &Fixture) {
    let mut stream = fixture.bus.stream("a").await.unwrap();
    drop(poll_once(pin!(fixture.bus.close())).await);
    fixture.bus.close().await.unwrap();
    assert_eq!(kind(fixture.bus.publish("a", "").await), ErrorKind::Closed);
    assert_end(&mut stream).await;
}
