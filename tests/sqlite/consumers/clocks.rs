//! What time does to consumers, with clocks that are turned by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rowbus::{AckPolicy, Clock, Consumer, Durable, ErrorKind, MessengerExt, SqliteBus};

use super::{fares, next, next_number, publish_numbers};
use crate::Place;
use crate::requests::{Clocks, HOUR};

async fn open_at(place: &Place, clocks: &Arc<Clocks>) -> SqliteBus {
    SqliteBus::builder(place.path()).clock(Arc::clone(clocks) as Arc<dyn Clock>).open().await.unwrap()
}

#[tokio::test]
async fn a_consumer_without_members_goes_after_its_inactive_threshold_and_one_with_members_stays() {
    let (place, clocks) = (Place::new(), Clocks::new());
    let bus = open_at(&place, &clocks).await;
    let hour = Duration::from_millis(HOUR.cast_unsigned());
    let short_lived = |name: &str| Consumer::durable(name).inactive_threshold(hour);
    let left = bus.consumer(short_lived("left")).await.unwrap();
    let held = bus.consumer(short_lived("held")).await.unwrap();
    bus.consumer(Consumer::durable("for-ever")).await.unwrap().leave().await.unwrap();
    left.leave().await.unwrap();
    clocks.pass(HOUR - 1);
    // A bus looks when it has its first member, and once a minute.
    let early = open_at(&place, &clocks).await;
    let watching = early.consumer(Consumer::durable("for-ever")).await.unwrap();
    early.publish("a", "").await.unwrap();
    assert_eq!(early.consumers().await.unwrap().len(), 3);
    clocks.pass(1);
    let late = open_at(&place, &clocks).await;
    let _watching = late.consumer(Consumer::durable("for-ever")).await.unwrap();
    while late.consumer_info("left").await.map_err(|error| error.kind()).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let names: Vec<_> = late.consumers().await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["for-ever", "held"]);
    assert_eq!(late.consumer_info("left").await.unwrap_err().kind(), ErrorKind::NotFound);
    drop((held, watching));
}

#[tokio::test]
async fn the_wall_clock_that_jumps_ends_no_ack_wait_and_an_hour_asleep_neither() {
    let (place, clocks) = (Place::new(), Clocks::new());
    let (bus, other) = (open_at(&place, &clocks).await, open_at(&place, &clocks).await);
    publish_numbers(&bus, "number", 1..2, 1).await;
    let consumer = || Consumer::durable("c").ack_wait(Duration::from_secs(60)).max_ack_pending(5);
    let mut inbox = bus.consumer(consumer()).await.unwrap();
    let delivery = next(&mut inbox).await.unwrap();
    let mut second = other.consumer(consumer()).await.unwrap();
    for jump in [HOUR, -2 * HOUR] {
        clocks.wall.fetch_add(jump, Ordering::SeqCst);
        bus.nudge();
        // Another event passes through the other member meanwhile.
        publish_numbers(&other, "number", 2..3, 1).await;
        let info = fares(&bus, "c", "both are in flight or done", |info| info.lag < 9).await;
        assert!(info.num_ack_pending >= 1 && info.num_redelivered == 0, "{info:?}");
    }
    delivery.ack().await.unwrap();
    // Whoever has the others: each comes once.
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let delivery = tokio::select! {
            delivery = inbox.next() => delivery,
            delivery = second.next() => delivery,
        };
        let delivery = delivery.unwrap().unwrap();
        assert_eq!(delivery.attempt(), 1);
        numbers.push(delivery.text().unwrap().to_owned());
        delivery.ack().await.unwrap();
    }
    assert_eq!(numbers, ["2", "2"]);
}

#[tokio::test]
async fn what_is_not_acknowledged_while_the_machine_is_awake_comes_again_and_a_backoff_ends_by_the_wall_clock()
 {
    let (place, clocks) = (Place::new(), Clocks::new());
    let bus = open_at(&place, &clocks).await;
    publish_numbers(&bus, "number", 1..2, 1).await;
    let consumer = Consumer::durable("c").ack_wait(Duration::from_secs(60));
    let mut inbox = bus.consumer(consumer).await.unwrap();
    let first = next(&mut inbox).await.unwrap();
    clocks.awake.fetch_add(60_000, Ordering::SeqCst);
    bus.nudge();
    let second = next(&mut inbox).await.unwrap();
    assert_eq!((second.attempt(), first.ack().await.unwrap_err().kind()), (2, ErrorKind::LeaseLost));
    second.nack(Duration::from_secs(3600)).await.unwrap();
    fares(&bus, "c", "it waits", |info| info.num_backing_off == 1).await;
    clocks.wall.fetch_add(HOUR, Ordering::SeqCst);
    bus.nudge();
    assert_eq!(next(&mut inbox).await.unwrap().attempt(), 3);
}

#[tokio::test]
async fn a_cumulative_consumer_waits_out_its_backoff_by_the_wall_clock() {
    let (place, clocks) = (Place::new(), Clocks::new());
    let bus = open_at(&place, &clocks).await;
    publish_numbers(&bus, "number", 1..3, 2).await;
    let consumer = Consumer::durable("c").ack_policy(AckPolicy::Cumulative);
    let mut inbox = bus.consumer(consumer).await.unwrap();
    next(&mut inbox).await.unwrap().nack(Duration::from_secs(3600)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), inbox.next()).await;
    assert!(early.is_err(), "{early:?}");
    clocks.wall.fetch_add(HOUR, Ordering::SeqCst);
    bus.nudge();
    assert_eq!(next_number(&mut inbox).await, 1);
    assert_eq!(next_number(&mut inbox).await, 2);
}
