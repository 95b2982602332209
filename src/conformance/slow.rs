//! Line 5: a subscriber that does not read.

use super::fixture::Fixture;
use super::support::{item, numbers, publish_numbers, text, texts};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::publish::Publish;
use crate::subscribe::{Subscribe, Subscription};

/// Reads until each of the events `0`, `1`, … up to `published` has come or was reported as dropped; returns
/// how many were.
///
/// An overflow has its place: what follows it is the event behind those that it counts.
async fn account(stream: &mut Subscription, published: u64) -> u64 {
    let (mut read, mut dropped) = (0, 0);
    while read + dropped < published {
        match item(stream).await {
            Some(Ok(message)) => {
                let number = message.text().and_then(|text| text.split(' ').next()?.parse().ok());
                assert_eq!(
                    number,
                    Some(read + dropped),
                    "{read} events read and {dropped} reported as dropped"
                );
                read += 1;
            }
            Some(Err(error)) => match error.kind() {
                ErrorKind::Overflow { dropped: more } => dropped += more,
                other => panic!("{other:?} after {read} events read and {dropped} reported as dropped"),
            },
            None => panic!("the end after {read} events read and {dropped} reported as dropped"),
        }
    }
    assert_eq!(read + dropped, published);
    dropped
}

pub(super) async fn a_subscriber_that_does_not_read_never_blocks_or_slows_a_publisher_or_another_subscriber(
    fixture: &Fixture,
) {
    const EVENTS: u64 = 5_000;
    let mut idle = fixture.bus.stream("a").await.unwrap();
    let mut idle_elsewhere = fixture.second().stream("a").await.unwrap();
    let mut reading = fixture.bus.stream("a").await.unwrap();
    // In steps that fit into the buffer of the one that reads.
    for step in (0..EVENTS).step_by(500) {
        publish_numbers(&fixture.bus, "a", step..step + 500).await;
        assert_eq!(texts(&mut reading, 500).await, numbers(step..step + 500));
    }
    for stream in [&mut idle, &mut idle_elsewhere] {
        let dropped = account(stream, EVENTS).await;
        assert_eq!(dropped == 0, fixture.bus.capabilities().lossless, "{dropped} of {EVENTS} were dropped");
    }
    fixture.bus.publish("a", "new").await.unwrap();
    for stream in [&mut idle, &mut idle_elsewhere, &mut reading] {
        assert_eq!(text(stream).await, "new", "the stream goes on");
    }
}

pub(super) async fn where_the_backend_is_lossless_a_subscriber_that_falls_behind_catches_up_from_the_log(
    fixture: &Fixture,
) {
    if !fixture.bus.capabilities().lossless {
        return;
    }
    let mut stream = fixture.bus.subscribe(Subscribe::to("a").buffer(4)).await.unwrap();
    // Behind, and again at the tail, several times; the last time while more is published.
    for (start, end) in [(0, 3), (3, 50), (50, 54), (54, 1_500)] {
        publish_numbers(fixture.second(), "a", start..end).await;
        assert_eq!(texts(&mut stream, (end - start) as usize).await, numbers(start..end));
    }
    let bus = fixture.second().clone();
    let publisher = tokio::spawn(async move { publish_numbers(&bus, "a", 1_500..3_000).await });
    assert_eq!(texts(&mut stream, 1_500).await, numbers(1_500..3_000));
    publisher.await.unwrap();
}

pub(super) async fn overflow_of_a_bounded_buffer_is_an_error_item_never_silent(fixture: &Fixture) {
    if fixture.bus.capabilities().lossless {
        return;
    }
    let mut stream = fixture.bus.subscribe(Subscribe::to("a").buffer(4)).await.unwrap();
    publish_numbers(&fixture.bus, "a", 0..100).await;
    assert!(account(&mut stream, 100).await > 0);
    for round in 0..3 {
        fixture.bus.publish("a", format!("{round}")).await.unwrap();
        assert_eq!(text(&mut stream).await, format!("{round}"), "the stream goes on after an overflow");
    }
}

pub(super) async fn a_subscriber_that_does_not_read_large_events_never_blocks_a_publisher(fixture: &Fixture) {
    const EVENTS: u64 = 64;
    let mut stream = fixture.bus.stream("a").await.unwrap();
    for number in 0..EVENTS {
        let payload = format!("{number} {}", "x".repeat(256 << 10));
        fixture.bus.send(Publish::new("a", payload).relaxed()).await.unwrap();
    }
    let dropped = account(&mut stream, EVENTS).await;
    assert!(dropped == 0 || !fixture.bus.capabilities().lossless, "{dropped} of {EVENTS} were dropped");
}
