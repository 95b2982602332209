//! Consumers that are moved, paused and deleted, and events that are gone.

use super::consuming::{
    acked_texts, assert_idle, assert_inbox_ends, assert_lost, consumers, deliveries, delivery, entry,
    explicit, failure, info, last_failure, open, pending, policies,
};
use super::fixture::Fixture;
use super::support::{from, joined, kind, messages, numbers, publish_numbers, text_of, within};
use crate::consumer::Consumer;
use crate::error::{Error, ErrorKind};
use crate::ext::MessengerExt;
use crate::inbox::Inbox;
use crate::subscribe::StartAt;

/// The payloads of the next deliveries that can be acknowledged. What an inbox had read before its consumer was moved may
/// still come, and is lost.
async fn acked_where_held(inbox: &mut Inbox, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let delivery = delivery(inbox).await;
        match within(delivery.ack()).await {
            Ok(()) => texts.push(text_of(&delivery)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}"),
        }
    }
    texts
}

/// The next error. What an inbox had read before its consumer was deleted may still come, and is lost.
async fn failure_behind_what_is_lost(inbox: &mut Inbox) -> Error {
    loop {
        match entry(inbox).await {
            Some(Ok(delivery)) => assert_lost(&delivery).await,
            Some(Err(error)) => break error,
            None => panic!("an error was to come, and the inbox ended"),
        }
    }
}

pub(super) async fn a_consumer_is_moved_back_and_forward_while_it_is_open(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    for policy in policies(fixture) {
        let name = policy.as_str();
        let acks = publish_numbers(&fixture.bus, name, 0..6).await;
        let log = messages(&mut from(&fixture.bus, name, StartAt::Oldest).await, 6).await;
        let time = log[3].time();
        let since = log.iter().filter(|event| event.time() >= time).map(text_of).collect::<Vec<_>>();
        let mut inbox = open(&bus, Consumer::durable(name).filter(name).ack_policy(policy)).await;
        assert_eq!(acked_texts(&mut inbox, 6).await, numbers(0..6));
        for (to, expected) in [
            (StartAt::Oldest, numbers(0..6)),
            (StartAt::Sequence(acks[4].sequence), numbers(4..6)),
            (StartAt::Sequence(acks[1].sequence), numbers(1..6)),
            (StartAt::Time(time), since),
            (StartAt::LastPerSubject, numbers(5..6)),
        ] {
            elsewhere.seek_consumer(name, to).await.unwrap();
            let before = &log[6 - expected.len()];
            let floor = bus.consumer_info(name).await.unwrap().ack_floor;
            assert!(floor < before.sequence(), "{name} to {to:?}: {floor}");
            assert_eq!(acked_where_held(&mut inbox, expected.len()).await, expected, "{name} to {to:?}");
        }
        // Forward, over what was read ahead as well.
        elsewhere.seek_consumer(name, StartAt::Oldest).await.unwrap();
        assert_eq!(acked_where_held(&mut inbox, 2).await, numbers(0..2));
        elsewhere.seek_consumer(name, StartAt::Sequence(acks[5].sequence)).await.unwrap();
        assert_eq!(acked_where_held(&mut inbox, 1).await, ["5"]);
        elsewhere.seek_consumer(name, StartAt::Oldest).await.unwrap();
        elsewhere.seek_consumer(name, StartAt::New).await.unwrap();
        publish_numbers(&fixture.bus, name, 6..7).await;
        assert_eq!(acked_where_held(&mut inbox, 1).await, ["6"], "{name}");
        inbox.leave().await.unwrap();
    }
}

pub(super) async fn what_members_hold_is_lost_when_their_consumer_is_moved(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..3).await;
    for policy in policies(fixture) {
        let name = policy.as_str();
        let mut inbox = open(&bus, Consumer::durable(name).filter("a").ack_policy(policy)).await;
        let held = deliveries(&mut inbox, 3).await;
        elsewhere.seek_consumer(name, StartAt::Oldest).await.unwrap();
        for delivery in &held {
            assert_lost(delivery).await;
            assert_eq!(kind(delivery.nack(None).await), ErrorKind::LeaseLost);
        }
        assert_eq!(elsewhere.consumer_info(name).await.unwrap().num_ack_pending, 0);
        let again = deliveries(&mut inbox, 3).await;
        assert!(again.iter().all(|delivery| delivery.attempt() == 1));
        again[0].ack().await.unwrap();
    }
}

pub(super) async fn what_waits_to_come_again_is_forgotten_when_its_consumer_is_moved(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, explicit()).await;
    for delivery in deliveries(&mut inbox, 2).await {
        delivery.nack(super::consuming::HOUR).await.unwrap();
    }
    bus.seek_consumer("c", StartAt::New).await.unwrap();
    let info = info(&bus).await;
    assert_eq!((info.num_backing_off, info.lag, info.num_pending), (0, 0, 0));
    publish_numbers(&fixture.bus, "a", 2..3).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["2"]);
}

pub(super) async fn a_move_beyond_the_end_is_cursor_ahead_and_changes_nothing(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let newest = publish_numbers(&fixture.bus, "a", 0..3).await[2].sequence;
    let mut inbox = open(&bus, explicit()).await;
    let held = delivery(&mut inbox).await;
    let moved = bus.seek_consumer("c", StartAt::Sequence(newest + 2)).await;
    assert_eq!(kind(moved), ErrorKind::CursorAhead { newest });
    held.ack().await.unwrap();
    bus.seek_consumer("c", StartAt::Sequence(newest + 1)).await.unwrap();
    publish_numbers(&fixture.bus, "a", 3..4).await;
    assert_eq!(acked_where_held(&mut inbox, 1).await, ["3"]);
}

pub(super) async fn nothing_is_delivered_while_a_consumer_is_paused(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    for policy in policies(fixture) {
        let name = policy.as_str();
        let consumer = || Consumer::durable(name).filter("a").ack_policy(policy).from(StartAt::New);
        let mut inbox = open(&bus, consumer()).await;
        let mut other = open(&bus, Consumer::durable(format!("{name}-other")).from(StartAt::New)).await;
        publish_numbers(&fixture.bus, "a", 0..1).await;
        let held = delivery(&mut inbox).await;
        elsewhere.pause_consumer(name).await.unwrap();
        elsewhere.pause_consumer(name).await.unwrap();
        publish_numbers(&fixture.bus, "a", 1..4).await;
        assert_eq!(acked_texts(&mut other, 4).await, numbers(0..4));
        assert_idle(&mut inbox).await;
        held.ack().await.expect("what was delivered can be acknowledged");
        // Who opens it finds it paused.
        let mut second = open(&elsewhere, consumer()).await;
        assert_idle(&mut second).await;
        second.leave().await.unwrap();
        let paused = pending(&bus, name, 3).await;
        assert!(paused.paused);
        assert_eq!(paused.ack_floor, held.sequence());
        let goes_on = tokio::spawn(async move { acked_texts(&mut inbox, 3).await });
        elsewhere.resume_consumer(name).await.unwrap();
        assert_eq!(joined(goes_on).await, numbers(1..4));
        assert!(!bus.consumer_info(name).await.unwrap().paused);
    }
}

pub(super) async fn deleting_a_consumer_ends_its_inboxes_with_not_found(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    for policy in policies(fixture) {
        publish_numbers(&fixture.bus, "a", 0..1).await;
        let consumer = || explicit().ack_policy(policy);
        let mut inbox = open(&bus, consumer()).await;
        let held = delivery(&mut inbox).await;
        let mut second = open(&elsewhere, consumer()).await;
        assert_idle(&mut second).await;
        let waits = tokio::spawn(async move { last_failure(&mut second).await });
        elsewhere.delete_consumer("c").await.unwrap();
        assert_eq!(failure_behind_what_is_lost(&mut inbox).await.kind(), ErrorKind::NotFound);
        assert_inbox_ends(&mut inbox).await;
        assert_eq!(joined(waits).await.kind(), ErrorKind::NotFound);
        assert_lost(&held).await;
        assert_eq!(kind(bus.consumer_info("c").await), ErrorKind::NotFound);
        // One of the same name is another, and begins anew.
        let mut inbox = open(&bus, consumer().from(StartAt::Oldest)).await;
        assert_lost(&held).await;
        assert_eq!(acked_texts(&mut inbox, 1).await, ["0"]);
        bus.delete_consumer("c").await.unwrap();
    }
}

pub(super) async fn every_verb_of_a_consumer_that_is_not_there_is_not_found(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let _another = open(&bus, Consumer::durable("another")).await;
    assert_eq!(kind(bus.consumer_info("c").await), ErrorKind::NotFound);
    for to in [StartAt::Oldest, StartAt::Sequence(1_000)] {
        assert_eq!(kind(bus.seek_consumer("c", to).await), ErrorKind::NotFound);
    }
    assert_eq!(kind(bus.pause_consumer("c").await), ErrorKind::NotFound);
    assert_eq!(kind(bus.resume_consumer("c").await), ErrorKind::NotFound);
    assert_eq!(kind(bus.delete_consumer("c").await), ErrorKind::NotFound);
}

pub(super) async fn consumers_are_listed_by_name(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    assert!(bus.consumers().await.unwrap().is_empty());
    for name in ["b", "c", "a"] {
        drop(open(&bus, Consumer::durable(name).filter(name)).await);
    }
    publish_numbers(&fixture.bus, "b", 0..2).await;
    pending(&elsewhere, "b", 2).await;
    elsewhere.pause_consumer("c").await.unwrap();
    let listed = elsewhere.consumers().await.unwrap();
    let told: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.num_pending, one.paused)).collect();
    assert_eq!(told, [("a", 0, false), ("b", 2, false), ("c", 0, true)]);
}

pub(super) async fn events_that_are_gone_before_a_consumer_got_them_are_one_gap(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let Some(forget_through) = &fixture.forget_through else { return };
    for policy in policies(fixture) {
        let consumer = || explicit().ack_policy(policy);
        let acks = publish_numbers(&fixture.bus, "a", 0..10).await;
        let mut inbox = open(&bus, consumer().from(StartAt::Sequence(acks[0].sequence))).await;
        assert_eq!(acked_texts(&mut inbox, 2).await, numbers(0..2));
        inbox.leave().await.unwrap();
        forget_through(acks[4].sequence).await;
        let mut inbox = open(&elsewhere, consumer()).await;
        let gap = ErrorKind::Gap { first: acks[2].sequence, last: acks[4].sequence };
        assert_eq!(failure(&mut inbox).await.kind(), gap);
        assert_eq!(acked_texts(&mut inbox, 5).await, numbers(5..10));
        inbox.leave().await.unwrap();
        // It was told, and is over.
        publish_numbers(&fixture.bus, "a", 10..11).await;
        let mut inbox = open(&bus, consumer()).await;
        assert_eq!(acked_texts(&mut inbox, 1).await, ["10"]);
        bus.delete_consumer("c").await.unwrap();
    }
}

pub(super) async fn a_new_consumer_that_begins_at_what_is_gone_has_a_gap_only_if_it_named_it(
    fixture: &Fixture,
) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let Some(forget_through) = &fixture.forget_through else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..4).await;
    forget_through(acks[1].sequence).await;
    for policy in policies(fixture) {
        let named = Consumer::durable(format!("named-{policy}")).ack_policy(policy).filter("a");
        let mut inbox = open(&bus, named.from(StartAt::Sequence(acks[0].sequence))).await;
        let gap = ErrorKind::Gap { first: acks[0].sequence, last: acks[1].sequence };
        assert_eq!(failure(&mut inbox).await.kind(), gap);
        assert_eq!(acked_texts(&mut inbox, 2).await, numbers(2..4));
        let oldest = Consumer::durable(format!("oldest-{policy}")).ack_policy(policy).filter("a");
        assert_eq!(acked_texts(&mut open(&bus, oldest).await, 2).await, numbers(2..4));
    }
    fixture.bus.publish("a", "the bus goes on").await.unwrap();
}
