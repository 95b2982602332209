//! `expect_last`, where the backend checks it.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::support::{kind, publish_on, texts};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::publish::Publish;

pub(super) async fn expect_last_publishes_only_if_the_subjects_newest_event_has_that_sequence(
    fixture: &Fixture,
) {
    if !fixture.bus.capabilities().expect_last {
        return;
    }
    let mut stream = fixture.bus.stream("a.>").await.unwrap();
    let expecting = |payload: &'static str, sequence| Publish::new("a.b", payload).expect_last(sequence);
    publish_on(fixture.handles(), "a", "another subject").await;
    publish_on(fixture.handles(), "a.b.c", "another subject").await;
    let refused = kind(fixture.bus.send(expecting("too early", 1)).await);
    assert_eq!(refused, ErrorKind::WrongSequence { actual: 0 }, "0 means that it has none");
    let first = fixture.bus.send(expecting("first", 0)).await.unwrap();
    publish_on(fixture.handles(), "a.b.c", "another subject").await;
    for wrong in [0, first.sequence - 1, first.sequence + 1, first.sequence + 2] {
        for bus in fixture.handles() {
            let refused = kind(bus.send(expecting("wrong", wrong)).await);
            assert_eq!(refused, ErrorKind::WrongSequence { actual: first.sequence });
        }
    }
    let second = fixture.second().send(expecting("second", first.sequence)).await.unwrap();
    assert!(second.sequence > first.sequence);
    let expected =
        ["another subject", "another subject", "first", "another subject", "another subject", "second"];
    assert_eq!(texts(&mut stream, 6).await, expected, "what is refused is not published");
}

pub(super) async fn of_concurrent_publishers_that_expect_the_same_sequence_one_succeeds(fixture: &Fixture) {
    if !fixture.bus.capabilities().expect_last {
        return;
    }
    let mut newest = 0;
    for _ in 0..10 {
        let mut publishers = JoinSet::new();
        for number in 0..8 {
            let bus = Arc::clone(fixture.handles()[number % 2]);
            publishers
                .spawn(async move { bus.send(Publish::new("a", "").relaxed().expect_last(newest)).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) = publishers.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7));
        newest = won.into_iter().flatten().map(|ack| ack.sequence).sum();
        for refused in lost {
            assert_eq!(kind(refused), ErrorKind::WrongSequence { actual: newest });
        }
    }
}

pub(super) async fn where_expect_last_is_not_checked_it_is_unsupported(fixture: &Fixture) {
    if fixture.bus.capabilities().expect_last {
        return;
    }
    let mut stream = fixture.bus.stream("a").await.unwrap();
    let unchecked = fixture.bus.send(Publish::new("a", "unchecked").expect_last(0)).await;
    assert_eq!(kind(unchecked), ErrorKind::Unsupported);
    fixture.bus.publish("a", "next").await.unwrap();
    assert_eq!(texts(&mut stream, 1).await, ["next"]);
}
