//! What readers are told of events that have gone.

use rowbus::{Consumer, Durable, ErrorKind, Retention, StartAt, Subscribe};
use rowbus::{Messenger, MessengerExt};

use super::{publish, there};
use crate::{Place, from_oldest, next, texts};

fn keep(messages: u64) -> Retention {
    Retention::new().max_messages(messages)
}

#[tokio::test]
async fn who_named_a_place_is_told_once_and_goes_on_and_who_begins_with_the_oldest_is_not() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", keep(3)).await.unwrap();
    let mut live = bus.stream("a").await.unwrap();
    publish(&bus, "a", 10).await;
    assert_eq!(texts(&mut live, 10).await.last().unwrap(), "9");
    assert_eq!(bus.prune().await.unwrap().events, 7);
    let mut named = bus.subscribe(Subscribe::to("a").from(StartAt::Sequence(3))).await.unwrap();
    let gap = next(&mut named).await.unwrap_err();
    assert!(matches!(gap.kind(), ErrorKind::Gap { first: 3, last: 7, .. }), "{gap}");
    assert_eq!(texts(&mut named, 3).await, ["7", "8", "9"]);
    let mut oldest = from_oldest(&bus, "a").await;
    assert_eq!(texts(&mut oldest, 3).await, ["7", "8", "9"]);
    // The live one had read everything, and goes on without a word, as do the others.
    for round in 0..3 {
        publish(&bus, "a", 1).await;
        for stream in [&mut live, &mut named, &mut oldest] {
            assert_eq!(texts(stream, 1).await, ["0"], "{round}");
        }
        assert_eq!(bus.prune().await.unwrap().events, 1);
    }
}

#[tokio::test]
async fn a_consumer_is_told_once_and_goes_on() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", keep(3)).await.unwrap();
    publish(&bus, "a", 4).await;
    for policy in [rowbus::AckPolicy::Explicit, rowbus::AckPolicy::Cumulative] {
        let consumer = || Consumer::durable(policy.as_str()).ack_policy(policy);
        let mut inbox = bus.consumer(consumer()).await.unwrap();
        inbox.next().await.unwrap().unwrap().ack().await.unwrap();
        drop(inbox);
    }
    publish(&bus, "a", 6).await;
    assert_eq!(bus.prune().await.unwrap().events, 7);
    for policy in [rowbus::AckPolicy::Explicit, rowbus::AckPolicy::Cumulative] {
        let consumer = Consumer::durable(policy.as_str()).ack_policy(policy);
        let mut inbox = bus.consumer(consumer).await.unwrap();
        let mut gaps = 0;
        let mut numbers = Vec::new();
        while numbers.len() < 3 {
            match tokio::time::timeout(crate::PATIENCE, inbox.next()).await.unwrap().unwrap() {
                Ok(delivery) => {
                    numbers.push(delivery.sequence());
                    delivery.ack().await.unwrap();
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Gap { last: 7, .. }), "{error}");
                    gaps += 1;
                }
            }
        }
        assert_eq!((gaps, &numbers[..]), (1, &[8, 9, 10][..]), "{policy}");
    }
}

#[tokio::test]
async fn the_last_of_each_subject_stays_and_readers_of_others_are_told_nothing() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention("set.>", Retention::new().max_per_subject(2)).await.unwrap();
    for _ in 0..5 {
        for subject in ["set.a", "other", "set.b"] {
            publish(&bus, subject, 1).await;
        }
    }
    assert_eq!(bus.prune().await.unwrap().events, 6);
    let mut settings = from_oldest(&bus, "set.>").await;
    let mut sequences = Vec::new();
    for _ in 0..4 {
        sequences.push(next(&mut settings).await.unwrap().sequence());
    }
    assert_eq!(sequences, [10, 12, 13, 15]);
    let mut others = bus.subscribe(Subscribe::to("other").from(StartAt::Sequence(1))).await.unwrap();
    assert_eq!(texts(&mut others, 5).await.len(), 5);
    // Again and again: what is beyond is looked for when something is added.
    publish(&bus, "set.a", 7).await;
    assert_eq!(bus.prune().await.unwrap().events, 7);
    // However many there are: they are counted in pages.
    for _ in 0..20 {
        publish(&bus, "set.a", 500).await;
        publish(&bus, "set.b", 500).await;
    }
    bus.prune().await.unwrap();
    let left = || there(&place.sql()).len();
    assert_eq!(left(), 5 + 4, "two of each, and the others");
    // A smaller number holds for what was there as well.
    bus.set_retention("set.>", Retention::new().max_per_subject(1)).await.unwrap();
    bus.prune().await.unwrap();
    assert_eq!(left(), 5 + 2);
}
