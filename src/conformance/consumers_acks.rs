//! Deliveries that are acknowledged one by one, by members who share them.

use std::time::Duration;

use super::consuming::{
    acked_texts, any, assert_idle, assert_lost, consumers, deliveries, delivery, explicit, info, open,
    texts_of,
};
use super::fixture::Fixture;
use super::support::{kind, numbers, publish_numbers, text_of, within};
use crate::delivery::Delivery;
use crate::error::ErrorKind;
use crate::subscribe::StartAt;

pub(super) async fn acks_may_come_in_any_order_and_the_ack_floor_follows(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..5).await;
    let mut inbox = open(&bus, explicit()).await;
    let held = deliveries(&mut inbox, 5).await;
    assert_eq!(texts_of(&held), numbers(0..5));
    // The one that was acknowledged, the one that all are acknowledged before, and how many are not.
    for (acked, first_open, open) in [(3, 0, 4), (0, 1, 3), (1, 2, 2), (2, 4, 1)] {
        held[acked].ack().await.unwrap();
        let info = info(&elsewhere).await;
        assert_eq!(info.ack_floor, acks[first_open].sequence - 1);
        assert_eq!((info.num_ack_pending, info.delivered), (open, acks[4].sequence));
    }
    held[4].ack().await.unwrap();
    let info = info(&elsewhere).await;
    assert_eq!((info.ack_floor, info.num_ack_pending, info.lag), (acks[4].sequence, 0, 0));
}

pub(super) async fn members_share_the_events_and_each_goes_to_one(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let mut inboxes = [open(&bus, explicit()).await, open(&elsewhere, explicit()).await];
    let mut got = Vec::new();
    for round in 0..10 {
        publish_numbers(&fixture.bus, "a", round * 10..round * 10 + 10).await;
        inboxes.reverse();
        for _ in 0..10 {
            let (_, delivery) = any(&mut inboxes).await;
            assert_eq!(delivery.attempt(), 1);
            delivery.ack().await.unwrap();
            got.push(delivery.text().unwrap().parse::<u64>().unwrap());
        }
    }
    got.sort_unstable();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    assert_eq!(info(&bus).await.num_ack_pending, 0);
}

pub(super) async fn a_second_ack_is_lease_lost(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, explicit()).await;
    let first = delivery(&mut inbox).await;
    first.ack().await.unwrap();
    assert_lost(&first.clone()).await;
    assert_eq!(kind(first.nack(None).await), ErrorKind::LeaseLost);
    assert_eq!(kind(first.fail(crate::HandlerError::new("late")).await), ErrorKind::LeaseLost);
    assert_eq!(kind(first.term("late").await), ErrorKind::LeaseLost);
    assert_eq!(kind(first.extend(Duration::from_secs(1)).await), ErrorKind::LeaseLost);
    assert_eq!(acked_texts(&mut inbox, 1).await, ["1"]);
}

pub(super) async fn all_deliveries_of_a_batch_are_acknowledged_together(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..30).await;
    let mut inbox = open(&bus, explicit()).await;
    let mut batch = Vec::new();
    while batch.len() < 20 {
        let most = 20 - batch.len();
        let more = within(inbox.batch(most)).await.unwrap();
        assert!(!more.is_empty() && more.len() <= most);
        batch.extend(more);
    }
    assert_eq!(texts_of(&batch), numbers(0..20));
    Delivery::ack_all(&batch).await.unwrap();
    assert_eq!(acked_texts(&mut inbox, 10).await, numbers(20..30));
    assert_eq!(info(&elsewhere).await.ack_floor, acks[29].sequence);
    // All are tried, and the first error is told.
    publish_numbers(&fixture.bus, "a", 30..33).await;
    let batch = deliveries(&mut inbox, 3).await;
    batch[0].ack().await.unwrap();
    assert_eq!(kind(Delivery::ack_all(&batch).await), ErrorKind::LeaseLost);
    assert_eq!(info(&elsewhere).await.num_ack_pending, 0);
}

pub(super) async fn an_empty_batch_is_the_end(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let mut inbox = open(&bus, explicit()).await;
    fixture.bus.close().await.unwrap();
    assert!(within(inbox.batch(10)).await.unwrap().is_empty());
}

pub(super) async fn dropping_an_inbox_gives_back_at_once_what_was_not_handed_over(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    for leaves in [false, true] {
        publish_numbers(&fixture.bus, "a", 0..10).await;
        let mut first = open(&bus, explicit()).await;
        let held = deliveries(&mut first, 2).await;
        let mut second = open(&elsewhere, explicit()).await;
        if leaves {
            first.leave().await.unwrap();
        } else {
            drop(first);
        }
        let rest = deliveries(&mut second, 8).await;
        let mut texts = texts_of(&rest);
        texts.sort_unstable();
        assert_eq!(texts, numbers(2..10));
        assert!(rest.iter().all(|delivery| delivery.attempt() == 1), "a delivery that nobody saw is none");
        // What was handed over is still its member's.
        Delivery::ack_all(&held).await.unwrap();
        Delivery::ack_all(&rest).await.unwrap();
        assert_eq!(info(&bus).await.num_ack_pending, 0);
        second.leave().await.unwrap();
    }
}

pub(super) async fn a_member_that_waits_is_given_what_another_leaves_behind(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let mut first = open(&bus, explicit().max_ack_pending(1)).await;
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let held = delivery(&mut first).await;
    let mut second = open(&elsewhere, explicit()).await;
    assert_idle(&mut second).await;
    let next = tokio::spawn(async move { delivery(&mut second).await });
    drop(first);
    held.ack().await.unwrap();
    let delivery = within(next).await.unwrap();
    assert_eq!((text_of(&delivery), delivery.attempt()), ("1".to_owned(), 1));
    delivery.ack().await.unwrap();
}

pub(super) async fn max_ack_pending_bounds_what_all_members_hold_together(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..6).await;
    let consumer = || explicit().max_ack_pending(2);
    let mut inboxes = [open(&bus, consumer()).await, open(&elsewhere, consumer()).await];
    let mut held = vec![any(&mut inboxes).await.1, any(&mut inboxes).await.1];
    for done in 0..4 {
        for inbox in &mut inboxes {
            assert_idle(inbox).await;
        }
        let info = info(&bus).await;
        assert_eq!((info.num_ack_pending, info.num_pending), (2, 4 - done));
        assert_eq!(info.delivered, acks[usize::try_from(done).unwrap() + 1].sequence);
        held.remove(0).ack().await.unwrap();
        held.push(any(&mut inboxes).await.1);
    }
    Delivery::ack_all(&held).await.unwrap();
    assert_eq!(info(&bus).await.ack_floor, acks[5].sequence);
}

pub(super) async fn a_larger_bound_lets_members_who_wait_go_on(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..3).await;
    let mut inbox = open(&bus, explicit().max_ack_pending(1)).await;
    let held = delivery(&mut inbox).await;
    assert_idle(&mut inbox).await;
    drop(open(&elsewhere, explicit().max_ack_pending(3)).await);
    let more = deliveries(&mut inbox, 2).await;
    assert_eq!(texts_of(&more), numbers(1..3));
    held.ack().await.unwrap();
    Delivery::ack_all(&more).await.unwrap();
}

pub(super) async fn events_published_while_members_wait_reach_them(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let mut inbox = open(&bus, explicit().from(StartAt::New)).await;
    for number in 0..50 {
        assert_idle(&mut inbox).await;
        publish_numbers(fixture.second(), "b", 0..1).await;
        publish_numbers(fixture.second(), "a", number..number + 1).await;
        assert_eq!(acked_texts(&mut inbox, 1).await, numbers(number..number + 1));
    }
}
