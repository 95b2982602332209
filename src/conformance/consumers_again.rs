//! Deliveries that come again.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};

use super::consuming::{
    HOUR, acked_texts, any, assert_lost, consumers, cumulative, deliveries, delivery, explicit, info, open,
    pending, short,
};
use super::fixture::Fixture;
use super::support::{numbers, publish_numbers, text_of, within};
use crate::delivery::Delivery;
use crate::error::ErrorKind;
use crate::handler::HandlerError;
use crate::retry::Backoff;

pub(super) async fn what_is_not_acknowledged_in_time_comes_again_and_the_old_ack_is_lease_lost(
    fixture: &Fixture,
) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let consumer = || explicit().ack_wait(Duration::from_millis(300));
    let mut inboxes = [open(&bus, consumer()).await, open(&elsewhere, consumer()).await];
    let began = Instant::now();
    let (_, first) = any(&mut inboxes).await;
    let (_, second) = any(&mut inboxes).await;
    assert!(began.elapsed() >= Duration::from_millis(290), "it was held for less than its ack_wait");
    assert_eq!((first.sequence(), first.attempt()), (second.sequence(), 1));
    assert_eq!((second.attempt(), second.is_redelivered()), (2, true));
    assert_lost(&first).await;
    second.ack().await.unwrap();
    assert_eq!(info(&bus).await.num_ack_pending, 0);
}

pub(super) async fn what_a_member_that_is_gone_held_comes_again_to_another(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let mut first = open(&bus, explicit().ack_wait(Duration::from_millis(300))).await;
    let held = delivery(&mut first).await;
    drop(first);
    let again = delivery(&mut open(&elsewhere, explicit()).await).await;
    assert_eq!((again.sequence(), again.attempt()), (held.sequence(), 2));
    assert_lost(&held).await;
    again.ack().await.unwrap();
}

pub(super) async fn a_delivery_that_was_extended_is_held_beyond_ack_wait(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, explicit().ack_wait(Duration::from_millis(500))).await;
    let extended = delivery(&mut inbox).await;
    extended.extend(HOUR).await.unwrap();
    let shorter = extended.extend(Duration::ZERO).await;
    shorter.expect("less than what it has changes nothing");
    // Handed over later, and over earlier.
    let lapses = delivery(&mut inbox).await;
    let again = delivery(&mut inbox).await;
    assert_eq!((again.sequence(), again.attempt()), (lapses.sequence(), 2));
    again.ack().await.unwrap();
    extended.ack().await.unwrap();
}

pub(super) async fn what_is_released_comes_again_at_once_and_the_delivery_does_not_count(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let consumer = || explicit().backoff(Backoff::fixed(HOUR));
    let mut inboxes = [open(&bus, consumer()).await, open(&elsewhere, consumer()).await];
    let (_, held) = any(&mut inboxes).await;
    if !fixture.bus.capabilities().releases {
        assert_eq!(held.release().await.unwrap_err().kind(), ErrorKind::Unsupported);
        return held.ack().await.unwrap();
    }
    held.release().await.unwrap();
    assert_lost(&held).await;
    let (_, again) = any(&mut inboxes).await;
    assert_eq!((again.sequence(), again.attempt(), again.is_redelivered()), (held.sequence(), 1, false));
    again.ack().await.unwrap();
    assert_eq!(info(&bus).await.num_pending, 0);
}

pub(super) async fn what_is_released_is_pending_and_waits_out_no_pause(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let has = fixture.bus.capabilities();
    if !has.backing_off_apart || !has.releases {
        return;
    }
    publish_numbers(&fixture.bus, "a", 0..3).await;
    let mut inbox = open(&bus, explicit()).await;
    inbox.limit(1);
    delivery(&mut inbox).await.release().await.unwrap();
    within(inbox.leave()).await.unwrap();
    let info = info(&elsewhere).await;
    assert_eq!((info.num_pending, info.num_backing_off, info.num_redelivered), (3, 0, 0));
}

pub(super) async fn an_inbox_with_a_limit_takes_no_more_than_that(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..40).await;
    let mut inbox = open(&bus, explicit()).await;
    inbox.limit(20);
    // They come quickly, and so more of them might be taken ahead.
    assert_eq!(acked_texts(&mut inbox, 20).await, numbers(0..20));
    assert!(within(inbox.next()).await.is_none());
    assert_eq!(info(&elsewhere).await.num_pending, 20);
    inbox.limit(1);
    assert_eq!(acked_texts(&mut inbox, 1).await, numbers(20..21));
    assert!(within(inbox.next()).await.is_none());
    within(inbox.leave()).await.unwrap();
}

pub(super) async fn what_a_cumulative_member_releases_comes_again_when_it_has_left(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    if !fixture.bus.capabilities().releases {
        return;
    }
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut first = open(&bus, cumulative().max_deliver(1)).await;
    for text in ["0", "1"] {
        let held = delivery(&mut first).await;
        assert_eq!(text_of(&held), text);
        held.release().await.unwrap();
    }
    first.leave().await.unwrap();
    let mut second = open(&elsewhere, cumulative()).await;
    for text in ["0", "1"] {
        let again = delivery(&mut second).await;
        assert_eq!((text_of(&again), again.attempt()), (text.to_owned(), 1));
        again.ack().await.unwrap();
    }
}

pub(super) async fn a_nack_with_a_delay_comes_again_after_it(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, explicit().backoff(Backoff::fixed(HOUR))).await;
    let first = delivery(&mut inbox).await;
    let began = Instant::now();
    first.nack(Duration::from_millis(50)).await.unwrap();
    assert_lost(&first).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["1"]);
    inbox.leave().await.unwrap();
    let again = delivery(&mut open(&elsewhere, explicit()).await).await;
    assert!(began.elapsed() >= Duration::from_millis(48), "it came before its delay was over");
    assert_eq!((text_of(&again), again.attempt()), ("0".to_owned(), 2));
    again.ack().await.unwrap();
}

pub(super) async fn a_nack_comes_again_after_the_consumers_backoff(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let backoff = Backoff::exponential(Duration::from_millis(20), Duration::from_millis(40));
    let mut inbox = open(&bus, explicit().backoff(backoff)).await;
    // A fifth less than 20, 40 and 40 ms, and 2 ms for clocks that round.
    let mut nacked = Instant::now();
    for (attempt, least) in [(1, 0), (2, 14), (3, 30), (4, 30)] {
        let delivery = delivery(&mut inbox).await;
        assert_eq!(delivery.attempt(), attempt);
        assert!(nacked.elapsed() >= Duration::from_millis(least), "attempt {attempt} came too early");
        nacked = Instant::now();
        delivery.nack(None).await.unwrap();
    }
}

pub(super) async fn a_nack_without_a_delay_comes_again_and_does_not_spin(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let mut inbox = open(&bus, explicit().backoff(Backoff::fixed(HOUR))).await;
    let began = Instant::now();
    for attempt in 1..=5 {
        let delivery = delivery(&mut inbox).await;
        assert_eq!(delivery.attempt(), attempt);
        delivery.nack(Duration::ZERO).await.unwrap();
    }
    let last = delivery(&mut inbox).await;
    assert_eq!(last.attempt(), 6);
    // Five times 10 ms, less one for clocks that round.
    assert!(began.elapsed() >= Duration::from_millis(45), "it spins");
    last.ack().await.unwrap();
}

pub(super) async fn a_failure_may_say_when_its_event_comes_again(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let mut inbox = open(&bus, explicit().backoff(Backoff::fixed(HOUR))).await;
    let first = delivery(&mut inbox).await;
    let at = Utc::now() + TimeDelta::milliseconds(60);
    first.fail(HandlerError::new("not yet").retry_at(at)).await.unwrap();
    assert_lost(&first).await;
    let again = delivery(&mut inbox).await;
    assert!(Utc::now().timestamp_millis() >= at.timestamp_millis(), "it came too early");
    assert_eq!(again.attempt(), 2);
    again.ack().await.unwrap();
}

pub(super) async fn what_waits_out_a_backoff_holds_up_nobody(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    if !fixture.bus.capabilities().backing_off_apart {
        return;
    }
    let acks = publish_numbers(&fixture.bus, "a", 0..200).await;
    let mut inbox = open(&bus, explicit().max_ack_pending(2).backoff(Backoff::fixed(HOUR))).await;
    for _ in 0..100 {
        delivery(&mut inbox).await.nack(None).await.unwrap();
    }
    assert_eq!(acked_texts(&mut inbox, 100).await, numbers(100..200));
    let info = info(&elsewhere).await;
    assert_eq!((info.num_backing_off, info.num_ack_pending, info.num_pending), (100, 0, 0));
    assert_eq!((info.ack_floor, info.delivered), (acks[0].sequence - 1, acks[199].sequence));
}

pub(super) async fn info_tells_held_redelivered_and_backing_off_apart(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    if !fixture.bus.capabilities().backing_off_apart {
        return;
    }
    let acks = publish_numbers(&fixture.bus, "a", 0..4).await;
    fixture.bus.send(super::support::one_of_many("b", "of no concern")).await.unwrap();
    let mut inbox = open(&bus, explicit().max_ack_pending(2).backoff(short())).await;
    delivery(&mut inbox).await.nack(None).await.unwrap();
    // Its second delivery comes before, between or after two others; what is not it is acknowledged.
    let again = loop {
        let delivery = delivery(&mut inbox).await;
        if delivery.attempt() == 2 {
            break delivery;
        }
        delivery.ack().await.unwrap();
    };
    let of_one = info(&elsewhere).await;
    assert_eq!((of_one.num_redelivered, of_one.ack_floor), (1, acks[0].sequence - 1));
    assert_eq!((of_one.num_backing_off, of_one.lag), (0, 5));
    assert!(!of_one.paused && of_one.stopped.is_none());
    again.nack(HOUR).await.unwrap();
    let info = info(&elsewhere).await;
    assert_eq!(info.num_backing_off, 1);
    assert!(info.members.is_none_or(|members| members == 1));
    within(inbox.leave()).await.unwrap();
}

pub(super) async fn info_counts_what_is_pending_and_how_far_it_is_behind(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let mut inbox = open(&bus, explicit()).await;
    let empty = info(&elsewhere).await;
    assert_eq!((empty.num_pending, empty.lag, empty.lag_millis), (0, 0, 0));
    inbox.leave().await.unwrap();
    let acks = publish_numbers(&fixture.bus, "a", 0..5).await;
    publish_numbers(&fixture.bus, "b", 0..3).await;
    let before = pending(&elsewhere, "c", 5).await;
    assert!(before.num_pending_is_exact);
    assert_eq!((before.num_ack_pending, before.lag), (0, acks[4].sequence + 3 - before.ack_floor));
    within(async { while info(&elsewhere).await.lag_millis < 5 {} }).await;
    inbox = open(&bus, explicit().max_ack_pending(2)).await;
    let held = deliveries(&mut inbox, 2).await;
    let during = info(&elsewhere).await;
    assert_eq!((during.num_pending, during.num_ack_pending, during.num_redelivered), (3, 2, 0));
    assert_eq!((during.delivered, during.ack_floor), (acks[1].sequence, acks[0].sequence - 1));
    Delivery::ack_all(&held).await.unwrap();
    acked_texts(&mut inbox, 3).await;
    let after = info(&elsewhere).await;
    assert_eq!((after.num_pending, after.num_ack_pending, after.lag_millis), (0, 0, 0));
    assert!(after.ack_floor >= acks[4].sequence && after.lag <= 3);
    assert_eq!((after.name.as_str(), after.created_at), ("c", before.created_at));
}
