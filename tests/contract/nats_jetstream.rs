//! A bus on JetStream keeps the contract, and differs from the others in what its capabilities say.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use rowbus::conformance::{Fixture, suite};
use rowbus::testing::NatsServer;
use rowbus::{
    Backoff, Call, Capabilities, Consumer, Dead, Durability, Durable, DurableExt, ErrorKind, EventStream,
    Filter, Job, Messenger, MessengerExt, NatsBus, Publish, Request, Serve, StartAt, Subscribe, handler_fn,
};

use super::*;

#[path = "nats_jetstream_faults.rs"]
mod faults;
#[path = "nats_jetstream_in_order.rs"]
mod in_order;
#[path = "nats_jetstream_streams.rs"]
mod streams;

/// Room for what the protocol needs beside a message of 1 MiB.
const ROOM: usize = 2 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// One for all: each case has a prefix and streams of its own.
fn server() -> Option<&'static NatsServer> {
    static SERVER: OnceLock<Option<NatsServer>> = OnceLock::new();
    SERVER.get_or_init(|| NatsServer::builder().jetstream(true).max_payload(ROOM).start()).as_ref()
}

fn name() -> String {
    static CASES: AtomicU64 = AtomicU64::new(0);
    format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed))
}

async fn connect(server: &NatsServer, name: &str) -> Arc<dyn Durable> {
    let events = EventStream::named(name).under("events");
    let bus = NatsBus::builder(&server.url()).prefix(name).stream(events).connect().await.unwrap();
    bus.as_durable().unwrap()
}

/// A bus on streams of its own; `None` where there is no server.
async fn bus() -> Option<Arc<dyn Durable>> {
    Some(connect(server()?, &name()).await)
}

/// Changes the stream of the bus's state, as its operator might.
async fn change_state(server: &NatsServer, name: &str, change: impl FnOnce(&mut jetstream::stream::Config)) {
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut config = plain.get_stream(format!("{name}_STATE")).await.unwrap().cached_info().config.clone();
    change(&mut config);
    plain.update_stream(config).await.unwrap();
}

/// Two buses on the same streams, as two programs have them.
async fn fixture() -> Fixture {
    let Some(server) = server() else { return Fixture::skip("there is no nats-server") };
    let name = name();
    let bus = connect(server, &name).await as Arc<dyn Messenger>;
    let other = connect(server, &name).await as Arc<dyn Messenger>;
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = plain.get_stream(&name).await.unwrap();
    Fixture::from(bus).also(other).forget_through(move |sequence| {
        // One by one, as retention does: past what is purged, consumers are taken along.
        let stream = stream.clone();
        async move {
            for gone in 1..=sequence {
                let _ = stream.delete_message(gone).await;
            }
        }
    })
}

suite!(fixture);

#[tokio::test]
async fn it_has_what_jetstream_has() {
    let Some(bus) = bus().await else { return };
    let mut expected = Capabilities::none();
    expected.durable = true;
    expected.replay = true;
    expected.total_order = true;
    expected.lossless = true;
    expected.atomic_batches = true;
    expected.deduplication = true;
    expected.expect_last = true;
    expected.logged = true;
    expected.jobs = true;
    expected.consumers = true;
    expected.cumulative_consumers = true;
    assert_eq!(bus.capabilities(), expected);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn it_is_durable_since_the_next_bus_has_what_the_last_one_had() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = connect(server, &name).await;
    let before = bus.publish("a", "kept").await.unwrap();
    bus.close().await.unwrap();
    let bus = connect(server, &name).await;
    let last = bus.last("a".try_into().unwrap()).await.unwrap().unwrap();
    assert_eq!((last.sequence(), last.text()), (before.sequence, Some("kept")));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_duplicate_that_expects_what_has_changed_is_wrong_sequence_and_not_published() {
    let Some(bus) = bus().await else { return };
    let once = || Publish::new("a", "once").message_id("1").expect_last(0);
    bus.send(once()).await.unwrap();
    let error = bus.send(once()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongSequence { actual: 1, .. }), "{error:?}");
    assert_eq!(bus.publish("a", "next").await.unwrap().sequence, 2);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_batch_with_a_duplicate_is_unsupported_and_none_of_it_is_published() {
    let Some(bus) = bus().await else { return };
    bus.send(Publish::new("a", "").message_id("1")).await.unwrap();
    for ids in [["1", "2"], ["3", "3"]] {
        let batch = ids.map(|id| Publish::new("a", "").message_id(id)).to_vec();
        assert_eq!(bus.send_all(batch).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(bus.publish("a", "next").await.unwrap().sequence, 2);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_flush_to_the_disk_cannot_be_asked_for() {
    let Some(bus) = bus().await else { return };
    let flushed = Publish::new("a", "").durability(Durability::Full);
    assert_eq!(bus.send(flushed).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let flushed = Job::new("a", "").durability(Durability::Full);
    assert_eq!(bus.enqueue(flushed).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(bus.send(Publish::new("a", "").relaxed()).await.unwrap().sequence, 1);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_header_that_the_server_would_follow_is_refused() {
    let Some(bus) = bus().await else { return };
    bus.publish("a", "kept").await.unwrap();
    for name in ["Nats-Rollup", "nats-rollup", "Nats-TTL", "Rowbus-Job"] {
        let publish = Publish::new("a", "").header(name, "all");
        assert_eq!(bus.send(publish).await.unwrap_err().kind(), ErrorKind::InvalidHeader, "{name}");
    }
    assert_eq!(bus.publish("a", "next").await.unwrap().sequence, 2);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_waits_out_a_backoff_uses_up_max_ack_pending_and_is_not_told_apart() {
    let Some(bus) = bus().await else { return };
    for text in ["held back", "next"] {
        bus.publish("a", text).await.unwrap();
    }
    let mut inbox = bus.consumer(Consumer::durable("c").max_ack_pending(1)).await.unwrap();
    inbox.next().await.unwrap().unwrap().nack(HOUR).await.unwrap();
    let info = bus.consumer_info("c").await.unwrap();
    assert_eq!((info.num_ack_pending, info.num_backing_off, info.num_pending), (1, 0, 1));
    drop(bus.consumer(Consumer::durable("c").max_ack_pending(2)).await.unwrap());
    assert_eq!(inbox.next().await.unwrap().unwrap().text(), Some("next"));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_has_the_last_failure_alone() {
    let Some(bus) = bus().await else { return };
    bus.publish("a", "").await.unwrap();
    let consumer = Consumer::durable("c").max_deliver(2).backoff(Backoff::fixed(Duration::from_millis(5)));
    let mut inbox = bus.consumer(consumer).await.unwrap();
    for failure in ["first", "second"] {
        let delivery = inbox.next().await.unwrap().unwrap();
        delivery.fail(rowbus::HandlerError::new(failure)).await.unwrap();
    }
    let letters = bus.dead_letters(Dead::Of(Filter::everything()), 0, 9).await.unwrap();
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    let failures: Vec<_> = letters[0].failures.iter().map(|one| (one.attempt, &*one.message)).collect();
    assert_eq!(failures, [(2, "second")]);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_consumers_name_has_no_mark_of_a_move() {
    let Some(bus) = bus().await else { return };
    let error = bus.consumer(Consumer::durable("c~2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_job_that_is_given_back_was_tried() {
    let Some(bus) = bus().await else { return };
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let handler = Arc::new(handler_fn(move |call: Call| {
        begun.send(call.attempt()).unwrap();
        async { std::future::pending::<Result<(), rowbus::HandlerError>>().await }
    }));
    let job = bus.enqueue(Job::new("a", "").max_attempts(2)).await.unwrap();
    for attempt in 1..=2 {
        let service = bus.serve_with(Serve::on("a").grace(Duration::ZERO), handler.clone()).await.unwrap();
        assert_eq!(begins.recv().await, Some(attempt));
        service.stop().await.unwrap();
    }
    let service = bus.serve("a", |_: Call| async { Ok(()) }).await.unwrap();
    assert_eq!(job.reply().await.unwrap_err().kind(), ErrorKind::Handler);
    let letters = bus.dead_letters(Dead::Of(Filter::everything()), 0, 9).await.unwrap();
    assert_eq!((letters[0].reason.as_str(), letters[0].attempts), ("exhausted", 2));
    service.stop().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn jobs_and_requests_share_the_places_of_a_service() {
    let Some(bus) = bus().await else { return };
    let running = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let (counts, highest) = (Arc::clone(&running), Arc::clone(&most));
    let handler = Arc::new(handler_fn(move |_: Call| {
        let (counts, highest) = (Arc::clone(&counts), Arc::clone(&highest));
        async move {
            highest.fetch_max(counts.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            counts.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    }));
    let service = bus.serve_with(Serve::on("a.*").concurrency(1), handler).await.unwrap();
    let jobs =
        bus.enqueue_all((0..20).map(|number| Job::new(format!("a.{}", number % 3), ""))).await.unwrap();
    for _ in 0..20 {
        bus.request("a.x", "").await.unwrap();
    }
    for job in jobs {
        job.reply().await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    service.stop().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_job_whose_end_cannot_be_written_holds_up_nothing_else_and_is_ended_later() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = connect(server, &name).await;
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (counted, mut counts) = tokio::sync::mpsc::unbounded_channel();
    let goes_on = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&goes_on);
    let handler = move |call: Call| {
        let (begun, counted, gate) = (begun.clone(), counted.clone(), Arc::clone(&gate));
        async move {
            if call.text() == Some("job") {
                begun.send(()).unwrap();
                gate.notified().await;
                let told = call.reply("kept").await;
                counted.send(told.map_err(|error| error.kind())).unwrap();
            }
            Ok("answered")
        }
    };
    let service = bus.serve("a", handler).await.unwrap();
    let job = bus.enqueue(Job::new("a", "job")).await.unwrap();
    begins.recv().await.unwrap();
    change_state(server, &name, |state| state.max_messages = 1).await;
    goes_on.notify_one();
    for _ in 0..5 {
        assert_eq!(bus.request("a", "").await.unwrap().text(), Some("answered"));
    }
    assert!(counts.try_recv().is_err());
    change_state(server, &name, |state| state.max_messages = -1).await;
    let reply = job.reply().await.unwrap();
    assert_eq!((reply.text(), reply.attempt()), (Some("kept"), 1));
    assert_eq!(counts.recv().await, Some(Ok(())));
    service.stop().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_meet_a_leaving_service_are_given_back_at_once() {
    let Some(bus) = bus().await else { return };
    let mut jobs = Vec::new();
    for round in 0..40 {
        let filter = if round % 2 == 0 { "a" } else { "*" };
        let service = bus.serve(filter, |_: Call| async { Ok(()) }).await.unwrap();
        let enqueuing = Arc::clone(&bus);
        let enqueues = tokio::spawn(async move {
            let jobs = (0..5).map(|_| Job::new("a", "").max_attempts(1_000));
            enqueuing.enqueue_all(jobs).await.unwrap()
        });
        tokio::task::yield_now().await;
        service.stop().await.unwrap();
        jobs.extend(enqueues.await.unwrap());
    }
    let service = bus.serve("a", |_: Call| async { Ok(()) }).await.unwrap();
    // What was not given back would come when its lease is over, after 30 s.
    for job in jobs {
        tokio::time::timeout(Duration::from_secs(20), job.reply()).await.unwrap().unwrap();
    }
    service.stop().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_meet_a_leaving_member_are_given_back_at_once() {
    let Some(bus) = bus().await else { return };
    let consumer = || Consumer::durable("c").max_deliver(1_000);
    let mut acked = 0;
    for _ in 0..40 {
        let mut inbox = bus.consumer(consumer()).await.unwrap();
        let publishing = Arc::clone(&bus);
        let publishes = tokio::spawn(async move { publishing.publish("a", "").await.unwrap() });
        // It asks for one.
        if let Some(delivery) = futures_util::FutureExt::now_or_never(inbox.next()) {
            delivery.unwrap().unwrap().ack().await.unwrap();
            acked += 1;
        }
        tokio::task::yield_now().await;
        inbox.leave().await.unwrap();
        publishes.await.unwrap();
    }
    let mut inbox = bus.consumer(consumer()).await.unwrap();
    // What was not given back would come when its ack_wait is over, after 30 s.
    for _ in acked..40 {
        let delivery = tokio::time::timeout(Duration::from_secs(20), inbox.next()).await;
        delivery.unwrap().unwrap().unwrap().ack().await.unwrap();
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_member_that_falls_behind_retention_while_it_reads_is_not_told() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = connect(server, &name).await;
    let mut inbox = bus.consumer(Consumer::durable("c")).await.unwrap();
    for _ in 1..=3 {
        bus.publish("a", "").await.unwrap();
    }
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let plain = plain.get_stream(&name).await.unwrap();
    for sequence in 1..=2 {
        plain.delete_message(sequence).await.unwrap();
    }
    assert_eq!(inbox.next().await.unwrap().unwrap().sequence(), 3);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_request_that_meets_a_leaving_service_is_answered_or_refused_and_never_lost() {
    let Some(server) = server() else { return };
    let name = name();
    let (serves, asks) = (connect(server, &name).await, connect(server, &name).await);
    // The connection has other things to read while the service leaves.
    let busy = Arc::clone(&serves);
    let noise = tokio::spawn(async move { while busy.publish("noise", "").await.is_ok() {} });
    for _ in 0..100 {
        let service = serves.serve("a", |_: Call| async { Ok(()) }).await.unwrap();
        let asked = Arc::clone(&asks);
        let asking = tokio::spawn(async move {
            loop {
                if let Err(error) = asked.call(Request::to("a", "").if_served()).await {
                    return error.kind();
                }
            }
        });
        tokio::task::yield_now().await;
        service.stop().await.unwrap();
        assert_eq!(asking.await.unwrap(), ErrorKind::NoResponders);
    }
    noise.abort();
    serves.close().await.unwrap();
    asks.close().await.unwrap();
}

#[tokio::test]
async fn servers_whose_filters_overlap_share_the_jobs_of_a_subject() {
    let Some(bus) = bus().await else { return };
    let mut services = Vec::new();
    for filter in ["a.x", "a.*", ">"] {
        services.push(bus.serve(filter, |_: Call| async { Ok(()) }).await.unwrap());
    }
    for job in bus.enqueue_all((0..30).map(|_| Job::new("a.x", ""))).await.unwrap() {
        assert_eq!(job.reply().await.unwrap().attempt(), 1);
    }
    for service in services {
        service.stop().await.unwrap();
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_goes_on_when_its_consumer_on_the_server_is_gone() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = connect(server, &name).await;
    let mut stream = bus.subscribe(Subscribe::to(">").from(StartAt::Oldest)).await.unwrap();
    bus.publish("a", "before").await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("before"));
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let plain = plain.get_stream(&name).await.unwrap();
    let mut consumers = plain.consumer_names();
    while let Some(consumer) = futures_util::StreamExt::next(&mut consumers).await {
        plain.delete_consumer(&consumer.unwrap()).await.unwrap();
    }
    bus.publish("a", "after").await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("after"));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn plain_clients_and_the_bus_see_the_same_events() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = connect(server, &name).await;
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let lies = format!("{name}.events.orders.eu");
    plain.publish(lies.clone(), "from a plain client".into()).await.unwrap().await.unwrap();
    let mut stream = bus.subscribe(Subscribe::to("orders.*").from(StartAt::Oldest)).await.unwrap();
    let event = stream.next().await.unwrap().unwrap();
    assert_eq!((event.subject().as_str(), event.text()), ("orders.eu", Some("from a plain client")));
    let publish = Publish::new("orders.eu", "from the bus").header("Trace", "7f2c").message_id("m");
    let ack = bus.send(publish).await.unwrap();
    let stored = plain.get_stream(&name).await.unwrap().get_raw_message(ack.sequence).await.unwrap();
    assert_eq!((stored.subject.as_str(), stored.payload.as_ref()), (&*lies, b"from the bus".as_slice()));
    assert_eq!(stored.headers.get("Trace").unwrap().as_str(), "7f2c");
    assert_eq!(stored.headers.get("Nats-Msg-Id").unwrap().as_str(), "m");
    bus.close().await.unwrap();
}
