//! Events that a consumer gives up on, and that are asked for again.

use std::sync::Arc;
use std::time::Duration;

use super::consuming::{
    acked_texts, assert_lost, consumers, cumulative, delivery, explicit, info, open, short,
};
use super::dead::{letters, of};
use super::fixture::Fixture;
use super::support::{kind, numbers, publish_numbers};
use crate::call::Call;
use crate::consumer::{Consumer, OnFailure};
use crate::dead_letter::{Dead, DeadSource};
use crate::durable::{Durable, DurableExt};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::handler::HandlerError;
use crate::job::Job;
use crate::publish::Publish;

pub(super) async fn a_terminated_event_is_a_dead_letter_with_its_reason(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let publish = Publish::new("a", "body").header("Trace", "7f2c");
    let ack = fixture.bus.send(publish).await.unwrap();
    let mut inbox = open(&bus, explicit()).await;
    let first = delivery(&mut inbox).await;
    first.fail(HandlerError::new("not\nyet").retry_at(chrono::Utc::now())).await.unwrap();
    let second = delivery(&mut inbox).await;
    second.term("cannot be read").await.unwrap();
    assert_lost(&second).await;
    let letters = letters(&elsewhere, ">").await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.source, DeadSource::event("c", ack.sequence));
    assert_eq!((letter.subject.as_str(), letter.reason.as_str()), ("a", "cannot be read"));
    assert_eq!((letter.payload.as_ref(), letter.headers.get("Trace")), (b"body".as_slice(), Some("7f2c")));
    assert_eq!((letter.attempts, letter.created_at, letter.job()), (2, second.time(), None));
    assert!(letter.died_at >= letter.created_at);
    if fixture.bus.capabilities().failure_history {
        let failures: Vec<_> =
            letter.failures.iter().map(|one| (one.attempt, one.message.as_str())).collect();
        assert_eq!(failures, [(1, "not yet")], "the reason says it all");
        assert!(letter.died_at >= letter.failures[0].at && letter.failures[0].at >= letter.created_at);
    }
    assert_eq!(info(&bus).await.ack_floor, ack.sequence);
}

pub(super) async fn a_fatal_failure_is_a_dead_letter_at_once(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, explicit()).await;
    delivery(&mut inbox).await.fail(HandlerError::new("never").fatal()).await.unwrap();
    let letters = letters(&elsewhere, "a").await;
    assert_eq!((letters.len(), letters[0].reason.as_str(), letters[0].attempts), (1, "failed", 1));
    assert_eq!(letters[0].failures[0].message, "never");
    assert_eq!(acked_texts(&mut inbox, 1).await, ["1"]);
}

pub(super) async fn an_event_that_was_delivered_max_deliver_times_is_a_dead_letter(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let mut inbox = open(&bus, explicit().max_deliver(3).backoff(short())).await;
    for attempt in 1..=3 {
        assert!(letters(&elsewhere, "a").await.is_empty());
        let delivery = delivery(&mut inbox).await;
        assert_eq!(delivery.attempt(), attempt);
        if attempt == 2 {
            delivery.nack(None).await.unwrap();
        } else {
            delivery.fail(HandlerError::new(format!("failure {attempt}"))).await.unwrap();
        }
    }
    let letters = letters(&elsewhere, "a").await;
    assert_eq!((letters.len(), letters[0].reason.as_str(), letters[0].attempts), (1, "exhausted", 3));
    let failures: Vec<_> = letters[0].failures.iter().map(|one| (one.attempt, &*one.message)).collect();
    let all = [(1, "failure 1"), (2, "nacked"), (3, "failure 3")];
    assert_eq!(failures, if fixture.bus.capabilities().failure_history { &all[..] } else { &all[2..] });
    publish_numbers(&fixture.bus, "a", 1..2).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["1"]);
}

pub(super) async fn an_event_that_nobody_ever_acknowledges_is_a_dead_letter(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    publish_numbers(&fixture.bus, "a", 0..1).await;
    let wait = Duration::from_millis(100);
    let mut inbox = open(&bus, explicit().max_deliver(2).ack_wait(wait)).await;
    for attempt in 1..=2 {
        assert_eq!(delivery(&mut inbox).await.attempt(), attempt);
    }
    let letters = super::support::within(async {
        loop {
            let letters = letters(&elsewhere, "a").await;
            if !letters.is_empty() {
                break letters;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!((letters[0].reason.as_str(), letters[0].attempts), ("exhausted", 2));
    if !fixture.bus.capabilities().dead_letters_in_one_step {
        super::support::within(async { while info(&bus).await.num_ack_pending > 0 {} }).await;
    }
    assert_eq!(info(&bus).await.num_ack_pending, 0);
}

pub(super) async fn a_poison_message_holds_up_nobody(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let acks = publish_numbers(&fixture.bus, "a", 0..50).await;
    let mut inbox = open(&bus, explicit().max_deliver(2).backoff(short())).await;
    let mut got = Vec::new();
    while got.len() < 49 || letters(&elsewhere, "a").await.is_empty() {
        let delivery = delivery(&mut inbox).await;
        if delivery.text() == Some("7") {
            delivery.fail(HandlerError::new("poison")).await.unwrap();
        } else {
            delivery.ack().await.unwrap();
            got.push(delivery.text().unwrap().to_owned());
        }
    }
    let expected: Vec<_> = numbers(0..50).into_iter().filter(|number| number != "7").collect();
    assert_eq!(got, expected);
    let info = info(&elsewhere).await;
    assert_eq!((info.ack_floor, info.num_ack_pending), (acks[49].sequence, 0));
}

/// A consumer of `a` that has given up on these events, and its inbox.
async fn given_up(fixture: &Fixture, bus: &Arc<dyn Durable>, count: u64) -> crate::Inbox {
    publish_numbers(&fixture.bus, "a", 0..count).await;
    let mut inbox = open(bus, explicit()).await;
    for _ in 0..count {
        delivery(&mut inbox).await.term("no").await.unwrap();
    }
    inbox
}

pub(super) async fn a_requeued_event_is_delivered_anew_to_the_consumer_that_gave_it_up(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    if !fixture.bus.capabilities().requeue {
        return;
    }
    let mut inbox = given_up(fixture, &bus, 3).await;
    let mut other = open(&bus, Consumer::durable("other").filter("a")).await;
    assert_eq!(acked_texts(&mut other, 3).await, numbers(0..3));
    let dead = letters(&bus, "a").await;
    assert_eq!(elsewhere.requeue(Dead::Letter(dead[1].id)).await.unwrap(), 1);
    assert_eq!(kind(bus.requeue(Dead::Letter(dead[1].id)).await), ErrorKind::NotFound);
    let again = delivery(&mut inbox).await;
    assert_eq!((again.text(), again.attempt()), (Some("1"), 1));
    again.ack().await.unwrap();
    assert_eq!(bus.requeue(of("a")).await.unwrap(), 2);
    let mut texts = acked_texts(&mut inbox, 2).await;
    texts.sort_unstable();
    assert_eq!(texts, ["0", "2"]);
    assert!(letters(&elsewhere, ">").await.is_empty());
    // What is new comes as ever, and to the other nothing came twice.
    publish_numbers(&fixture.bus, "a", 3..4).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["3"]);
    assert_eq!(acked_texts(&mut other, 1).await, ["3"]);
}

pub(super) async fn a_letter_whose_consumer_is_no_more_stays(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    if !fixture.bus.capabilities().requeue {
        return;
    }
    given_up(fixture, &bus, 1).await.leave().await.unwrap();
    elsewhere.delete_consumer("c").await.unwrap();
    let letter = letters(&bus, "a").await[0].id;
    assert_eq!(kind(bus.requeue(Dead::Letter(letter)).await), ErrorKind::NotFound);
    assert_eq!(bus.requeue(of(">")).await.unwrap(), 0);
    assert_eq!(letters(&elsewhere, "a").await[0].id, letter);
}

pub(super) async fn a_letter_whose_event_is_no_more_stays(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    if !fixture.bus.capabilities().requeue {
        return;
    }
    let Some(forget_through) = &fixture.forget_through else { return };
    let mut inbox = given_up(fixture, &bus, 1).await;
    let letter = letters(&bus, "a").await[0].clone();
    forget_through(info(&bus).await.ack_floor).await;
    assert_eq!(kind(bus.requeue(Dead::Letter(letter.id)).await), ErrorKind::NotFound);
    assert_eq!(bus.requeue(of(">")).await.unwrap(), 0);
    assert_eq!(letters(&elsewhere, "a").await[0].payload, letter.payload);
    publish_numbers(&fixture.bus, "a", 1..2).await;
    assert_eq!(acked_texts(&mut inbox, 1).await, ["1"]);
}

pub(super) async fn a_letter_of_a_cumulative_consumer_cannot_be_requeued(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    if !fixture.bus.capabilities().requeue {
        return;
    }
    publish_numbers(&fixture.bus, "a", 0..2).await;
    let mut inbox = open(&bus, cumulative().on_failure(OnFailure::DeadLetter)).await;
    delivery(&mut inbox).await.term("no").await.unwrap();
    assert_eq!(acked_texts(&mut inbox, 1).await, ["1"]);
    let letter = letters(&elsewhere, "a").await[0].id;
    assert_eq!(kind(elsewhere.requeue(Dead::Letter(letter)).await), ErrorKind::Unsupported);
    assert_eq!(elsewhere.requeue(of(">")).await.unwrap(), 0);
    assert_eq!(elsewhere.purge(Dead::Letter(letter)).await.unwrap(), 1);
}

pub(super) async fn letters_of_events_and_of_jobs_share_one_list(fixture: &Fixture) {
    let Some([bus, elsewhere]) = consumers(fixture) else { return };
    let fails = |_: Call| async { Err::<(), _>(HandlerError::new("no").fatal()) };
    let service = fixture.bus.serve("a.job", fails).await.unwrap();
    let consumer = Consumer::durable("c").filter("a.event");
    let mut inbox = open(&bus, consumer).await;
    for round in 0..2 {
        publish_numbers(&fixture.bus, "a.event", round..round + 1).await;
        delivery(&mut inbox).await.term("no").await.unwrap();
        let job = bus.enqueue(Job::new("a.job", "")).await.unwrap();
        assert_eq!(kind(super::support::within(job.reply()).await), ErrorKind::Handler);
    }
    service.stop().await.unwrap();
    let all = letters(&elsewhere, "a.*").await;
    let jobs: Vec<_> = all.iter().map(|letter| letter.job().is_some()).collect();
    assert_eq!(jobs, [false, true, false, true]);
    assert!(all.is_sorted_by_key(|letter| letter.id) && all[0].id >= 1);
    let page = bus.dead_letters(of("a.event"), all[0].id, 5).await.unwrap();
    assert_eq!(page.iter().map(|letter| letter.id).collect::<Vec<_>>(), [all[2].id]);
    assert_eq!(bus.purge(Dead::Letter(all[0].id)).await.unwrap(), 1);
    assert_eq!(kind(bus.purge(Dead::Letter(all[0].id)).await), ErrorKind::NotFound);
    if !fixture.bus.capabilities().requeue {
        assert_eq!(elsewhere.purge(of("a.*")).await.unwrap(), 3);
        return;
    }
    // The rest of both kinds in one step.
    assert_eq!(elsewhere.requeue(of("a.*")).await.unwrap(), 3);
    assert_eq!(acked_texts(&mut inbox, 1).await, ["1"]);
    assert!(letters(&bus, ">").await.is_empty());
}
