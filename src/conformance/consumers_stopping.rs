//! Cumulative consumers that stop in front of what they cannot handle.

use super::consuming::{
    acked_texts, assert_idle, assert_lost, cumulative, delivery, in_order, info, last_failure, open, short,
};
use super::dead::letters;
use super::fixture::Fixture;
use super::support::{joined, numbers, publish_numbers, text_of};
use crate::error::ErrorKind;
use crate::handler::HandlerError;
use crate::subscribe::StartAt;

pub(super) async fn a_consumer_that_gives_up_stops_in_front_of_its_event(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..3).await;
    let mut inbox = open(&bus, cumulative()).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["0"]);
    let fatal = delivery(&mut inbox).await;
    fatal.fail(HandlerError::new("out of paper").fatal()).await.unwrap();
    let error = last_failure(&mut inbox).await;
    assert_eq!(error.kind(), ErrorKind::ConsumerStopped { sequence: acks[1].sequence });
    assert!(error.to_string().contains("out of paper"), "{error}");
    let stopped = info(&elsewhere).await;
    assert!(stopped.stopped.as_deref().is_some_and(|reason| reason.contains("out of paper")), "{stopped:?}");
    assert_eq!((stopped.ack_floor, stopped.paused), (acks[0].sequence, false));
    assert_lost(&fatal).await;
    assert!(letters(&elsewhere, ">").await.is_empty());
    // Opened anew, it tries again.
    let mut inbox = open(&elsewhere, cumulative()).await;
    assert_eq!(info(&bus).await.stopped, None);
    assert_eq!(acked_texts(&mut inbox, 2).await, numbers(1..3));
}

pub(super) async fn a_terminated_event_stops_its_consumer_with_the_reason(fixture: &Fixture) {
    let Some([bus, _]) = in_order(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..1).await;
    let mut inbox = open(&bus, cumulative()).await;
    delivery(&mut inbox).await.term("cannot be read").await.unwrap();
    let error = last_failure(&mut inbox).await;
    assert_eq!(error.kind(), ErrorKind::ConsumerStopped { sequence: acks[0].sequence });
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert!(info(&bus).await.stopped.is_some_and(|reason| reason.contains("cannot be read")));
}

pub(super) async fn a_cumulative_consumer_stops_when_max_deliver_is_reached(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, cumulative().max_deliver(3).backoff(short())).await;
    for attempt in 1..=3 {
        assert_eq!(info(&elsewhere).await.stopped, None);
        let delivery = delivery(&mut inbox).await;
        assert_eq!((text_of(&delivery), delivery.attempt()), ("0".to_owned(), attempt));
        delivery.nack(None).await.unwrap();
    }
    let error = last_failure(&mut inbox).await;
    assert_eq!(error.kind(), ErrorKind::ConsumerStopped { sequence: acks[0].sequence });
    assert!(info(&elsewhere).await.stopped.is_some());
    // That it was opened anew gives it all its attempts again.
    let mut inbox = open(&elsewhere, cumulative()).await;
    delivery(&mut inbox).await.nack(None).await.unwrap();
    assert_eq!(acked_texts(&mut inbox, 2).await, numbers(0..2));
}

pub(super) async fn those_who_stand_by_go_on_when_a_stopped_consumer_is_resumed(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..3).await;
    let mut active = open(&bus, cumulative()).await;
    let first = delivery(&mut active).await;
    let mut standby = open(&elsewhere, cumulative()).await;
    assert_idle(&mut standby).await;
    first.term("no").await.unwrap();
    last_failure(&mut active).await;
    drop(active);
    assert_idle(&mut standby).await;
    assert!(info(&bus).await.stopped.is_some(), "who stands by does not go on by itself");
    let goes_on = tokio::spawn(async move { acked_texts(&mut standby, 3).await });
    bus.resume_consumer("c").await.unwrap();
    assert_eq!(joined(goes_on).await, numbers(0..3));
    assert_eq!(info(&bus).await.stopped, None);
}

pub(super) async fn a_stopped_consumer_that_is_moved_goes_on(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..3).await;
    let mut inbox = open(&bus, cumulative()).await;
    delivery(&mut inbox).await.term("no").await.unwrap();
    last_failure(&mut inbox).await;
    elsewhere.seek_consumer("c", StartAt::Sequence(acks[1].sequence)).await.unwrap();
    assert_eq!(info(&bus).await.stopped, None);
    assert_eq!(acked_texts(&mut open(&bus, cumulative()).await, 2).await, numbers(1..3));
}
