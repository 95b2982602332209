//! A server that is killed and comes back, in the middle of everything.

use std::collections::HashMap;

use super::*;

/// Between two kills.
const EVENTS: usize = 150;
const KILLS: usize = 3;

/// Publishes it until it is acknowledged: an answer that was lost leaves open whether it was kept, and the id settles it.
async fn publish(bus: &Arc<dyn Durable>, subject: &str, number: usize) -> u64 {
    loop {
        let event = Publish::new(subject, number.to_string()).message_id(number.to_string());
        match bus.send(event).await {
            Ok(ack) => return ack.sequence,
            Err(error) => {
                let passing = error.is_transient() || error.kind() == ErrorKind::Indeterminate;
                // A server that has just come back knows its streams a moment later.
                assert!(passing || error.kind() == ErrorKind::NoStream, "{error:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_of_the_server_and_reaches_readers_and_consumers() {
    let Some(mut server) = NatsServer::builder().jetstream(true).start() else { return };
    let bus = connect(&server, "faults").await;
    let mut stream = bus.subscribe(Subscribe::to("a").from(StartAt::Oldest)).await.unwrap();
    let consumer = Consumer::durable("c").filter("a").ack_wait(Duration::from_secs(2));
    let mut inbox = bus.consumer(consumer).await.unwrap();
    let total = EVENTS * (KILLS + 1);
    let consumes = tokio::spawn(async move {
        let mut handled = HashMap::new();
        while handled.len() < total {
            let delivery = inbox.next().await.unwrap().unwrap();
            // An ack that is lost has the event come again.
            if delivery.ack().await.is_ok() {
                *handled.entry(delivery.text().unwrap().parse::<usize>().unwrap()).or_insert(0) += 1;
            }
        }
        handled
    });
    let mut acknowledged = Vec::new();
    for round in 0..=KILLS {
        let (publisher, from) = (Arc::clone(&bus), round * EVENTS);
        let publishes = tokio::spawn(async move {
            let mut sequences = Vec::new();
            for number in from..from + EVENTS {
                sequences.push(publish(&publisher, "a", number).await);
            }
            sequences
        });
        if round < KILLS {
            tokio::time::sleep(Duration::from_millis(15 + 20 * round as u64)).await;
            server.kill();
            server.restart();
        }
        acknowledged.extend(publishes.await.unwrap());
    }
    for (number, sequence) in acknowledged.iter().enumerate() {
        let event =
            tokio::time::timeout(Duration::from_secs(60), stream.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.text(), Some(&*number.to_string()), "in order, each once");
        assert_eq!(event.sequence(), *sequence, "where it was acknowledged");
    }
    let handled = tokio::time::timeout(Duration::from_secs(60), consumes).await.unwrap().unwrap();
    assert_eq!(handled.len(), total);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_has_read_nothing_begins_where_it_was_opened_when_the_server_comes_back() {
    let Some(mut server) = NatsServer::builder().jetstream(true).start() else { return };
    let bus = connect(&server, "faults").await;
    for subject in ["a", "a", "b", "b", "c"] {
        bus.publish(subject, "").await.unwrap();
    }
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    plain.get_stream("faults").await.unwrap().delete_message(1).await.unwrap();
    let newest = bus.last("c".try_into().unwrap()).await.unwrap().unwrap();
    let since = StartAt::Time(newest.time() + Duration::from_millis(1));
    let open = async |start: StartAt| bus.subscribe(Subscribe::to(">").from(start).buffer(1)).await.unwrap();
    let mut half = open(StartAt::LastPerSubject).await;
    assert_eq!(half.next().await.unwrap().unwrap().sequence(), 2);
    let mut streams = [
        (open(StartAt::Oldest).await, vec![2, 3, 4, 5, 6, 7]),
        (open(since).await, vec![6, 7]),
        // What was the newest of its subject and is not so any more is left out.
        (open(StartAt::LastPerSubject).await, vec![2, 5, 6, 7]),
        (half, vec![5, 6, 7]),
    ];
    server.kill();
    server.restart();
    for number in [6, 7] {
        assert_eq!(publish(&bus, "b", number).await, number as u64);
    }
    for (stream, expected) in &mut streams {
        let mut read = Vec::new();
        while read.len() < expected.len() {
            let event = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
            read.push(event.unwrap().unwrap().unwrap().sequence());
        }
        assert_eq!(read, *expected);
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_member_whose_pull_was_lost_is_told_what_was_forgotten_meanwhile() {
    let Some(mut server) = NatsServer::builder().jetstream(true).start() else { return };
    let bus = connect(&server, "faults").await;
    bus.publish("a", "").await.unwrap();
    let mut inbox = bus.consumer(Consumer::durable("c")).await.unwrap();
    inbox.next().await.unwrap().unwrap().ack().await.unwrap();
    // It asks for one, and the server hears it.
    assert!(futures_util::FutureExt::now_or_never(inbox.next()).is_none());
    bus.last("a".try_into().unwrap()).await.unwrap();
    server.kill();
    server.restart();
    for number in [2, 3, 4] {
        assert_eq!(publish(&bus, "a", number).await, number as u64);
    }
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let plain = plain.get_stream("faults").await.unwrap();
    for sequence in 1..=3 {
        plain.delete_message(sequence).await.unwrap();
    }
    let told = tokio::time::timeout(Duration::from_secs(60), inbox.next()).await.unwrap().unwrap();
    assert!(matches!(told.map(drop).unwrap_err().kind(), ErrorKind::Gap { first: 2, last: 3, .. }));
    assert_eq!(inbox.next().await.unwrap().unwrap().sequence(), 4);
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_a_kill_of_the_server() {
    let Some(mut server) = NatsServer::builder().jetstream(true).start() else { return };
    let bus = connect(&server, "faults").await;
    let jobs = bus.enqueue_all((0..20).map(|number| Job::new("a", number.to_string()))).await.unwrap();
    server.kill();
    server.restart();
    let service =
        bus.serve("a", |call: Call| async move { Ok(call.text().unwrap().to_owned()) }).await.unwrap();
    for (number, job) in jobs.iter().enumerate() {
        let reply = loop {
            match tokio::time::timeout(Duration::from_secs(60), job.reply()).await.unwrap() {
                Ok(reply) => break reply,
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        };
        assert_eq!(reply.text(), Some(&*number.to_string()));
    }
    service.stop().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn without_a_server_nothing_is_acknowledged() {
    let Some(mut server) = NatsServer::builder().jetstream(true).start() else { return };
    let events = EventStream::named("S").under("events");
    let builder = NatsBus::builder(&server.url()).prefix("p").stream(events);
    let bus = builder.wait(Duration::from_millis(300)).connect().await.unwrap().as_durable().unwrap();
    server.kill();
    let unsure = [ErrorKind::Disconnected, ErrorKind::Indeterminate];
    assert!(unsure.contains(&bus.publish("a", "").await.unwrap_err().kind()));
    assert!(unsure.contains(&bus.enqueue(Job::new("a", "")).await.map(drop).unwrap_err().kind()));
    let batch = vec![Publish::new("a", ""), Publish::new("a", "")];
    assert!(unsure.contains(&bus.send_all(batch).await.unwrap_err().kind()));
    bus.close().await.unwrap();
}
