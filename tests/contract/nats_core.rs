//! What core NATS has not, one test a capability: what happens there in its place.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use rowbus::testing::NatsServer;
use rowbus::{Call, NatsBus, Publish, Request, Serve, StartAt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

async fn bus() -> Option<(NatsServer, NatsBus)> {
    let server = NatsServer::start()?;
    let bus = NatsBus::connect(&server.url()).await.unwrap();
    Some((server, bus))
}

fn kind<T: std::fmt::Debug>(result: rowbus::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn it_has_none_of_the_capabilities() {
    let Some((_server, bus)) = bus().await else { return };
    assert_eq!(bus.capabilities(), Capabilities::none());
}

#[tokio::test]
async fn it_is_not_durable_since_who_comes_late_gets_nothing() {
    let Some((_server, bus)) = bus().await else { return };
    bus.publish("a", "early").await.unwrap();
    let mut stream = bus.stream("a").await.unwrap();
    bus.publish("a", "late").await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("late"));
}

#[tokio::test]
async fn it_keeps_no_log_since_nothing_has_a_sequence() {
    let Some((_server, bus)) = bus().await else { return };
    let mut stream = bus.stream("a").await.unwrap();
    for _ in 0..2 {
        assert_eq!(bus.publish("a", "").await.unwrap().sequence, 0);
        assert_eq!(stream.next().await.unwrap().unwrap().sequence(), 0);
    }
}

#[tokio::test]
async fn it_has_no_replay_since_a_start_in_the_past_is_unsupported() {
    let Some((_server, bus)) = bus().await else { return };
    let starts = [
        StartAt::Oldest,
        StartAt::Sequence(1),
        StartAt::LastPerSubject,
        StartAt::Time(chrono::DateTime::from_timestamp_millis(0).unwrap()),
    ];
    for start in starts {
        assert_eq!(kind(bus.subscribe(Subscribe::to("a").from(start)).await), ErrorKind::Unsupported);
    }
    assert_eq!(kind(bus.last("a".try_into().unwrap()).await), ErrorKind::Unsupported);
}

#[tokio::test]
async fn it_is_not_lossless_since_a_full_buffer_overflows() {
    let Some((_server, bus)) = bus().await else { return };
    let mut stream = bus.subscribe(Subscribe::to("a").buffer(1)).await.unwrap();
    for number in 0..3 {
        bus.publish("a", number.to_string()).await.unwrap();
    }
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("0"));
    let overflow = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(overflow.kind(), ErrorKind::Overflow { dropped: 2, .. }), "{overflow:?}");
    bus.publish("a", "goes on").await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("goes on"));
}

/// Two publishers that know nothing of each other, and two readers: each reader has each publisher's own order, and no number
/// tells which of two events was first.
#[tokio::test]
async fn it_has_no_total_order_but_that_of_each_publisher() {
    let Some((server, one)) = bus().await else { return };
    let other = NatsBus::connect(&server.url()).await.unwrap();
    let mut streams = [one.stream("a.*").await.unwrap(), other.stream("a.*").await.unwrap()];
    let publish = |bus: NatsBus, subject: &'static str| async move {
        for number in 0..100 {
            bus.publish(subject, number.to_string()).await.unwrap();
        }
    };
    tokio::join!(publish(one.clone(), "a.one"), publish(other.clone(), "a.other"));
    for stream in &mut streams {
        let (mut ones, mut others) = (0, 0);
        for _ in 0..200 {
            let message = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
            let next = if message.subject() == "a.one" { &mut ones } else { &mut others };
            assert_eq!((message.text().unwrap().parse(), message.sequence()), (Ok(*next), 0));
            *next += 1;
        }
    }
}

#[tokio::test]
async fn it_has_no_atomic_batches_since_they_are_unsupported_and_publish_nothing() {
    let Some((_server, bus)) = bus().await else { return };
    let mut stream = bus.stream("a").await.unwrap();
    let batch = || vec![Publish::new("a", "1"), Publish::new("a", "2")];
    assert_eq!(kind(bus.publish_all(batch()).await), ErrorKind::Unsupported);
    bus.publish("a", "alone").await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("alone"));
}

#[tokio::test]
async fn it_keeps_no_duplicates_out_and_says_of_none_that_it_is_one() {
    let Some((_server, bus)) = bus().await else { return };
    let mut stream = bus.stream("a").await.unwrap();
    for number in 0..2 {
        let ack = bus.send(Publish::new("a", number.to_string()).message_id("once")).await.unwrap();
        assert!(!ack.duplicate);
        let message = stream.next().await.unwrap().unwrap();
        assert_eq!((message.text(), message.message_id()), (Some(&*number.to_string()), Some("once")));
    }
}

#[tokio::test]
async fn it_checks_no_expectation_since_it_is_unsupported_and_publishes_nothing() {
    let Some((_server, bus)) = bus().await else { return };
    let mut stream = bus.stream("a").await.unwrap();
    assert_eq!(kind(bus.send(Publish::new("a", "1").expect_last(0)).await), ErrorKind::Unsupported);
    bus.publish("a", "2").await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("2"));
}

#[tokio::test]
async fn it_does_not_wait_for_servers_since_a_request_to_nobody_ends_at_once() {
    let Some((_server, bus)) = bus().await else { return };
    let request = Request::to("a", "").timeout(Duration::from_secs(3_600));
    assert_eq!(kind(timeout(PATIENCE, bus.call(request)).await.unwrap()), ErrorKind::NoResponders);
}

/// One server is free, and what was dealt out to the other one waits there.
#[tokio::test]
async fn it_has_no_shared_queue_since_a_request_waits_at_the_server_that_it_was_dealt_to() {
    const REQUESTS: usize = 40;
    let Some((server, free)) = bus().await else { return };
    let busy = NatsBus::connect(&server.url()).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let (waits, held) = (Arc::clone(&gate), gate);
    let slow = busy.serve("a", move |_: Call| {
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await.unwrap().forget();
            Ok("busy")
        }
    });
    let slow = slow.await.unwrap();
    let quick = free.serve("a", |_: Call| async { Ok("free") }).await.unwrap();
    let mut asked: futures_util::stream::FuturesUnordered<_> =
        (0..REQUESTS).map(|_| free.call(Request::to("a", "").timeout(PATIENCE))).collect();
    let mut free_ones = 0;
    // The free one is idle again when it has answered one that was asked after all of them.
    let mut answered_late = false;
    while !answered_late {
        tokio::select! {
            biased;
            Some(reply) = asked.next(), if !asked.is_empty() => {
                assert_eq!(reply.unwrap().text(), Some("free"));
                free_ones += 1;
            }
            reply = timeout(Duration::from_millis(200), free.request("a", "")) => {
                if let Ok(reply) = reply {
                    assert_eq!(reply.unwrap().text(), Some("free"));
                    answered_late = true;
                }
            }
        }
    }
    held.add_permits(1_000);
    let mut busy_ones = 0;
    for reply in asked.collect::<Vec<_>>().await {
        match reply.unwrap().text() {
            Some("busy") => busy_ones += 1,
            _ => free_ones += 1,
        }
    }
    assert!(
        busy_ones > 0 && free_ones > 0,
        "{busy_ones} waited at the busy server, {free_ones} at the free one"
    );
    slow.stop().await.unwrap();
    quick.stop().await.unwrap();
}

/// A server that has died does not answer. To NATS it may be there for a while yet; here it is a client that takes its share and does
/// nothing.
#[tokio::test]
async fn it_takes_nothing_over_since_what_a_dead_server_holds_ends_with_its_deadline() {
    let Some((server, bus)) = bus().await else { return };
    let dead = async_nats::connect(server.url()).await.unwrap();
    let mut taken = dead.queue_subscribe("a", "q".into()).await.unwrap();
    // Its `flush` does not wait for the server.
    dead.request("nobody.is.there", "".into()).await.unwrap_err();
    let service = bus.serve_with(
        Serve::on("a"),
        Arc::new(rowbus::handler_fn(|_: Call| async { Ok::<_, rowbus::HandlerError>("alive") })),
    );
    let service = service.await.unwrap();
    let ask = || bus.call(Request::to("a", "").timeout(Duration::from_secs(2)));
    let replies = join_all((0..40).map(|_| ask())).await;
    let mut lost = 0;
    for reply in replies {
        match reply {
            Ok(reply) => assert_eq!(reply.text(), Some("alive")),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::RequestTimeout);
                lost += 1;
            }
        }
    }
    assert!((1..40).contains(&lost), "{lost} of 40 were dealt to the dead server");
    for _ in 0..lost {
        timeout(PATIENCE, taken.next()).await.unwrap().unwrap();
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn it_keeps_neither_jobs_nor_consumers_since_nothing_durable_is_to_be_had() {
    let Some((_server, bus)) = bus().await else { return };
    let error = bus.as_durable().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("core NATS keeps neither"), "{error}");
}
