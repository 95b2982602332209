//! Inboxes at the end of their bus, and futures that are dropped.

use std::pin::pin;
use std::task::Poll;

use super::cancel::begin;
use super::consuming::{
    acked_texts, assert_idle, assert_inbox_ends, consumers, cumulative, delivery, explicit, in_order, info,
    open, policies,
};
use super::fixture::Fixture;
use super::support::{Chance, joined, kind, numbers, poll_once, publish_numbers, text_of, within};
use crate::consumer::Consumer;
use crate::error::ErrorKind;
use crate::handler::HandlerError;
use crate::subscribe::StartAt;

pub(super) async fn close_ends_every_inbox(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let mut waiting = Vec::new();
    let others = policies(fixture);
    let others = others.iter().map(|policy| Consumer::durable(policy.as_str()).ack_policy(*policy));
    for consumer in others.chain([explicit(), explicit()]) {
        let mut inbox = open(&bus, consumer.filter("silence")).await;
        assert_idle(&mut inbox).await;
        waiting.push(tokio::spawn(async move { assert_inbox_ends(&mut inbox).await }));
    }
    let mut unread = open(&bus, Consumer::durable("e").filter("a")).await;
    within(fixture.bus.close()).await.unwrap();
    for inbox in waiting {
        joined(inbox).await;
    }
    assert_inbox_ends(&mut unread).await;
    assert_inbox_ends(&mut unread).await;
}

pub(super) async fn after_close_every_verb_of_consumers_is_closed(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, explicit()).await;
    let held = delivery(&mut inbox).await;
    let mut firsts = Vec::new();
    for policy in policies(fixture) {
        let mut inbox = open(&bus, Consumer::durable(policy.as_str()).ack_policy(policy)).await;
        firsts.push((delivery(&mut inbox).await, inbox));
    }
    within(fixture.bus.close()).await.unwrap();
    for held in firsts.iter().map(|(first, _)| first).chain([&held]) {
        assert_eq!(kind(within(held.ack()).await), ErrorKind::Closed);
        assert_eq!(kind(within(held.nack(None)).await), ErrorKind::Closed);
        assert_eq!(kind(within(held.fail(HandlerError::new("late"))).await), ErrorKind::Closed);
        assert_eq!(kind(within(held.term("late")).await), ErrorKind::Closed);
        assert_eq!(kind(within(held.extend(super::consuming::HOUR)).await), ErrorKind::Closed);
    }
    assert_eq!(kind(within(bus.consumer(explicit())).await), ErrorKind::Closed);
    assert_eq!(kind(bus.consumer_info("c").await), ErrorKind::Closed);
    assert_eq!(kind(bus.consumers().await), ErrorKind::Closed);
    assert_eq!(kind(bus.seek_consumer("c", StartAt::New).await), ErrorKind::Closed);
    assert_eq!(kind(bus.pause_consumer("c").await), ErrorKind::Closed);
    assert_eq!(kind(bus.resume_consumer("c").await), ErrorKind::Closed);
    assert_eq!(kind(bus.delete_consumer("c").await), ErrorKind::Closed);
    // It has left none the less.
    drop(within(inbox.leave()).await);
}

pub(super) async fn dropping_the_future_of_the_next_delivery_loses_nothing(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    for policy in policies(fixture) {
        let consumer = Consumer::durable(policy.as_str()).filter("a").ack_policy(policy);
        let mut inbox = open(&bus, consumer.from(StartAt::New)).await;
        for number in 0..100 {
            assert_idle(&mut inbox).await;
            publish_numbers(fixture.second(), "a", number..number + 1).await;
            // At any point of its arrival.
            let polled = poll_once(pin!(inbox.next())).await;
            let delivery = match polled {
                Poll::Ready(item) => item.unwrap().unwrap(),
                Poll::Pending => delivery(&mut inbox).await,
            };
            assert_eq!((text_of(&delivery), delivery.attempt()), (number.to_string(), 1));
            delivery.ack().await.unwrap();
        }
    }
}

pub(super) async fn dropping_the_future_of_an_ack_leaves_it_wholly_done_or_wholly_not(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..100).await;
    let mut inbox = open(&bus, explicit()).await;
    let mut chance = Chance(21);
    for number in 0..100 {
        let delivery = delivery(&mut inbox).await;
        assert_eq!((text_of(&delivery), delivery.attempt()), (number.to_string(), 1));
        let acked = begin(delivery.ack(), &mut chance).await;
        match within(delivery.ack()).await {
            Ok(()) => assert!(acked.is_none(), "it was acknowledged before"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::LeaseLost),
        }
        assert!(acked.is_none_or(|acked| acked.is_ok()));
    }
    let info = info(&elsewhere).await;
    assert_eq!((info.num_ack_pending, info.num_backing_off), (0, 0));
    assert_eq!(info.ack_floor, acks[99].sequence);
}

pub(super) async fn dropping_the_future_that_opens_a_consumer_holds_nothing_back(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let mut chance = Chance(22);
    publish_numbers(&fixture.bus, "a", 0..20).await;
    for _ in 0..100 {
        drop(begin(bus.consumer(explicit()), &mut chance).await);
    }
    let mut inbox = open(&elsewhere, explicit()).await;
    let mut texts = Vec::new();
    for _ in 0..20 {
        let delivery = delivery(&mut inbox).await;
        assert_eq!(delivery.attempt(), 1);
        delivery.ack().await.unwrap();
        texts.push(delivery.text().unwrap().parse::<u64>().unwrap());
    }
    texts.sort_unstable();
    assert_eq!(texts, (0..20).collect::<Vec<_>>());
}

pub(super) async fn dropping_the_future_of_a_leave_leaves_the_consumer(fixture: &Fixture) {
    let Some([bus, elsewhere]) = in_order(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, cumulative()).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["0"]);
    drop(begin(inbox.leave(), &mut Chance(23)).await);
    assert_eq!(acked_texts(&mut open(&elsewhere, cumulative()).await, 1).await, numbers(1..2));
}
