//! What consumers have not acknowledged is kept, up to the cap, whoever is killed.

use std::time::Duration;

use rowbus::{
    AckPolicy, Consumer, Durable, ErrorKind, Messenger, MessengerExt, Publish, Retention, SqliteBus,
};

use super::{policy, publish, there};
use crate::Place;
use crate::child::{Process, say};
use crate::lines::{self, Lines};

/// Writes down the number of each delivery and acknowledges it; a gap as well.
pub(super) async fn consume(path: &str, log: &str) {
    let bus = SqliteBus::builder(path).durability(rowbus::Durability::Relaxed).open().await.unwrap();
    let mut inbox = bus.consumer(Consumer::durable("slow").filter("a.>").max_ack_pending(7)).await.unwrap();
    let log = Lines::open(log);
    say("ready");
    while let Some(item) = inbox.next().await {
        match item {
            Ok(delivery) => {
                log.write(delivery.text().unwrap());
                delivery.ack().await.unwrap();
            }
            Err(error) => log.write(error),
        }
    }
}

/// Removes what is due, again and again.
pub(super) async fn prune(path: &str) {
    let bus = SqliteBus::builder(path).durability(rowbus::Durability::Relaxed).open().await.unwrap();
    say("ready");
    loop {
        bus.prune().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_misses_nothing_though_it_and_the_pruner_are_killed_again_and_again() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(10).keep_unacked(1 << 20)).await.unwrap();
    drop(bus.consumer(Consumer::durable("slow").filter("a.>").max_ack_pending(7)).await.unwrap());
    let (path, log) = (place.path(), place.join("log"));
    let mut published = 0;
    for round in 0..8 {
        let mut child = Process::start("retention-consume", &[path.to_str().unwrap(), log.to_str().unwrap()]);
        assert_eq!(child.hear(), "ready");
        let mut pruner = Process::start("retention-keep", &[path.to_str().unwrap()]);
        assert_eq!(pruner.hear(), "ready");
        for at in 0..10 {
            let numbers: Vec<_> =
                (published..published + 20).map(|number| Publish::new("a.b", number.to_string())).collect();
            published += 20;
            bus.send_all(numbers).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1 + round)).await;
            // In the middle of whatever it does; the other pruner goes on with it.
            if at == round {
                pruner.kill();
            }
            if at % 2 == 1 {
                bus.prune().await.unwrap();
            }
        }
        child.kill();
        bus.prune().await.unwrap();
    }
    let mut child = Process::start("retention-consume", &[path.to_str().unwrap(), log.to_str().unwrap()]);
    let start = std::time::Instant::now();
    while bus.consumer_info("slow").await.unwrap().ack_floor < published {
        assert!(start.elapsed() < crate::PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill();
    let mut seen: Vec<u64> =
        lines::read(log).iter().map(|line| line.parse().unwrap_or_else(|_| panic!("{line}"))).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..published).collect::<Vec<_>>());
    // It has all of it now.
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql()).len(), 10);
}

#[tokio::test]
async fn beyond_the_cap_the_oldest_go_and_the_consumer_is_told() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(1).keep_unacked(500)).await.unwrap();
    for ack_policy in [AckPolicy::Explicit, AckPolicy::Cumulative] {
        drop(bus.consumer(Consumer::durable(ack_policy.as_str()).ack_policy(ack_policy)).await.unwrap());
    }
    for _ in 0..6 {
        bus.publish("a", vec![7; 100]).await.unwrap();
    }
    // Five are kept that would have gone.
    assert_eq!(bus.prune().await.unwrap().events, 0);
    bus.publish("a", vec![7; 100]).await.unwrap();
    bus.publish("a", vec![7; 100]).await.unwrap();
    assert_eq!(bus.prune().await.unwrap().events, 2);
    assert_eq!((there(&place.sql())[0], policy(&bus, ">").await.pruned_through), (3, 2));
    // It had not begun, and named no place: the oldest that is there is the first for it.
    let mut inbox = bus.consumer(Consumer::durable("explicit")).await.unwrap();
    match inbox.next().await.unwrap() {
        Ok(delivery) => assert_eq!(delivery.sequence(), 3),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Gap { first: 1, last: 2, .. }), "{error}"),
    }
}

#[tokio::test]
async fn what_a_consumer_does_not_want_is_not_kept_for_it_and_what_is_in_flight_is() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(2).keep_unacked(1 << 20)).await.unwrap();
    publish(&bus, "a", 3).await;
    let mut inbox = bus.consumer(Consumer::durable("of-a").filter("a")).await.unwrap();
    let (first, second) = (inbox.next().await.unwrap().unwrap(), inbox.next().await.unwrap().unwrap());
    inbox.next().await.unwrap().unwrap().ack().await.unwrap();
    first.ack().await.unwrap();
    publish(&bus, "b", 20).await;
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql())[0], 2, "the second is in flight");
    second.ack().await.unwrap();
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql()), [22, 23], "though its consumer still stands at 3");
    publish(&bus, "a", 1).await;
    publish(&bus, "b", 5).await;
    drop(inbox);
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql())[0], 24);
}

#[tokio::test]
async fn what_nobody_wants_neither_fills_the_cap_nor_stays() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(10).keep_unacked(10_000)).await.unwrap();
    for ack_policy in [AckPolicy::Explicit, AckPolicy::Cumulative] {
        let consumer = Consumer::durable(ack_policy.as_str()).ack_policy(ack_policy).filter("rare.x");
        drop(bus.consumer(consumer).await.unwrap());
    }
    bus.publish("rare.x", "first").await.unwrap();
    for round in 0..4 {
        bus.send_all((0..50).map(|_| Publish::new("bulk.y", vec![7; 1000])).collect()).await.unwrap();
        if round == 1 {
            bus.publish("rare.x", "second").await.unwrap();
        }
        bus.prune().await.unwrap();
    }
    let left = there(&place.sql());
    assert_eq!((left.len(), &left[..2]), (12, &[1, 102][..]), "two are wanted, and the newest ten stay");
    // A reader without a name is told that something may be missing; a consumer for whom nothing is, is not.
    let mut stream =
        bus.subscribe(rowbus::Subscribe::to("rare.x").from(rowbus::StartAt::Sequence(1))).await.unwrap();
    let gap = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(gap.kind(), ErrorKind::Gap { first: 1, .. }), "{gap}");
    for name in ["explicit", "cumulative"] {
        let mut inbox = bus.consumer(Consumer::durable(name)).await.unwrap();
        for text in ["first", "second"] {
            let delivery = inbox.next().await.unwrap().unwrap();
            assert_eq!(delivery.text(), Some(text), "{name}");
            delivery.ack().await.unwrap();
        }
    }
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql()).len(), 10);
}

#[tokio::test]
async fn a_consumer_that_comes_to_want_more_is_told_of_what_is_gone() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(2).keep_unacked(1 << 20)).await.unwrap();
    drop(bus.consumer(Consumer::durable("c").filter("a")).await.unwrap());
    publish(&bus, "a", 2).await;
    publish(&bus, "b", 20).await;
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql()), [1, 2, 21, 22]);
    let mut inbox = bus.consumer(Consumer::durable("c").filter("a").filter("b")).await.unwrap();
    let gap = inbox.next().await.unwrap().unwrap_err();
    assert!(matches!(gap.kind(), ErrorKind::Gap { first: 1, last: 20, .. }), "{gap}");
    for sequence in [1, 2, 21, 22] {
        assert_eq!(inbox.next().await.unwrap().unwrap().sequence(), sequence);
    }
    // What it holds now is kept, and what comes for it as well.
    publish(&bus, "b", 5).await;
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql()), [1, 2, 21, 22, 23, 24, 25, 26, 27]);
}

#[tokio::test]
async fn of_a_subject_as_well_what_is_not_acknowledged_is_kept_up_to_the_cap() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_per_subject(1).keep_unacked(1000)).await.unwrap();
    let mut inbox = bus.consumer(Consumer::durable("c").filter("a")).await.unwrap();
    publish(&bus, "a", 3).await;
    bus.send_all((0..40).map(|_| Publish::new("b", vec![7; 1000])).collect()).await.unwrap();
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql()), [1, 2, 3, 43], "though much more than the cap lay beside");
    for _ in 0..2 {
        inbox.next().await.unwrap().unwrap().ack().await.unwrap();
    }
    publish(&bus, "a", 1).await;
    bus.prune().await.unwrap();
    assert_eq!(there(&place.sql()), [3, 43, 44]);
    for _ in 0..12 {
        bus.publish("a", vec![7; 100]).await.unwrap();
    }
    bus.prune().await.unwrap();
    let left = there(&place.sql());
    assert_eq!(
        (left.len(), left[left.len() - 1]),
        (12, 56),
        "ten of 100 bytes, the newest, and b's: {left:?}"
    );
}
