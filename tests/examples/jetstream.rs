//! The README's table of how consumers differ from JetStream's: our column, line by line, on both backends.

use std::time::{Duration, Instant};

use rowbus::{
    AckPolicy, Backoff, Consumer, Dead, DeadLetter, Delivery, Durable, ErrorKind, Filter, HandlerError,
    InMemBus, Inbox, MessengerExt, Publish, SqliteBus,
};

use crate::PATIENCE;

const README: &str = include_str!("../../README.md");

/// What the lines of the table are about.
fn lines() -> Vec<&'static str> {
    let (_, table) = README.split_once("| | JetStream | rowbus |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect()
}

#[tokio::test]
async fn consumers_in_memory_differ_from_those_of_jetstream_as_the_readme_says() {
    for line in lines() {
        check(line, &InMemBus::new()).await;
    }
}

#[tokio::test]
async fn consumers_on_a_file_differ_from_those_of_jetstream_as_the_readme_says() {
    let lines = lines();
    assert!(lines.len() > 10, "the table is found");
    for line in lines {
        let folder = tempfile::tempdir().unwrap();
        check(line, &SqliteBus::open(folder.path().join("app.db")).await.unwrap()).await;
    }
}

async fn check(line: &str, bus: &dyn Durable) {
    match line {
        "ack policies" => ack_policies(),
        "several clients of one that acks all" => one_is_active(bus).await,
        "nack without a delay" => nacks(bus).await,
        "backoff" => backoff(bus).await,
        "max_deliver" => max_deliver(bus).await,
        "term" => term(bus).await,
        "max_ack_pending" => max_ack_pending(bus).await,
        "ack_wait" => ack_wait(bus).await,
        "ack" => ack(bus).await,
        "ack of an earlier delivery" => earlier(bus).await,
        "opening again" => opening_again(bus).await,
        "filters that overlap in part" => filters(),
        "pause" => pause(bus).await,
        "num_pending" => num_pending(bus).await,
        other => panic!("the README has a difference {other:?} that nothing here checks"),
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn new() -> Consumer {
    Consumer::durable("it").filter("a")
}

fn cumulative() -> Consumer {
    new().ack_policy(AckPolicy::Cumulative)
}

fn often() -> Backoff {
    Backoff::fixed(Duration::from_millis(1))
}

async fn open(bus: &dyn Durable, consumer: Consumer, events: usize) -> Inbox {
    bus.publish_all((0..events).map(|at| Publish::new("a", at.to_string()))).await.unwrap();
    bus.consumer(consumer).await.unwrap()
}

async fn next(inbox: &mut Inbox) -> rowbus::Result<Delivery> {
    tokio::time::timeout(PATIENCE, inbox.next()).await.expect("an item in time").expect("the inbox goes on")
}

/// The next delivery: its event's text, and which one of it this is.
async fn told(inbox: &mut Inbox) -> (Delivery, String, u32) {
    let delivery = next(inbox).await.unwrap();
    let text = delivery.text().unwrap().to_owned();
    let attempt = delivery.attempt();
    (delivery, text, attempt)
}

/// Nothing comes for a while; that it comes later is for those to show who wait for it.
async fn nothing_comes(inbox: &mut Inbox) {
    assert!(tokio::time::timeout(Duration::from_millis(60), inbox.next()).await.is_err());
}

async fn letters(bus: &dyn Durable) -> Vec<DeadLetter> {
    bus.dead_letters(Dead::Of(Filter::everything()), 0, 10).await.unwrap()
}

fn ack_policies() {
    for policy in [AckPolicy::Explicit, AckPolicy::Cumulative] {
        assert!(new().ack_policy(policy).into_parts().is_ok());
    }
    assert_eq!(AckPolicy::default(), AckPolicy::Explicit);
}

async fn one_is_active(bus: &dyn Durable) {
    let mut active = open(bus, cumulative(), 3).await;
    let (first, ..) = told(&mut active).await;
    let mut stands_by = bus.consumer(cumulative()).await.unwrap();
    nothing_comes(&mut stands_by).await;
    first.ack().await.unwrap();
    active.leave().await.unwrap();
    assert_eq!(told(&mut stands_by).await.1, "1");
}

async fn nacks(bus: &dyn Durable) {
    let mut inbox = open(bus, new().backoff(Backoff::fixed(HOUR)), 2).await;
    let (waits, ..) = told(&mut inbox).await;
    waits.nack(None).await.unwrap();
    let (soon, ..) = told(&mut inbox).await;
    let nacked = Instant::now();
    soon.nack(Duration::ZERO).await.unwrap();
    let (again, text, attempt) = told(&mut inbox).await;
    assert_eq!((text.as_str(), attempt), ("1", 2));
    assert!(nacked.elapsed() >= Duration::from_millis(9), "{:?}", nacked.elapsed());
    again.ack().await.unwrap();
    let info = bus.consumer_info("it").await.unwrap();
    assert_eq!((info.num_backing_off, info.num_ack_pending), (1, 0));
}

async fn backoff(bus: &dyn Durable) {
    let consumer = new().backoff(Backoff::fixed(HOUR)).ack_wait(Duration::from_millis(400));
    let mut inbox = open(bus, consumer, 2).await;
    let (fails, ..) = told(&mut inbox).await;
    fails.fail(HandlerError::new("no")).await.unwrap();
    let (_, first, _) = told(&mut inbox).await;
    // That one is not answered: it comes again without a backoff.
    let (answered, again, attempt) = told(&mut inbox).await;
    assert_eq!((first.as_str(), again.as_str(), attempt), ("1", "1", 2));
    answered.ack().await.unwrap();
    assert_eq!(bus.consumer_info("it").await.unwrap().num_backing_off, 1);
}

async fn max_deliver(bus: &dyn Durable) {
    assert_eq!(new().into_parts().unwrap().resolve(None).unwrap().max_deliver, 20);
    let mut inbox = open(bus, new().backoff(often()).max_deliver(2), 1).await;
    for attempt in 1..=2 {
        let (delivery, _, told) = told(&mut inbox).await;
        assert_eq!(told, attempt);
        delivery.fail(HandlerError::new("no")).await.unwrap();
    }
    let letter = letters(bus).await.remove(0);
    assert_eq!((letter.attempts, letter.reason.as_str(), &letter.payload[..]), (2, "exhausted", &b"0"[..]));
    let other = Consumer::durable("other").filter("a").ack_policy(AckPolicy::Cumulative);
    let mut inbox = bus.consumer(other.backoff(often()).max_deliver(2)).await.unwrap();
    for _ in 0..2 {
        told(&mut inbox).await.0.fail(HandlerError::new("no")).await.unwrap();
    }
    let stopped = next(&mut inbox).await.unwrap_err();
    assert!(matches!(stopped.kind(), ErrorKind::ConsumerStopped { sequence: 1, .. }), "{stopped:?}");
}

async fn term(bus: &dyn Durable) {
    let mut inbox = open(bus, new(), 2).await;
    told(&mut inbox).await.0.term("it is no pizza").await.unwrap();
    assert_eq!(told(&mut inbox).await.1, "1");
    let letter = letters(bus).await.remove(0);
    assert_eq!((letter.attempts, letter.reason.as_str()), (1, "it is no pizza"));
    let other = Consumer::durable("other").filter("a").ack_policy(AckPolicy::Cumulative);
    let mut inbox = bus.consumer(other).await.unwrap();
    told(&mut inbox).await.0.term("it is no pizza").await.unwrap();
    let stopped = next(&mut inbox).await.unwrap_err();
    assert!(matches!(stopped.kind(), ErrorKind::ConsumerStopped { sequence: 1, .. }), "{stopped:?}");
}

async fn max_ack_pending(bus: &dyn Durable) {
    let mut inbox = open(bus, new().max_ack_pending(2), 5).await;
    for _ in 0..2 {
        told(&mut inbox).await.0.nack(HOUR).await.unwrap();
    }
    let (held, text, _) = told(&mut inbox).await;
    assert_eq!(text, "2");
    let (_other, text, _) = told(&mut inbox).await;
    assert_eq!(text, "3");
    nothing_comes(&mut inbox).await;
    held.ack().await.unwrap();
    assert_eq!(told(&mut inbox).await.1, "4");
}

async fn ack_wait(bus: &dyn Durable) {
    let mut inbox = open(bus, new().ack_wait(Duration::from_millis(600)), 2).await;
    let (first, ..) = told(&mut inbox).await;
    // The second one may be here by now, and is not asked for until its time would be over.
    tokio::time::sleep(Duration::from_millis(400)).await;
    first.ack().await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (second, text, attempt) = told(&mut inbox).await;
    assert_eq!((text.as_str(), attempt), ("1", 1));
    second.ack().await.unwrap();
}

async fn ack(bus: &dyn Durable) {
    let mut inbox = open(bus, new(), 1).await;
    told(&mut inbox).await.0.ack().await.unwrap();
    let info = bus.consumer_info("it").await.unwrap();
    assert_eq!((info.ack_floor, info.num_ack_pending), (1, 0));
}

async fn earlier(bus: &dyn Durable) {
    let mut inbox = open(bus, new().ack_wait(Duration::from_millis(400)), 1).await;
    let (late, ..) = told(&mut inbox).await;
    let (current, _, attempt) = told(&mut inbox).await;
    assert_eq!(attempt, 2);
    assert_eq!(late.ack().await.unwrap_err().kind(), ErrorKind::LeaseLost);
    current.extend(HOUR).await.unwrap();
    current.ack().await.unwrap();
}

async fn opening_again(bus: &dyn Durable) {
    open(bus, new().max_deliver(3), 0).await.leave().await.unwrap();
    bus.consumer(Consumer::durable("it").ack_wait(HOUR)).await.unwrap().leave().await.unwrap();
    let settings = bus.consumer_info("it").await.unwrap().settings;
    assert_eq!((settings.max_deliver, settings.ack_wait), (3, HOUR));
    assert_eq!(settings.filters, [Filter::new("a").unwrap()]);
}

fn filters() {
    let error = Consumer::durable("it").filter("*.paid").filter("orders.*").into_parts().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

async fn pause(bus: &dyn Durable) {
    let mut inbox = open(bus, new(), 0).await;
    bus.pause_consumer("it").await.unwrap();
    bus.publish("a", "0").await.unwrap();
    nothing_comes(&mut inbox).await;
    assert!(bus.consumer_info("it").await.unwrap().paused);
    bus.resume_consumer("it").await.unwrap();
    assert_eq!(told(&mut inbox).await.1, "0");
}

async fn num_pending(bus: &dyn Durable) {
    open(bus, new(), 0).await.leave().await.unwrap();
    for (published, told) in [(10_000, (10_000, true)), (1, (10_000, false))] {
        bus.publish_all((0..published).map(|_| Publish::new("a", ""))).await.unwrap();
        let info = bus.consumer_info("it").await.unwrap();
        assert_eq!((info.num_pending, info.num_pending_is_exact), told);
    }
}
