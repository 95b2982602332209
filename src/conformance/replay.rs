//! Streams that start in the log, and `last`, where the backend has replay.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinSet;

use super::delivery;
use super::fixture::Fixture;
use super::support::{
    assert_end, from, kind, message, numbers, one_of_many, publish_numbers, publish_on, sequences, subject,
    text, texts, until,
};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::subscribe::{StartAt, Subscribe};

pub(super) async fn last_is_the_newest_event_of_its_subject(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    assert!(fixture.bus.last(subject("a.b")).await.unwrap().is_none());
    publish_on(fixture.handles(), "a.b", "old").await;
    let ack = fixture.second().publish("a.b", "new").await.unwrap();
    for other in ["a", "a.b.c", "A.b", "a.bc"] {
        fixture.bus.publish(other, "of another subject").await.unwrap();
    }
    for bus in fixture.handles() {
        let last = bus.last(subject("a.b")).await.unwrap().expect("the log holds one");
        assert_eq!((last.subject().as_str(), last.text()), ("a.b", Some("new")));
        assert_eq!(last.sequence(), ack.sequence);
        assert!(bus.last(subject("a.c")).await.unwrap().is_none());
    }
}

pub(super) async fn a_start_at_new_delivers_nothing_that_was_before(fixture: &Fixture) {
    publish_on(fixture.handles(), "a", "before").await;
    for bus in fixture.handles() {
        let mut stream = from(bus, "a", StartAt::New).await;
        fixture.bus.publish("a", "after").await.unwrap();
        assert_eq!(text(&mut stream).await, "after");
    }
}

pub(super) async fn a_start_at_oldest_delivers_the_log_and_then_what_is_new(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    let mut on_nothing = from(&fixture.bus, "a", StartAt::Oldest).await;
    publish_numbers(&fixture.bus, "a", 0..10).await;
    let mut streams = vec![
        from(&fixture.bus, "a", StartAt::Oldest).await,
        from(fixture.second(), "a", StartAt::Oldest).await,
    ];
    publish_numbers(fixture.second(), "a", 10..20).await;
    streams.push(from(&fixture.bus, "a", StartAt::Oldest).await);
    for stream in streams.iter_mut().chain([&mut on_nothing]) {
        assert_eq!(texts(stream, 20).await, numbers(0..20));
    }
    publish_numbers(&fixture.bus, "a", 20..22).await;
    for stream in streams.iter_mut().chain([&mut on_nothing]) {
        assert_eq!(texts(stream, 2).await, numbers(20..22));
    }
}

pub(super) async fn a_replay_delivers_what_its_filter_matches_and_nothing_else(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    let mut expected = Vec::new();
    for (_, matching, others) in delivery::FILTERS {
        for subject in others.iter().chain([matching]) {
            fixture.bus.send(one_of_many(subject, *subject)).await.unwrap();
            expected.push(*subject);
        }
    }
    fixture.bus.publish("end", "end").await.unwrap();
    for (text, _, _) in delivery::FILTERS {
        let filter = crate::Filter::new(text).unwrap();
        let wanted: Vec<_> = expected.iter().filter(|subject| filter.matches(subject)).collect();
        let mut stream = from(&fixture.bus, text, StartAt::Oldest).await;
        assert_eq!(
            texts(&mut stream, wanted.len()).await,
            wanted.into_iter().copied().collect::<Vec<_>>(),
            "{text}"
        );
    }
    let mut all = from(&fixture.bus, ">", StartAt::Oldest).await;
    assert_eq!(until(&mut all, "end").await.len(), expected.len());
}

pub(super) async fn a_replay_larger_than_the_buffer_is_whole(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    publish_numbers(&fixture.bus, "a", 0..3_000).await;
    for buffer in [1, 100, 1_024] {
        let replay = Subscribe::to("a").from(StartAt::Oldest).buffer(buffer);
        let mut stream = fixture.second().subscribe(replay).await.unwrap();
        assert_eq!(texts(&mut stream, 3_000).await, numbers(0..3_000));
    }
}

pub(super) async fn a_replay_amid_publishing_misses_nothing_and_doubles_nothing(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..2 {
        let bus = Arc::clone(fixture.handles()[publisher]);
        publishers.spawn(async move {
            for number in 0..400 {
                bus.send(one_of_many("a", number.to_string())).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    let mut streams = Vec::new();
    for round in 0..20 {
        streams.push(from(fixture.handles()[round % 2], "a", StartAt::Oldest).await);
        tokio::task::yield_now().await;
    }
    publishers.join_all().await;
    fixture.bus.publish("a", "end").await.unwrap();
    for stream in &mut streams {
        let read = sequences(&until(stream, "end").await);
        assert_eq!(read.len(), 800);
        assert!(read.is_sorted_by(|one, next| one < next));
    }
}

pub(super) async fn a_start_at_a_sequence_delivers_from_it_or_the_next_one_there_is(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    let mut acks = Vec::new();
    for payload in ["0", "1", "2", "3"] {
        acks.push(fixture.bus.publish("a", payload).await.unwrap());
        fixture.second().publish("b", "between").await.unwrap();
    }
    for (at, ack) in acks.iter().enumerate() {
        let mut exactly = from(&fixture.bus, "a", StartAt::Sequence(ack.sequence)).await;
        assert_eq!(texts(&mut exactly, 4 - at).await, numbers(at as u64..4));
        let mut next = from(fixture.second(), "a", StartAt::Sequence(ack.sequence + 1)).await;
        assert_eq!(texts(&mut next, 3 - at).await, numbers(at as u64 + 1..4));
        // Where it ends, the new begins.
        fixture.bus.publish("b", "to nobody").await.unwrap();
    }
    for beginning in [0, 1] {
        let mut stream = from(&fixture.bus, "a", StartAt::Sequence(beginning)).await;
        assert_eq!(texts(&mut stream, 4).await, numbers(0..4));
    }
}

pub(super) async fn a_start_one_beyond_the_newest_delivers_what_is_new(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    let mut on_nothing = from(&fixture.bus, "a", StartAt::Sequence(1)).await;
    let newest = fixture.second().publish("a", "old").await.unwrap().sequence;
    let mut beyond = from(&fixture.bus, "a", StartAt::Sequence(newest + 1)).await;
    fixture.second().publish("a", "new").await.unwrap();
    assert_eq!(texts(&mut on_nothing, 2).await, ["old", "new"]);
    assert_eq!(text(&mut beyond).await, "new");
}

pub(super) async fn a_start_more_than_one_beyond_the_newest_is_cursor_ahead(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    let at = |sequence| Subscribe::to("a").from(StartAt::Sequence(sequence));
    assert_eq!(kind(fixture.bus.subscribe(at(2)).await), ErrorKind::CursorAhead { newest: 0 });
    // The newest of the log, whatever its subject.
    fixture.bus.publish("a", "").await.unwrap();
    let newest = fixture.second().publish("b", "").await.unwrap().sequence;
    for bus in fixture.handles() {
        for ahead in [newest + 2, newest + 1_000, i64::MAX as u64, u64::MAX] {
            assert_eq!(kind(bus.subscribe(at(ahead)).await), ErrorKind::CursorAhead { newest });
        }
    }
}

pub(super) async fn a_start_at_a_time_delivers_from_the_first_event_of_that_time_or_later(fixture: &Fixture) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    fixture.bus.publish("a", "first").await.unwrap();
    let first = fixture.bus.last(subject("a")).await.unwrap().unwrap();
    // Until the clock has gone on.
    let later = loop {
        fixture.bus.send(one_of_many("a", "later")).await.unwrap();
        let last = fixture.bus.last(subject("a")).await.unwrap().unwrap();
        if last.time() > first.time() {
            break last;
        }
    };
    fixture.bus.publish("a", "end").await.unwrap();
    let mut stream = from(&fixture.bus, "a", StartAt::Time(later.time())).await;
    assert_eq!(message(&mut stream).await.sequence(), later.sequence());
    assert_eq!(text(&mut stream).await, "end");
    for beginning in [first.time(), DateTime::UNIX_EPOCH, DateTime::<Utc>::MIN_UTC] {
        let mut stream = from(fixture.second(), "a", StartAt::Time(beginning)).await;
        assert_eq!(message(&mut stream).await.sequence(), first.sequence());
    }
    let mut beyond = from(&fixture.bus, "a", StartAt::Time(later.time() + TimeDelta::days(1))).await;
    fixture.bus.close().await.unwrap();
    assert_end(&mut beyond).await;
}

pub(super) async fn a_start_at_the_last_of_each_subject_delivers_those_in_order_and_then_what_is_new(
    fixture: &Fixture,
) {
    if !fixture.bus.capabilities().replay {
        return;
    }
    for (subject, payload) in [
        ("a.x", "old"),
        ("a.y", "y"),
        ("b", "other"),
        ("a.z", "old"),
        ("a.x", "x"),
        ("a.z", "z"),
        ("a", "other"),
    ] {
        fixture.bus.publish(subject, payload).await.unwrap();
    }
    let mut streams = [
        from(&fixture.bus, "a.*", StartAt::LastPerSubject).await,
        from(fixture.second(), "a.>", StartAt::LastPerSubject).await,
    ];
    publish_on(fixture.handles(), "a.z", "new, and each of them").await;
    for stream in &mut streams {
        assert_eq!(texts(stream, 3).await, ["y", "x", "z"]);
        assert_eq!(texts(stream, 2).await, ["new, and each of them"; 2]);
    }
    let mut one = from(&fixture.bus, "b", StartAt::LastPerSubject).await;
    fixture.bus.publish("b", "new").await.unwrap();
    assert_eq!(texts(&mut one, 2).await, ["other", "new"]);
}

pub(super) async fn where_there_is_no_replay_a_start_in_the_past_is_unsupported(fixture: &Fixture) {
    if fixture.bus.capabilities().replay {
        return;
    }
    fixture.bus.publish("a", "").await.unwrap();
    for start in
        [StartAt::Oldest, StartAt::Sequence(1), StartAt::Time(DateTime::UNIX_EPOCH), StartAt::LastPerSubject]
    {
        let past = Subscribe::to("a").from(start);
        assert_eq!(kind(fixture.bus.subscribe(past).await), ErrorKind::Unsupported, "{start:?}");
    }
    assert_eq!(kind(fixture.bus.last(subject("a")).await), ErrorKind::Unsupported);
}
