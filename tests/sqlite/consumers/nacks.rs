//! What is given back neither spins nor stands in the way.

use std::time::{Duration, Instant};

use rowbus::{
    AckPolicy, Backoff, Consumer, Delivery, Durability, Durable, Messenger, MessengerExt, SqliteBus,
};

use super::{BOTH, consumer, fares, next_number, publish_numbers};
use crate::Place;
use crate::child::{Process, say};

/// Gives the same event back without a delay for a second; says how often, and what it cost in milliseconds of CPU; a role.
pub(super) async fn nack_for_a_second(path: &str, policy: AckPolicy) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    let mut inbox = bus.consumer(consumer(policy).max_deliver(u32::MAX)).await.unwrap();
    let (start, cpu, mut times) = (Instant::now(), cpu(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        let delivery = super::next(&mut inbox).await.unwrap();
        times += 1;
        assert_eq!(delivery.attempt(), times);
        delivery.nack(Duration::ZERO).await.unwrap();
    }
    say(format!("{times} {}", self::cpu().saturating_sub(cpu).as_millis()));
}

/// What this process has used.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_without_a_delay_does_not_spin() {
    for policy in BOTH {
        let place = Place::quiet();
        let bus = place.open().await;
        bus.publish("number", "1").await.unwrap();
        let mut child = Process::start("consumer-nack", &[place.path().to_str().unwrap(), policy.as_str()]);
        let said = child.hear();
        let (times, cpu) = said.split_once(' ').unwrap();
        let (times, cpu): (u32, u32) = (times.parse().unwrap(), cpu.parse().unwrap());
        eprintln!("{policy}: {times} deliveries in a second, {cpu} ms of CPU");
        // Every 10 ms at the earliest, and not never.
        assert!((5..=150).contains(&times), "{policy}: {times} deliveries");
        assert!(cpu < 400, "{policy}: {cpu} ms of CPU");
        bus.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_that_wait_out_a_backoff_neither_stop_the_rest_nor_use_up_what_may_be_in_flight() {
    let place = Place::new();
    let bus = place.open().await;
    let hour = Backoff::fixed(Duration::from_secs(3600));
    let patient = Consumer::durable("it").filter("number").backoff(hour).max_ack_pending(1_000);
    publish_numbers(&bus, "number", 0..3_000, 500).await;
    let mut inbox = bus.consumer(patient).await.unwrap();
    for number in 0..1_000 {
        let delivery = super::next(&mut inbox).await.unwrap();
        assert_eq!(delivery.text(), Some(number.to_string().as_str()));
        delivery.nack(None).await.unwrap();
    }
    // As many as may be in flight, at the same time.
    let mut held = Vec::new();
    for number in 1_000..2_000 {
        let delivery = super::next(&mut inbox).await.unwrap();
        assert_eq!(delivery.text(), Some(number.to_string().as_str()));
        held.push(delivery);
    }
    let info = bus.consumer_info("it").await.unwrap();
    assert_eq!((info.num_ack_pending, info.num_backing_off, info.ack_floor), (1_000, 1_000, 0));
    Delivery::ack_all(&held).await.unwrap();
    for number in 2_000..3_000 {
        let delivery = super::next(&mut inbox).await.unwrap();
        assert_eq!(delivery.text(), Some(number.to_string().as_str()));
        delivery.ack().await.unwrap();
    }
    let info = fares(&bus, "it", "the rest is done", |info| info.num_ack_pending == 0).await;
    assert_eq!((info.num_backing_off, info.num_pending, info.ack_floor), (1_000, 0, 0));
    inbox.leave().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_poison_message_becomes_a_dead_letter_that_outlives_its_event_and_holds_up_nobody() {
    let place = Place::new();
    let bus = place.open().await;
    let quick = Backoff::fixed(Duration::from_millis(1));
    let consumer = Consumer::durable("it").filter("number").backoff(quick).max_deliver(3);
    publish_numbers(&bus, "number", 0..20, 20).await;
    let mut inbox = bus.consumer(consumer).await.unwrap();
    let (mut attempts, mut others) = (Vec::new(), Vec::new());
    while attempts.len() < 3 || others.len() < 19 {
        let delivery = super::next(&mut inbox).await.unwrap();
        if delivery.text() == Some("5") {
            attempts.push(delivery.attempt());
            delivery.fail(rowbus::HandlerError::new(format!("failure {}", attempts.len()))).await.unwrap();
        } else {
            others.push(delivery.text().unwrap().parse::<u64>().unwrap());
            delivery.ack().await.unwrap();
        }
    }
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(others, (0..20).filter(|number| *number != 5).collect::<Vec<_>>());
    fares(&bus, "it", "all is done with", |info| info.ack_floor == 20).await;
    place.sql().execute("DELETE FROM bus_events", []).unwrap();
    let all = rowbus::Dead::Of(rowbus::Filter::everything());
    let letter = bus.dead_letters(all, 0, 10).await.unwrap().remove(0);
    assert_eq!((&letter.payload[..], letter.attempts), (&b"5"[..], 3));
    assert_eq!(letter.source, rowbus::DeadSource::event("it", 6));
    let failures: Vec<_> = letter.failures.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(failures, ["failure 1", "failure 2", "failure 3"]);
    publish_numbers(&bus, "number", 20..21, 1).await;
    assert_eq!(next_number(&mut inbox).await, 20);
    inbox.leave().await.unwrap();
    bus.close().await.unwrap();
}
