//! Consumers that are opened, the first time and again.

use std::sync::Arc;
use std::time::Duration;

use super::consuming::{
    HOUR, acked_texts, assert_idle, consumers, cumulative, delivery, entry, explicit, info, open, policies,
};
use super::fixture::Fixture;
use super::support::{from, kind, messages, numbers, publish_numbers, text_of};
use crate::consumer::{AckPolicy, Consumer, OnFailure};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::subscribe::StartAt;

pub(super) async fn where_consumers_are_not_kept_they_are_unsupported(fixture: &Fixture) {
    if fixture.bus.capabilities().consumers {
        return;
    }
    match fixture.bus.as_durable() {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        Ok(bus) => assert_eq!(kind(bus.consumer(explicit()).await), ErrorKind::Unsupported),
    }
}

pub(super) async fn where_consumers_are_not_cumulative_they_are_unsupported(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    if fixture.bus.capabilities().cumulative_consumers {
        return;
    }
    assert_eq!(kind(bus.consumer(cumulative()).await), ErrorKind::Unsupported);
    assert_eq!(kind(bus.consumer_info("c").await), ErrorKind::NotFound);
}

pub(super) async fn a_new_consumer_begins_where_it_was_told(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    for number in 0..3 {
        for subject in ["a.x", "a.y"] {
            fixture.bus.publish(subject, format!("{subject} {number}")).await.unwrap();
        }
    }
    let log = messages(&mut from(&fixture.bus, ">", StartAt::Oldest).await, 6).await;
    let texts = |from: usize| log[from..].iter().map(text_of).collect::<Vec<_>>();
    let time = log[3].time();
    let since = log.iter().filter(|event| event.time() >= time).map(text_of).collect::<Vec<_>>();
    let starts = [
        ("unset", None, texts(0)),
        ("oldest", Some(StartAt::Oldest), texts(0)),
        ("new", Some(StartAt::New), Vec::new()),
        ("sequence", Some(StartAt::Sequence(log[2].sequence())), texts(2)),
        ("end", Some(StartAt::Sequence(log[5].sequence() + 1)), Vec::new()),
        ("time", Some(StartAt::Time(time)), since),
        ("last", Some(StartAt::LastPerSubject), texts(4)),
    ];
    let mut inboxes = Vec::new();
    for (name, start, expected) in starts {
        for policy in policies(fixture) {
            let name = format!("{name}-{policy}");
            let consumer = Consumer::durable(name).filter("a.*").ack_policy(policy);
            let consumer = if let Some(start) = start { consumer.from(start) } else { consumer };
            inboxes.push((open(&bus, consumer).await, expected.clone()));
        }
    }
    fixture.second().publish("a.x", "new").await.unwrap();
    for (mut inbox, mut expected) in inboxes {
        expected.push("new".to_owned());
        let name = inbox.name().to_owned();
        assert_eq!(acked_texts(&mut inbox, expected.len()).await, expected, "{name}");
        assert_eq!(elsewhere.consumer_info(&name).await.unwrap().lag, 0, "{name}");
    }
}

pub(super) async fn a_start_beyond_the_end_makes_no_consumer(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let newest = fixture.bus.publish("a", "").await.unwrap().sequence;
    let ahead = explicit().from(StartAt::Sequence(newest + 2));
    assert_eq!(kind(bus.consumer(ahead).await), ErrorKind::CursorAhead { newest });
    assert_eq!(kind(bus.consumer_info("c").await), ErrorKind::NotFound);
}

pub(super) async fn a_consumer_gets_what_any_of_its_filters_matches_and_nothing_else(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    for policy in policies(fixture) {
        let name = format!("c-{policy}");
        let start = StartAt::New;
        let several = Consumer::durable(name).filter("a.*.paid").filter("b.>").filter("c").from(start);
        let mut inbox = open(&bus, several.ack_policy(policy)).await;
        for subject in ["a.eu.paid", "a.eu", "b", "b.x.y", "c.x", "a.paid", "c", "d", "a.us.paid"] {
            fixture.second().publish(subject, subject).await.unwrap();
        }
        assert_eq!(acked_texts(&mut inbox, 4).await, ["a.eu.paid", "b.x.y", "c", "a.us.paid"]);
    }
}

pub(super) async fn a_consumer_without_a_filter_gets_everything(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let mut inbox = open(&bus, Consumer::durable("c")).await;
    for subject in ["a", "b.c", "a"] {
        fixture.bus.publish(subject, subject).await.unwrap();
    }
    assert_eq!(acked_texts(&mut inbox, 3).await, ["a", "b.c", "a"]);
}

pub(super) async fn a_delivery_is_the_event_as_it_was_published(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    let publish = crate::publish::Publish::new("a", "body").header("Trace", "7f2c").message_id("m1");
    let ack = fixture.second().send(publish).await.unwrap();
    let delivery = delivery(&mut open(&bus, explicit()).await).await;
    assert_eq!((delivery.subject().as_str(), delivery.text()), ("a", Some("body")));
    assert_eq!((delivery.headers().get("Trace"), delivery.message_id()), (Some("7f2c"), Some("m1")));
    assert_eq!((delivery.sequence(), delivery.attempt()), (ack.sequence, 1));
    assert!(!delivery.is_redelivered() && delivery.time().timestamp() > 0);
    delivery.ack().await.unwrap();
}

pub(super) async fn a_reopened_consumer_goes_on_behind_what_it_acknowledged(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..6).await;
    for policy in policies(fixture) {
        let consumer = || Consumer::durable(policy.as_str()).filter("a").ack_policy(policy);
        let mut inbox = open(&bus, consumer()).await;
        assert_eq!(acked_texts(&mut inbox, 2).await, numbers(0..2));
        inbox.leave().await.unwrap();
        // It survives that all its members are gone, and remembers what it is.
        let mut inbox = open(&elsewhere, Consumer::durable(policy.as_str())).await;
        assert_eq!(acked_texts(&mut inbox, 2).await, numbers(2..4));
        drop(inbox);
        assert_eq!(acked_texts(&mut open(&bus, consumer()).await, 2).await, numbers(4..6));
    }
}

pub(super) async fn options_that_are_not_given_stay_and_changed_ones_are_for_all(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let first = explicit().ack_wait(Duration::from_secs(40)).max_deliver(3).max_ack_pending(7);
    let mut inbox = open(&bus, first.inactive_threshold(HOUR)).await;
    let made = info(&elsewhere).await.settings;
    assert_eq!((made.max_deliver, made.max_ack_pending, made.inactive_threshold), (3, 7, Some(HOUR)));
    assert_eq!((made.ack_policy, made.on_failure), (AckPolicy::Explicit, OnFailure::DeadLetter));
    let second = Consumer::durable("c").max_deliver(4).filter("b");
    open(&elsewhere, second).await.leave().await.unwrap();
    for handle in [&bus, &elsewhere] {
        let now = info(handle).await.settings;
        assert_eq!((now.max_deliver, now.ack_wait), (4, Duration::from_secs(40)));
        assert_eq!((now.max_ack_pending, now.inactive_threshold), (7, Some(HOUR)));
        assert_eq!(now.filters.iter().map(|filter| filter.as_str()).collect::<Vec<_>>(), ["b"]);
    }
    fixture.bus.publish("a", "the old filter").await.unwrap();
    fixture.bus.publish("b", "the new filter").await.unwrap();
    assert_eq!(acked_texts(&mut inbox, 1).await, ["the new filter"]);
}

pub(super) async fn other_filters_count_from_the_position_on(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    for policy in policies(fixture) {
        let consumer = || Consumer::durable(policy.as_str()).ack_policy(policy);
        let mut inbox = open(&bus, consumer().filter("a").from(StartAt::New)).await;
        for (subject, payload) in [("b", "b before"), ("a", "a before")] {
            fixture.bus.publish(subject, payload).await.unwrap();
        }
        assert_eq!(acked_texts(&mut inbox, 1).await, ["a before"]);
        inbox.leave().await.unwrap();
        for (subject, payload) in [("a", "a after"), ("b", "b after")] {
            fixture.bus.publish(subject, payload).await.unwrap();
        }
        let mut inbox = open(&elsewhere, consumer().filter("b")).await;
        assert_eq!(acked_texts(&mut inbox, 1).await, ["b after"]);
    }
}

pub(super) async fn what_cannot_be_changed_is_consumer_mismatch_naming_the_setting(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let _inbox = open(&bus, explicit().from(StartAt::New).max_deliver(3)).await;
    let policy = elsewhere.consumer(cumulative().max_deliver(4)).await;
    assert_eq!(kind(policy), ErrorKind::ConsumerMismatch { setting: "ack_policy" });
    let start = elsewhere.consumer(explicit().from(StartAt::Oldest).max_deliver(4)).await;
    assert_eq!(kind(start), ErrorKind::ConsumerMismatch { setting: "start" });
    assert_eq!(info(&bus).await.settings.max_deliver, 3, "what is refused changes nothing");
    let same = explicit().ack_policy(AckPolicy::Explicit).from(StartAt::New);
    drop(open(&elsewhere, same).await);
}

pub(super) async fn a_mistake_in_an_option_of_a_consumer_makes_none(fixture: &Fixture) {
    let Some([bus, _]) = consumers(fixture) else { return };
    for mistake in [
        cumulative().ack_wait(HOUR),
        cumulative().max_ack_pending(5),
        explicit().on_failure(OnFailure::Stop),
        explicit().ack_wait(Duration::from_millis(99)),
        explicit().max_deliver(0),
        explicit().max_ack_pending(0),
        explicit().filter(">"),
    ] {
        assert_eq!(kind(bus.consumer(mistake).await), ErrorKind::InvalidOption);
        assert_eq!(kind(bus.consumer_info("c").await), ErrorKind::NotFound);
    }
    for name in ["", "a b", "a.b", "a*", ">", "a/b", "a\\b", "a\nb"] {
        assert_eq!(kind(bus.consumer(Consumer::durable(name)).await), ErrorKind::InvalidOption, "{name:?}");
    }
    assert_eq!(kind(bus.consumer(explicit().filter("a..b")).await), ErrorKind::InvalidSubject);
    assert!(bus.consumers().await.unwrap().is_empty());
}

pub(super) async fn two_consumers_are_independent(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..3).await;
    let mut one = open(&bus, explicit()).await;
    let mut other = open(&elsewhere, Consumer::durable("other").filter(">")).await;
    let kept = delivery(&mut one).await;
    assert_eq!(acked_texts(&mut other, 3).await, numbers(0..3));
    bus.delete_consumer("other").await.unwrap();
    assert!(matches!(entry(&mut other).await, Some(Err(_))));
    kept.ack().await.unwrap();
    assert_eq!(acked_texts(&mut one, 2).await, numbers(1..3));
    assert_idle(&mut one).await;
}

pub(super) async fn consumers_are_made_once_though_many_open_them_at_the_same_time(fixture: &Fixture) {
    let Some(handles) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..20).await;
    let mut openers = Vec::new();
    for number in 0..8 {
        let bus = Arc::clone(&handles[number % 2]);
        openers.push(tokio::spawn(async move { open(&bus, explicit()).await }));
    }
    let mut inboxes = Vec::new();
    for opener in openers {
        inboxes.push(opener.await.unwrap());
    }
    let mut got = Vec::new();
    for _ in 0..20 {
        let (_, delivery) = super::consuming::any(&mut inboxes).await;
        delivery.ack().await.unwrap();
        got.push(delivery.text().unwrap().parse::<u64>().unwrap());
    }
    got.sort_unstable();
    assert_eq!(got, (0..20).collect::<Vec<_>>());
    assert_eq!(handles[0].consumers().await.unwrap().len(), 1);
}
