//! Cumulative consumers: one active member, in order, and others who stand by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::consuming::{
    HOUR, acked_texts, assert_idle, assert_lost, cumulative, deliveries, delivery, in_order, info, open,
    short, texts_of,
};
use super::dead::letters;
use super::fixture::Fixture;
use super::support::{joined, numbers, publish_numbers, text_of, within};
use crate::consumer::OnFailure;
use crate::durable::Durable;
use crate::handler::HandlerError;
use crate::inbox::Inbox;
use crate::retry::Backoff;

pub(super) async fn a_cumulative_ack_counts_for_everything_before(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..10).await;
    let mut inbox = open(&bus, cumulative()).await;
    let held = deliveries(&mut inbox, 6).await;
    assert_eq!(texts_of(&held), numbers(0..6));
    held[3].ack().await.unwrap();
    let now = info(&elsewhere).await;
    assert_eq!((now.ack_floor, now.delivered, now.num_pending), (acks[3].sequence, acks[3].sequence, 6));
    // Those before say nothing new.
    for before in &held[..4] {
        before.ack().await.unwrap();
    }
    assert_eq!(info(&elsewhere).await.ack_floor, acks[3].sequence);
    held[4].ack().await.unwrap();
    inbox.leave().await.unwrap();
    assert_lost(&held[5]).await;
    let mut inbox = open(&elsewhere, cumulative()).await;
    let again = delivery(&mut inbox).await;
    assert_eq!((text_of(&again), again.attempt()), ("5".to_owned(), 1), "nothing has failed");
    again.ack().await.unwrap();
    assert_eq!(acked_texts(&mut inbox, 4).await, numbers(6..10));
    assert_eq!(info(&bus).await.lag, 0);
}

/// A consumer of five events with an active member, who has three of them and acknowledged one, and one who stands by.
async fn relay(fixture: &Fixture, [bus, elsewhere]: &[Arc<dyn Durable>; 2]) -> ([Inbox; 2], crate::Delivery) {
    publish_numbers(&fixture.bus, "a", 0..5).await;
    let mut active = open(bus, cumulative()).await;
    let held = deliveries(&mut active, 3).await;
    held[0].ack().await.unwrap();
    let mut standby = open(elsewhere, cumulative()).await;
    assert_idle(&mut standby).await;
    ([active, standby], held[1].clone())
}

pub(super) async fn another_member_takes_over_behind_the_ack_floor_when_the_active_one_leaves(
    fixture: &Fixture,
) {
    let Some(handles) = in_order(fixture) else { return };
    for leaves in [true, false] {
        let ([active, mut standby], held) = relay(fixture, &handles).await;
        let takes_over = tokio::spawn(async move { (deliveries(&mut standby, 4).await, standby) });
        if leaves {
            active.leave().await.unwrap();
        } else {
            drop(active);
        }
        let (got, standby) = joined(takes_over).await;
        assert_eq!(texts_of(&got), numbers(1..5));
        assert!(got.iter().all(|delivery| delivery.attempt() == 1), "nobody has failed");
        assert_lost(&held).await;
        let floor = info(&handles[0]).await.ack_floor;
        assert_eq!(floor, got[0].sequence() - 1, "a member that lost its place moves nothing");
        got[3].ack().await.unwrap();
        standby.leave().await.unwrap();
    }
}

pub(super) async fn those_who_stand_by_get_nothing_while_the_active_member_has_its_place(fixture: &Fixture) {
    let Some(handles) = in_order(fixture) else { return };
    let ([mut active, mut standby], _) = relay(fixture, &handles).await;
    for number in 5..30 {
        publish_numbers(&fixture.bus, "a", number..number + 1).await;
        assert_idle(&mut standby).await;
        let expected = number - 2;
        assert_eq!(acked_texts(&mut active, 1).await, numbers(expected..expected + 1));
    }
    assert_idle(&mut standby).await;
    drop(active);
    assert_eq!(acked_texts(&mut standby, 2).await, numbers(28..30));
}

pub(super) async fn a_standby_that_leaves_disturbs_nobody(fixture: &Fixture) {
    let Some(handles) = in_order(fixture) else { return };
    let ([mut active, standby], held) = relay(fixture, &handles).await;
    standby.leave().await.unwrap();
    held.ack().await.unwrap();
    assert_eq!(acked_texts(&mut active, 2).await, numbers(3..5));
}

pub(super) async fn a_cumulative_nack_goes_back_to_its_event_and_keeps_the_order(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..4).await;
    let mut inbox = open(&bus, cumulative().backoff(Backoff::fixed(HOUR))).await;
    let first = deliveries(&mut inbox, 3).await;
    first[0].ack().await.unwrap();
    let began = Instant::now();
    first[1].fail(HandlerError::new("not\nyet").retry_at(chrono::Utc::now())).await.unwrap();
    // What came behind it is not this member's before it comes again: its ack would count for what has failed.
    assert_lost(&first[2]).await;
    assert_lost(&first[1]).await;
    let failures = info(&elsewhere).await.failures;
    assert_eq!((failures.len(), failures[0].attempt, &*failures[0].message), (1, 1, "not yet"));
    let again = deliveries(&mut inbox, 3).await;
    assert!(began.elapsed() >= Duration::from_millis(8), "it spins");
    assert_eq!(texts_of(&again), numbers(1..4));
    assert_eq!(again.iter().map(crate::Delivery::attempt).collect::<Vec<_>>(), [2, 1, 1]);
    again[0].nack(Duration::from_millis(30)).await.unwrap();
    // Its attempts are those of the event, whoever has the place.
    inbox.leave().await.unwrap();
    let mut inbox = open(&elsewhere, cumulative()).await;
    let third = delivery(&mut inbox).await;
    assert_eq!((text_of(&third), third.attempt()), ("1".to_owned(), 3));
    assert!(began.elapsed() >= Duration::from_millis(36), "it came before its delay was over");
    third.ack().await.unwrap();
    assert!(info(&bus).await.failures.is_empty());
    assert_eq!(acked_texts(&mut inbox, 2).await, numbers(2..4));
}

pub(super) async fn a_cumulative_nack_comes_again_after_the_consumers_backoff(fixture: &Fixture) {
    let Some([bus, _]) = in_order(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, cumulative().backoff(short())).await;
    for attempt in 1..4 {
        let delivery = delivery(&mut inbox).await;
        assert_eq!((text_of(&delivery), delivery.attempt()), ("0".to_owned(), attempt));
        let began = Instant::now();
        delivery.nack(None).await.unwrap();
        let again = super::consuming::delivery(&mut inbox).await;
        assert!(began.elapsed() >= Duration::from_millis(14), "it came before its backoff was over");
        inbox.leave().await.unwrap();
        assert_lost(&again).await;
        inbox = open(&bus, cumulative()).await;
    }
    assert_eq!(acked_texts(&mut inbox, 2).await, numbers(0..2));
}

pub(super) async fn a_cumulative_consumer_told_to_goes_on_behind_a_dead_letter(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..5).await;
    let consumer = || cumulative().on_failure(OnFailure::DeadLetter).max_deliver(2).backoff(short());
    let mut inbox = open(&bus, consumer()).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["0"]);
    delivery(&mut inbox).await.term("cannot be read").await.unwrap();
    delivery(&mut inbox).await.fail(HandlerError::new("never").fatal()).await.unwrap();
    for attempt in 1..=2 {
        let delivery = delivery(&mut inbox).await;
        assert_eq!((text_of(&delivery), delivery.attempt()), ("3".to_owned(), attempt));
        delivery.nack(None).await.unwrap();
    }
    assert_eq!(info(&elsewhere).await.ack_floor, acks[3].sequence);
    assert_eq!(acked_texts(&mut inbox, 1).await, ["4"]);
    let letters = super::dead::letters(&elsewhere, "a").await;
    let told: Vec<_> = letters.iter().map(|letter| (letter.reason.as_str(), letter.attempts)).collect();
    assert_eq!(told, [("cannot be read", 1), ("failed", 1), ("exhausted", 2)]);
    for (letter, ack) in letters.iter().zip(&acks[1..]) {
        assert_eq!(letter.source, crate::DeadSource::event("c", ack.sequence));
    }
    // What was given up on does not come again to who takes over.
    inbox.leave().await.unwrap();
    publish_numbers(&fixture.bus, "a", 5..6).await;
    let mut inbox = open(&elsewhere, consumer()).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["5"]);
}

pub(super) async fn dropping_the_future_that_opens_a_cumulative_consumer_takes_no_place(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut chance = super::support::Chance(20);
    for _ in 0..100 {
        drop(super::cancel::begin(bus.consumer(cumulative()), &mut chance).await);
    }
    let mut inbox = open(&elsewhere, cumulative()).await;
    assert_eq!(within(acked_texts(&mut inbox, 2)).await, numbers(0..2));
    assert!(info(&bus).await.members.is_none_or(|members| members == 1));
}

pub(super) async fn giving_up_on_an_event_does_not_count_for_those_before_it(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..6).await;
    let consumer = || cumulative().on_failure(OnFailure::DeadLetter);
    let mut inbox = open(&bus, consumer()).await;
    let held = deliveries(&mut inbox, 5).await;
    held[0].ack().await.unwrap();
    held[2].term("no").await.unwrap();
    held[3].term("neither").await.unwrap();
    assert_eq!(info(&elsewhere).await.ack_floor, acks[0].sequence, "1 was not handled");
    inbox.leave().await.unwrap();
    let mut inbox = open(&elsewhere, consumer()).await;
    let again = deliveries(&mut inbox, 3).await;
    assert_eq!(texts_of(&again), ["1", "4", "5"]);
    again[0].ack().await.unwrap();
    assert_eq!(info(&bus).await.ack_floor, acks[3].sequence, "what was given up on is behind it");
    again[2].ack().await.unwrap();
    assert_eq!((info(&bus).await.lag, letters(&bus, "a").await.len()), (0, 2));
}
