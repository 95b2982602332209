//! Deduplication, where the backend has it.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::support::{kind, texts};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::publish::Publish;

fn with_id(payload: &'static str, id: &str) -> Publish {
    Publish::new("a", payload).message_id(id)
}

pub(super) async fn a_second_message_with_the_same_id_is_acknowledged_as_duplicate_and_not_published(
    fixture: &Fixture,
) {
    if !fixture.bus.capabilities().deduplication {
        return;
    }
    let mut stream = fixture.bus.stream(">").await.unwrap();
    let first = fixture.bus.send(with_id("first", "1")).await.unwrap();
    assert!(!first.duplicate);
    fixture.bus.publish("a", "between").await.unwrap();
    // Its subject, payload and handle do not matter.
    let elsewhere = Publish::new("b", "second").message_id("1");
    let repeats = [
        fixture.bus.send(with_id("first", "1")).await.unwrap(),
        fixture.bus.send(elsewhere.clone()).await.unwrap(),
        fixture.second().send(elsewhere).await.unwrap(),
    ];
    for repeat in repeats {
        assert_eq!((repeat.sequence, repeat.duplicate), (first.sequence, true));
    }
    assert!(!fixture.second().send(with_id("other", "2")).await.unwrap().duplicate);
    assert_eq!(texts(&mut stream, 3).await, ["first", "between", "other"]);
}

pub(super) async fn of_concurrent_messages_with_the_same_id_one_is_published(fixture: &Fixture) {
    if !fixture.bus.capabilities().deduplication {
        return;
    }
    let mut stream = fixture.bus.stream("a").await.unwrap();
    let mut publishers = JoinSet::new();
    for number in 0..32 {
        let bus = Arc::clone(fixture.handles()[number % 2]);
        publishers.spawn(async move { bus.send(with_id("once", "1")).await.unwrap() });
    }
    let acks = publishers.join_all().await;
    assert_eq!(acks.iter().filter(|ack| !ack.duplicate).count(), 1);
    assert!(acks.iter().all(|ack| ack.sequence == acks[0].sequence));
    fixture.bus.publish("a", "end").await.unwrap();
    assert_eq!(texts(&mut stream, 2).await, ["once", "end"]);
}

pub(super) async fn a_duplicate_inside_a_batch_is_not_published(fixture: &Fixture) {
    let capabilities = fixture.bus.capabilities();
    if !capabilities.duplicates_in_batches || !capabilities.atomic_batches {
        return;
    }
    let mut stream = fixture.bus.stream("a").await.unwrap();
    let before = fixture.bus.send(with_id("before", "1")).await.unwrap();
    let batch = vec![
        with_id("again", "1"),
        with_id("new", "2"),
        Publish::new("a", "without"),
        with_id("new again", "2"),
    ];
    let acks = fixture.bus.send_all(batch).await.unwrap();
    assert_eq!(acks.iter().map(|ack| ack.duplicate).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!((acks[0].sequence, acks[3].sequence), (before.sequence, acks[1].sequence));
    assert!(fixture.bus.send(with_id("later", "2")).await.unwrap().duplicate);
    fixture.bus.publish("a", "end").await.unwrap();
    assert_eq!(texts(&mut stream, 4).await, ["before", "new", "without", "end"]);
}

pub(super) async fn the_id_of_a_message_that_was_refused_is_free(fixture: &Fixture) {
    let capabilities = fixture.bus.capabilities();
    if !capabilities.deduplication || !capabilities.expect_last {
        return;
    }
    let refused = fixture.bus.send(with_id("refused", "1").expect_last(77)).await;
    assert!(matches!(kind(refused), ErrorKind::WrongSequence { .. }));
    if capabilities.atomic_batches {
        let batch = vec![with_id("refused", "1"), Publish::new("a", "refused").expect_last(77)];
        assert!(matches!(kind(fixture.bus.send_all(batch).await), ErrorKind::WrongSequence { .. }));
    }
    let mut stream = fixture.bus.stream("a").await.unwrap();
    assert!(!fixture.bus.send(with_id("published", "1")).await.unwrap().duplicate);
    assert_eq!(texts(&mut stream, 1).await, ["published"]);
}

pub(super) async fn a_duplicate_is_one_whatever_sequence_it_expects(fixture: &Fixture) {
    let capabilities = fixture.bus.capabilities();
    if !capabilities.duplicates_before_expectations || !capabilities.expect_last {
        return;
    }
    let first = fixture.bus.send(with_id("once", "1").expect_last(0)).await.unwrap();
    fixture.bus.publish("a", "later").await.unwrap();
    let again = fixture.bus.send(with_id("once", "1").expect_last(0)).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
}
