//! Events that the log no longer holds, where the fixture can make it forget.

use super::fixture::Fixture;
use super::support::{from, item, kind, numbers, publish_numbers, subject, text, texts};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::publish::PubAck;
use crate::subscribe::{StartAt, Subscribe, Subscription};

/// Publishes ten events and has the first `gone` of them forgotten; `None` where the case does not apply.
async fn ten_of_which_are_gone(fixture: &Fixture, gone: usize) -> Option<Vec<PubAck>> {
    let forget_through = fixture.forget_through.as_ref().filter(|_| fixture.bus.capabilities().replay)?;
    let acks = publish_numbers(&fixture.bus, "a", 0..10).await;
    forget_through(acks[gone - 1].sequence).await;
    Some(acks)
}

async fn gap(stream: &mut Subscription) -> (u64, u64) {
    match item(stream).await {
        Some(Err(error)) => match error.kind() {
            ErrorKind::Gap { first, last } => (first, last),
            other => panic!("a gap was to come, and {other:?} came"),
        },
        other => panic!("a gap was to come, and {other:?} came"),
    }
}

pub(super) async fn a_start_before_the_oldest_event_is_one_gap_and_then_goes_on(fixture: &Fixture) {
    let Some(acks) = ten_of_which_are_gone(fixture, 5).await else { return };
    for bus in fixture.handles() {
        for start in [0, 1, acks[1].sequence, acks[4].sequence] {
            let mut stream = from(bus, "a", StartAt::Sequence(start)).await;
            assert_eq!(gap(&mut stream).await, (start.max(1), acks[4].sequence));
            assert_eq!(texts(&mut stream, 5).await, numbers(5..10));
        }
    }
    let mut stream = from(&fixture.bus, "a", StartAt::Sequence(acks[0].sequence)).await;
    publish_numbers(&fixture.bus, "a", 10..12).await;
    gap(&mut stream).await;
    assert_eq!(texts(&mut stream, 7).await, numbers(5..12));
}

pub(super) async fn a_start_at_what_the_log_holds_is_no_gap(fixture: &Fixture) {
    let Some(acks) = ten_of_which_are_gone(fixture, 5).await else { return };
    for start in [StartAt::Oldest, StartAt::Sequence(acks[5].sequence)] {
        assert_eq!(texts(&mut from(&fixture.bus, "a", start).await, 5).await, numbers(5..10));
    }
    assert_eq!(text(&mut from(&fixture.bus, "a", StartAt::LastPerSubject).await).await, "9");
}

pub(super) async fn a_sequence_is_not_given_again_after_its_event_is_gone(fixture: &Fixture) {
    let Some(acks) = ten_of_which_are_gone(fixture, 10).await else { return };
    let newest = acks[9].sequence;
    let mut at_the_end = from(&fixture.bus, "a", StartAt::Sequence(newest + 1)).await;
    let mut before = from(fixture.second(), "a", StartAt::Sequence(newest)).await;
    let ahead = Subscribe::to("a").from(StartAt::Sequence(newest + 2));
    assert_eq!(kind(fixture.bus.subscribe(ahead).await), ErrorKind::CursorAhead { newest });
    assert!(fixture.bus.last(subject("a")).await.unwrap().is_none());
    let ack = fixture.bus.publish("a", "new").await.unwrap();
    assert!(ack.sequence > newest);
    assert_eq!(text(&mut at_the_end).await, "new");
    assert_eq!(gap(&mut before).await, (newest, newest));
    assert_eq!(text(&mut before).await, "new");
}
