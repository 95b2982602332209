//! What a bridge forwards in a second, beside a client that publishes the same to the same server with as many publishes under
//! way. `cargo bench --all-features --bench bridge`; `ROWBUS_BENCH_EVENTS` for more than 200,000 events.
//!
//! Both are run three times in turn, and the best of each is compared: the server's store and the machine's disk are the same.
//! It ends with exit code 1 if the bridge is slower than half of the client.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a bench is a test of speed

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use rowbus::bridge::Bridge;
use rowbus::testing::NatsServer;
use rowbus::{Durability, MessengerExt, NatsBus, Publish, SqliteBus, defaults};

const ROUNDS: usize = 3;
const BYTES: usize = 128;
/// The share of the client's rate that the bridge has to reach.
const LEAST: f64 = 0.5;

fn main() {
    // What `cargo test` runs of a bench is that it starts.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let events = match std::env::var("ROWBUS_BENCH_EVENTS").map(|events| events.parse()) {
        Ok(events) => events.unwrap(),
        Err(_) if is_measured => 200_000,
        Err(_) => 1_000,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(events, is_measured));
}

async fn measure(events: usize, is_measured: bool) {
    let Some(server) = NatsServer::builder().jetstream(true).start() else { return };
    let jetstream = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (mut bridge, mut client) = (Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        client = client.min(publish(&jetstream, round, events).await);
        let path = folder.path().join(format!("{round}.db"));
        bridge = bridge.min(forward(&server, &jetstream, &path, events).await);
    }
    let rate = |time: Duration| events as f64 / time.as_secs_f64();
    println!("{events} events of {BYTES} bytes, {} under way", defaults::BRIDGE_WINDOW);
    println!("the client, pipelined  {:>9.0}/s", rate(client));
    println!("the bridge             {:>9.0}/s", rate(bridge));
    let share = rate(bridge) / rate(client);
    println!("the bridge is          {share:>9.2} of the client");
    if is_measured && share < LEAST {
        println!("that is less than the {LEAST} that it is to be");
        std::process::exit(1);
    }
}

async fn stream(jetstream: &Context, subject: &str) {
    let _ = jetstream.delete_stream("BENCH").await;
    let config = Config { name: "BENCH".to_owned(), subjects: vec![subject.to_owned()], ..Config::default() };
    jetstream.create_stream(config).await.unwrap();
}

/// As a program would that keeps a window of publishes under way and loses none: an id, and each acknowledgement awaited.
async fn publish(jetstream: &Context, round: usize, events: usize) -> Duration {
    stream(jetstream, "a.>").await;
    let payload = bytes::Bytes::from(vec![b'x'; BYTES]);
    let mut under_way = VecDeque::new();
    let began = Instant::now();
    for event in 0..events {
        if under_way.len() == defaults::BRIDGE_WINDOW {
            let ack: jetstream::context::PublishAckFuture = under_way.pop_front().unwrap();
            ack.into_future().await.unwrap();
        }
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{round}:{event}").as_str());
        let ack = jetstream.publish_with_headers("a.b", headers, payload.clone()).await.unwrap();
        under_way.push_back(ack);
    }
    for ack in under_way {
        ack.into_future().await.unwrap();
    }
    began.elapsed()
}

async fn forward(
    server: &NatsServer,
    jetstream: &Context,
    path: &std::path::Path,
    events: usize,
) -> Duration {
    stream(jetstream, "a.>").await;
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    let payload = vec![b'x'; BYTES];
    for some in (0..events).collect::<Vec<_>>().chunks(500) {
        bus.publish_all(some.iter().map(|_| Publish::new("a.b", payload.clone()))).await.unwrap();
    }
    let nats = NatsBus::connect(&server.url()).await.unwrap();
    let began = Instant::now();
    let bridge = Bridge::forward("a.>").to(&nats).start(&bus).await.unwrap();
    bridge.wait_for(|status| status.position == events as u64).await;
    let took = began.elapsed();
    bridge.stop().await.unwrap();
    assert_eq!(bridge.status().forwarded, events as u64);
    took
}
