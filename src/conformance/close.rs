//! Line 13: the end of a bus.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::support::{
    assert_end, durable, from, item, kind, one_of_many, poll_once, publish_numbers, sequences, serve_echo,
    subject, until, within,
};
use crate::call::Call;
use crate::dead_letter::Dead;
use crate::durable::DurableExt;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::filter::Filter;
use crate::job::Job;
use crate::publish::Publish;
use crate::request::Request;
use crate::subscribe::{StartAt, Subscribe, Subscription};

/// Reads what is still handed over, until the end.
async fn assert_ends(stream: &mut Subscription) {
    while let Some(item) = item(stream).await {
        if let Err(error) = item {
            assert!(matches!(error.kind(), ErrorKind::Overflow { .. }), "{error:?} before the end");
        }
    }
}

pub(super) async fn close_ends_every_subscription(fixture: &Fixture) {
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = fixture.bus.stream("silence").await.unwrap();
        let mut next = Box::pin(async move { assert_end(&mut stream).await });
        assert!(poll_once(next.as_mut()).await.is_pending());
        waiting.push(tokio::spawn(next));
    }
    fixture.bus.close().await.unwrap();
    for stream in waiting {
        stream.await.unwrap();
    }
}

pub(super) async fn close_can_be_called_twice(fixture: &Fixture) {
    fixture.bus.publish("a", "").await.unwrap();
    fixture.bus.close().await.unwrap();
    fixture.bus.close().await.unwrap();
}

pub(super) async fn close_can_be_called_by_several_at_once(fixture: &Fixture) {
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let bus = Arc::clone(&fixture.bus);
        callers.spawn(async move { bus.close().await });
    }
    assert!(callers.join_all().await.iter().all(Result::is_ok));
    assert_eq!(kind(fixture.bus.publish("a", "").await), ErrorKind::Closed);
}

pub(super) async fn close_returns_while_callers_still_hold_subscriptions(fixture: &Fixture) {
    let mut held = vec![
        fixture.bus.stream("a").await.unwrap(),
        fixture.bus.subscribe(Subscribe::to("a").buffer(2)).await.unwrap(),
        fixture.bus.stream("silence").await.unwrap(),
    ];
    publish_numbers(&fixture.bus, "a", 0..100).await;
    if fixture.bus.capabilities().replay {
        held.push(from(&fixture.bus, "a", StartAt::Oldest).await);
    }
    fixture.bus.close().await.unwrap();
    for stream in &mut held {
        assert_ends(stream).await;
    }
}

pub(super) async fn after_close_every_verb_is_closed(fixture: &Fixture) {
    let capabilities = fixture.bus.capabilities();
    let mut held = fixture.bus.stream("a").await.unwrap();
    let service = serve_echo(&fixture.bus, "a").await;
    fixture.bus.publish("a", "").await.unwrap();
    fixture.bus.close().await.unwrap();
    assert_eq!(kind(fixture.bus.publish("a", "").await), ErrorKind::Closed);
    for request in [Request::to("a", ""), Request::to("a", "").if_served()] {
        assert_eq!(kind(within(fixture.bus.call(request.clone())).await), ErrorKind::Closed);
        assert_eq!(kind(within(fixture.bus.call_stream(request)).await), ErrorKind::Closed);
    }
    let handle = |_: Call| async { Ok(()) };
    assert_eq!(kind(fixture.bus.serve("a", handle).await), ErrorKind::Closed);
    within(service.stop()).await.expect("a service that has ended can be stopped");
    assert_eq!(kind(fixture.bus.send(Publish::new("a", "").message_id("1")).await), ErrorKind::Closed);
    assert_eq!(kind(fixture.bus.stream("a").await), ErrorKind::Closed);
    if capabilities.atomic_batches {
        let batch = vec![Publish::new("a", ""), Publish::new("a", "")];
        assert_eq!(kind(fixture.bus.send_all(batch).await), ErrorKind::Closed);
    }
    if capabilities.replay {
        assert_eq!(kind(fixture.bus.last(subject("a")).await), ErrorKind::Closed);
        for start in [StartAt::Oldest, StartAt::Sequence(1), StartAt::LastPerSubject] {
            assert_eq!(kind(fixture.bus.subscribe(Subscribe::to("a").from(start)).await), ErrorKind::Closed);
        }
    }
    assert_eq!(kind(held.unsubscribe().await), ErrorKind::Closed);
    assert_eq!(fixture.bus.capabilities(), capabilities);
}

pub(super) async fn after_close_every_verb_of_jobs_is_closed(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let job = jobs.enqueue(Job::new("a", "")).await.unwrap();
    let id = || job.id().clone();
    fixture.bus.close().await.unwrap();
    assert_eq!(kind(jobs.enqueue(Job::new("a", "")).await), ErrorKind::Closed);
    assert_eq!(kind(jobs.job(id()).await), ErrorKind::Closed);
    assert_eq!(kind(jobs.replies(id()).await), ErrorKind::Closed);
    assert_eq!(kind(jobs.cancel(id()).await), ErrorKind::Closed);
    assert_eq!(kind(jobs.pause(subject("a")).await), ErrorKind::Closed);
    assert_eq!(kind(jobs.resume(subject("a")).await), ErrorKind::Closed);
    let all = || Dead::Of(Filter::everything());
    assert_eq!(kind(jobs.dead_letters(all(), 0, 1).await), ErrorKind::Closed);
    assert_eq!(kind(jobs.requeue(all()).await), ErrorKind::Closed);
    assert_eq!(kind(jobs.purge(all()).await), ErrorKind::Closed);
    assert_eq!(kind(job.reply().await), ErrorKind::Closed);
}

pub(super) async fn close_waits_until_what_was_being_written_is_written(fixture: &Fixture) {
    let mut publishers = Vec::new();
    for number in 0..50 {
        let bus = Arc::clone(&fixture.bus);
        publishers.push(tokio::spawn(async move { bus.send(one_of_many("a", number.to_string())).await }));
    }
    tokio::task::yield_now().await;
    fixture.bus.close().await.unwrap();
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        match publisher.await.unwrap() {
            Ok(ack) => acknowledged.push(ack.sequence),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
        }
    }
    // Where the second handle is a bus of its own, it sees what the closed one acknowledged.
    if fixture.second().capabilities().replay && fixture.second().last(subject("a")).await.is_ok() {
        acknowledged.sort_unstable();
        fixture.second().publish("a", "end").await.unwrap();
        let mut log = from(fixture.second(), "a", StartAt::Oldest).await;
        let written = until(&mut log, "end").await;
        assert_eq!(sequences(&written), acknowledged, "nothing else was written");
    }
}
