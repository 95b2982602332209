//! Cumulative consumers on JetStream: what the server's part in them is.

use rowbus::{AckPolicy, Inbox};

use super::*;

/// Has the server keep what is published in the bus's state, and say nothing; or say it again.
async fn silence(server: &NatsServer, name: &str, silent: bool) {
    change_state(server, name, |state| state.no_ack = silent).await;
}

async fn impatient(server: &NatsServer, name: &str) -> Arc<dyn Durable> {
    let events = EventStream::named(name).under("events");
    let bus = NatsBus::builder(&server.url()).prefix(name).stream(events).wait(Duration::from_millis(500));
    bus.connect().await.unwrap().as_durable().unwrap()
}

fn in_order(name: &str) -> Consumer {
    Consumer::durable(name).filter("a.>").ack_policy(AckPolicy::Cumulative)
}

async fn next(inbox: &mut Inbox) -> rowbus::Delivery {
    tokio::time::timeout(Duration::from_secs(60), inbox.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_place_whose_member_is_gone_without_a_word_is_taken_over() {
    let Some(server) = server() else { return };
    let name = name();
    let (dies, lives) = (connect(server, &name).await, connect(server, &name).await);
    for text in ["0", "1", "2"] {
        lives.publish("a.x", text).await.unwrap();
    }
    let mut active = dies.consumer(in_order("c")).await.unwrap();
    let first = next(&mut active).await;
    let _second = next(&mut active).await;
    first.ack().await.unwrap();
    let mut standby = lives.consumer(in_order("c")).await.unwrap();
    let takes_over = tokio::spawn(async move {
        let delivery = next(&mut standby).await;
        (delivery.text().unwrap().to_owned(), delivery.attempt(), standby)
    });
    // Nobody polls the inbox any more, so it says nothing; its connection ends.
    std::mem::forget(active);
    dies.close().await.unwrap();
    let (text, attempt, _standby) = takes_over.await.unwrap();
    assert_eq!((text.as_str(), attempt), ("1", 1));
    lives.close().await.unwrap();
}

#[tokio::test]
async fn a_nack_that_was_kept_unheard_brings_the_event_again_in_front_of_the_next() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = impatient(server, &name).await;
    for text in ["0", "1"] {
        bus.publish("a.x", text).await.unwrap();
    }
    let consumer = in_order("c").max_deliver(2).on_failure(rowbus::OnFailure::DeadLetter);
    let mut inbox = bus.consumer(consumer).await.unwrap();
    let first = next(&mut inbox).await;
    silence(server, &name, true).await;
    assert_eq!(first.nack(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Indeterminate);
    silence(server, &name, false).await;
    let again = next(&mut inbox).await;
    assert_eq!((again.text(), again.attempt()), (Some("0"), 2));
    again.nack(Duration::ZERO).await.unwrap();
    let letters = bus.dead_letters(Dead::Of(Filter::everything()), 0, 9).await.unwrap();
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    assert_eq!(next(&mut inbox).await.text(), Some("1"));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_stop_that_was_kept_unheard_is_told_to_its_member() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = impatient(server, &name).await;
    bus.publish("a.x", "").await.unwrap();
    let stops = in_order("c").on_failure(rowbus::OnFailure::Stop);
    let mut inbox = bus.consumer(stops).await.unwrap();
    let delivery = next(&mut inbox).await;
    silence(server, &name, true).await;
    assert_eq!(delivery.term("no").await.unwrap_err().kind(), ErrorKind::Indeterminate);
    let told = tokio::time::timeout(Duration::from_secs(60), inbox.next()).await.unwrap().unwrap();
    assert!(matches!(told.map(drop).unwrap_err().kind(), ErrorKind::ConsumerStopped { .. }));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn an_event_that_fails_with_long_errors_is_kept_with_the_beginnings_of_them() {
    let Some(bus) = bus().await else { return };
    bus.publish("a.x", "").await.unwrap();
    let pauses = Backoff::fixed(Duration::from_millis(1));
    let mut inbox = bus.consumer(in_order("c").backoff(pauses)).await.unwrap();
    for attempt in 1..=5 {
        let delivery = next(&mut inbox).await;
        assert_eq!(delivery.attempt(), attempt);
        delivery.fail(rowbus::HandlerError::new("x".repeat(1 << 20))).await.unwrap();
    }
    let failures = bus.consumer_info("c").await.unwrap().failures;
    assert_eq!(failures.len(), 5);
    assert!(failures.iter().all(|failure| failure.message.len() == 1_000));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_name_is_that_of_one_consumer_whatever_its_policy() {
    let Some(bus) = bus().await else { return };
    let is_mismatch = |opened: rowbus::Result<Inbox>| {
        let kind = opened.map(drop).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::ConsumerMismatch { setting: "ack_policy", .. }), "{kind:?}");
    };
    drop(bus.consumer(in_order("in-order")).await.unwrap());
    let explicit = Consumer::durable("in-order").ack_policy(AckPolicy::Explicit);
    is_mismatch(bus.consumer(explicit).await);
    drop(bus.consumer(Consumer::durable("explicit")).await.unwrap());
    is_mismatch(bus.consumer(in_order("explicit")).await);
    let names: Vec<_> = bus.consumers().await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["explicit", "in-order"]);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_a_cumulative_member_releases_comes_again_though_explicit_ones_have_no_releases() {
    let Some(bus) = bus().await else { return };
    bus.publish("a.x", "").await.unwrap();
    let mut first = bus.consumer(in_order("c").max_deliver(1)).await.unwrap();
    next(&mut first).await.release().await.unwrap();
    first.leave().await.unwrap();
    let mut second = bus.consumer(in_order("c")).await.unwrap();
    let again = next(&mut second).await;
    assert_eq!(again.attempt(), 1);
    again.ack().await.unwrap();
    assert!(!bus.capabilities().releases);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_start_with_the_newest_of_too_many_subjects_is_unsupported_and_makes_no_consumer() {
    let Some(bus) = bus().await else { return };
    for batch in 0..5 {
        let subjects = (0..1_000).map(|number| Publish::new(format!("a.{batch}.{number}"), ""));
        bus.send_all(subjects.collect()).await.unwrap();
    }
    let all = bus.consumer(in_order("all").from(StartAt::LastPerSubject)).await;
    assert_eq!(all.map(drop).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(bus.consumer_info("all").await.unwrap_err().kind(), ErrorKind::NotFound);
    let some = Consumer::durable("some").filter("a.3.*").ack_policy(AckPolicy::Cumulative);
    let mut inbox = bus.consumer(some.from(StartAt::LastPerSubject)).await.unwrap();
    assert_eq!(bus.consumer_info("some").await.unwrap().num_pending, 1_000);
    assert_eq!(next(&mut inbox).await.subject().as_str(), "a.3.0");
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_and_the_position_survive_kills_of_the_server() {
    const EVENTS: u64 = 60;
    let Some(mut server) = NatsServer::builder().jetstream(true).start() else { return };
    let bus = connect(&server, "faults").await;
    for number in 0..EVENTS {
        bus.publish("a.x", number.to_string()).await.unwrap();
    }
    let mut inbox = bus.consumer(in_order("c")).await.unwrap();
    let (mut acked, mut last) = (0, None);
    while acked < EVENTS {
        let delivery = next(&mut inbox).await;
        let number: u64 = delivery.text().unwrap().parse().unwrap();
        // What was read behind a position that is not known may come again, and nothing is left out.
        assert!(
            number >= acked && number <= last.map_or(0, |last: u64| last + 1),
            "{number} behind {last:?}, {acked}"
        );
        last = Some(number);
        if number % 25 == 10 && number >= acked {
            server.kill();
            server.restart();
        }
        loop {
            match delivery.ack().await {
                Ok(()) => {
                    acked = number + 1;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::LeaseLost => break,
                Err(error) => {
                    let passing = error.is_transient() || error.kind() == ErrorKind::Indeterminate;
                    assert!(passing || error.kind() == ErrorKind::NoStream, "{error:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    assert_eq!(bus.consumer_info("c").await.unwrap().ack_floor, EVENTS);
    bus.close().await.unwrap();
}
