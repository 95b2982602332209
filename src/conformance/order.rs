//! Line 2: in which order.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::support::{message, numbers, one_of_many, sequences};
use crate::ext::MessengerExt;
use crate::messenger::Messenger;

/// Of each publisher.
const EVENTS: u64 = 200;

/// Publishes from each handle, all at once, on the subjects `from.0` and on; returns the sequences by subject
/// and payload.
async fn publish_from(buses: Vec<Arc<dyn Messenger>>) -> HashMap<(String, String), u64> {
    let mut publishers = JoinSet::new();
    for (at, bus) in buses.into_iter().enumerate() {
        publishers.spawn(async move {
            let subject = format!("from.{at}");
            let mut acks = Vec::new();
            for number in numbers(0..EVENTS) {
                let ack = bus.send(one_of_many(&subject, number.as_str())).await.unwrap();
                acks.push(((subject.clone(), number), ack.sequence));
            }
            acks
        });
    }
    publishers.join_all().await.into_iter().flatten().collect()
}

pub(super) async fn events_of_one_publisher_arrive_in_the_order_published(fixture: &Fixture) {
    let mut streams = Vec::new();
    for bus in fixture.handles() {
        streams.push(bus.stream("from.*").await.unwrap());
    }
    publish_from(fixture.handles().map(Arc::clone).to_vec()).await;
    for stream in &mut streams {
        let mut of_each: HashMap<String, Vec<String>> = HashMap::new();
        for _ in 0..2 * EVENTS {
            let message = message(stream).await;
            of_each
                .entry(message.subject().to_string())
                .or_default()
                .push(message.text().unwrap().to_owned());
        }
        assert_eq!(of_each["from.0"], numbers(0..EVENTS));
        assert_eq!(of_each["from.1"], numbers(0..EVENTS));
    }
}

pub(super) async fn all_subscribers_see_one_total_order(fixture: &Fixture) {
    if !fixture.bus.capabilities().total_order {
        return;
    }
    let mut streams = Vec::new();
    for bus in fixture.handles() {
        for filter in ["from.*", ">"] {
            streams.push(bus.stream(filter).await.unwrap());
        }
    }
    let buses = [fixture.handles(), fixture.handles()].concat();
    let acks = publish_from(buses.into_iter().cloned().collect()).await;
    assert_eq!(acks.len() as u64, 4 * EVENTS);
    for stream in &mut streams {
        let mut messages = Vec::new();
        for _ in 0..4 * EVENTS {
            messages.push(message(stream).await);
        }
        assert!(
            sequences(&messages).is_sorted_by(|one, next| one < next),
            "the order is that of the sequences"
        );
        for message in &messages {
            let published = (message.subject().to_string(), message.text().unwrap().to_owned());
            assert_eq!(message.sequence(), acks[&published], "the sequence is the acknowledged one");
        }
    }
}

pub(super) async fn sequences_rise_from_one(fixture: &Fixture) {
    if !fixture.bus.capabilities().total_order {
        return;
    }
    let mut last = 0;
    for round in 0..10 {
        for bus in fixture.handles() {
            let ack = bus.publish("a", "").await.unwrap();
            assert!(ack.sequence > last, "{} after {last}", ack.sequence);
            assert!(round > 0 || last > 0 || ack.sequence == 1, "the first of a fresh bus is 1");
            last = ack.sequence;
        }
    }
}
