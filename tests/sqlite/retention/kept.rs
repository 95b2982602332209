//! What consumers have not acknowledged is kept, up to the cap, whoever is killed.

use std::io::Write;
use std::time::Duration;

use rowbus::{
    AckPolicy, Consumer, Durable, ErrorKind, Messenger, MessengerExt, Publish, Retention, SqliteBus,
};

use super::{policy, publish, there};
use crate::Place;
use crate::child::{Process, say};

/// Writes down the number of each delivery and acknowledges it; a gap as well.
pub(super) async fn consume(path: &str, log: &str) {
    let bus = SqliteBus::builder(path).durability(rowbus::Durability::Relaxed).open().await.unwrap();
    let mut inbox = bus.consumer(Consumer::durable("slow").filter("a.>").max_ack_pending(7)).await.unwrap();
    let mut log = std::fs::File::options().append(true).create(true).open(log).unwrap();
    say("ready");
    while let Some(item) = inbox.next().await {
        match item {
            Ok(delivery) => {
                writeln!(log, "{}", delivery.text().unwrap()).unwrap();
                delivery.ack().await.unwrap();
            }
            Err(error) => writeln!(log, "{error}").unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_killed_again_and_again_misses_nothing() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(10).keep_unacked(1 << 20)).await.unwrap();
    drop(bus.consumer(Consumer::durable("slow").filter("a.>").max_ack_pending(7)).await.unwrap());
    let (path, log) = (place.path(), place.join("log"));
    let mut published = 0;
    for round in 0..8 {
        let mut child = Process::start("retention-consume", &[path.to_str().unwrap(), log.to_str().unwrap()]);
        assert_eq!(child.hear(), "ready");
        for _ in 0..10 {
            let numbers: Vec<_> =
                (published..published + 20).map(|number| Publish::new("a.b", number.to_string())).collect();
            published += 20;
            bus.send_all(numbers).await.unwrap();
            bus.prune().await.unwrap();
            tokio::time::sleep(Duration::from_millis(1 + round)).await;
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
    let seen = std::fs::read_to_string(log).unwrap();
    let mut seen: Vec<u64> =
        seen.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line}"))).collect();
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
