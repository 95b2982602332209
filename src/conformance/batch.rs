//! Batches, where they are whole.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::support::{kind, one_of_many, text, texts};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::publish::Publish;

pub(super) async fn a_batch_is_published_next_to_each_other_and_in_its_order(fixture: &Fixture) {
    if !fixture.bus.capabilities().atomic_batches {
        return;
    }
    let mut streams = Vec::new();
    for bus in fixture.handles() {
        streams.push(bus.stream("a.>").await.unwrap());
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..4 {
        let bus = Arc::clone(fixture.handles()[publisher % 2]);
        publishers.spawn(async move {
            for round in 0..10 {
                let member = |at| one_of_many(&format!("a.{}", at % 3), format!("{publisher}-{round}-{at}"));
                let acks = bus.send_all((0..10).map(member).collect()).await.unwrap();
                assert!(acks.is_sorted_by_key(|ack| ack.sequence));
                bus.send(one_of_many("a.0", "alone")).await.unwrap();
            }
        });
    }
    publishers.join_all().await;
    for stream in &mut streams {
        let events = texts(stream, 4 * 10 * 11).await;
        let mut events = events.iter().filter(|event| *event != "alone").peekable();
        while let Some(batch) = events.peek().and_then(|first| first.strip_suffix("-0")) {
            for at in 0..10 {
                assert_eq!(events.next(), Some(&format!("{batch}-{at}")));
            }
        }
        assert_eq!(events.next(), None, "a batch begins with its first member");
    }
}

pub(super) async fn a_lone_event_never_comes_between_those_of_a_batch(fixture: &Fixture) {
    if !fixture.bus.capabilities().atomic_batches {
        return;
    }
    let mut stream = fixture.second().stream("a").await.unwrap();
    let bus = Arc::clone(fixture.second());
    let lone = tokio::spawn(async move {
        for _ in 0..200 {
            bus.send(one_of_many("a", "alone")).await.unwrap();
        }
    });
    for _ in 0..20 {
        fixture.bus.send_all((0..10).map(|at| one_of_many("a", at.to_string())).collect()).await.unwrap();
    }
    lone.await.unwrap();
    let mut expected = 0;
    for event in texts(&mut stream, 400).await {
        match event.as_str() {
            "alone" => assert_eq!(expected, 0, "a lone event came into a batch"),
            member => {
                assert_eq!(member, expected.to_string());
                expected = (expected + 1) % 10;
            }
        }
    }
}

pub(super) async fn a_batch_of_which_one_is_refused_publishes_none(fixture: &Fixture) {
    let capabilities = fixture.bus.capabilities();
    if !capabilities.atomic_batches {
        return;
    }
    let mut stream = fixture.bus.stream(">").await.unwrap();
    let mut mistakes = vec![Publish::new("a..b", ""), Publish::new("a", "").header("", "")];
    if capabilities.expect_last {
        mistakes.push(Publish::new("a", "").expect_last(77));
    }
    for mistake in mistakes {
        let batches = [
            vec![mistake.clone(), Publish::new("a", "behind it")],
            vec![Publish::new("a", "before it"), mistake.clone()],
            vec![Publish::new("a", "before it"), mistake, Publish::new("a", "behind it")],
        ];
        for batch in batches {
            kind(fixture.bus.send_all(batch).await);
        }
    }
    fixture.bus.publish("a", "next").await.unwrap();
    assert_eq!(text(&mut stream).await, "next");
}

pub(super) async fn a_member_of_a_batch_sees_those_before_it(fixture: &Fixture) {
    let capabilities = fixture.bus.capabilities();
    if !capabilities.atomic_batches || !capabilities.expect_last {
        return;
    }
    let before = fixture.bus.publish("a", "before").await.unwrap().sequence;
    let stale = vec![Publish::new("a", ""), Publish::new("a", "").expect_last(before)];
    assert!(matches!(kind(fixture.bus.send_all(stale).await), ErrorKind::WrongSequence { .. }));
    let others = vec![
        Publish::new("a", "").expect_last(before),
        Publish::new("b", "").expect_last(0),
        Publish::new("c", "").expect_last(0),
    ];
    assert_eq!(fixture.bus.send_all(others).await.unwrap().len(), 3);
    let twice = vec![Publish::new("d", "").expect_last(0), Publish::new("d", "").expect_last(0)];
    assert!(matches!(kind(fixture.bus.send_all(twice).await), ErrorKind::WrongSequence { .. }));
    assert!(
        fixture.bus.send(Publish::new("d", "").expect_last(0)).await.is_ok(),
        "nothing of it was published"
    );
}

pub(super) async fn an_empty_batch_publishes_nothing(fixture: &Fixture) {
    if !fixture.bus.capabilities().atomic_batches {
        return;
    }
    let mut stream = fixture.bus.stream(">").await.unwrap();
    assert_eq!(fixture.bus.send_all(Vec::new()).await.unwrap(), []);
    fixture.bus.publish("a", "next").await.unwrap();
    assert_eq!(text(&mut stream).await, "next");
}

pub(super) async fn where_batches_are_not_whole_they_are_unsupported(fixture: &Fixture) {
    if fixture.bus.capabilities().atomic_batches {
        return;
    }
    let mut stream = fixture.bus.stream("a").await.unwrap();
    let batch = vec![Publish::new("a", "one"), Publish::new("a", "two")];
    assert_eq!(kind(fixture.bus.send_all(batch).await), ErrorKind::Unsupported);
    fixture.bus.publish("a", "next").await.unwrap();
    assert_eq!(text(&mut stream).await, "next");
}
