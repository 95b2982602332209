//! A bridge from a file to the JetStream of a real server.

mod flushed;
mod forwarding;
mod interop;
mod kills;
mod line;
mod refused;
mod restored;
mod standby;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use rowbus::bridge::{Bridge, BridgeStatus, Forward};
use rowbus::testing::{NatsServer, NatsServerBuilder};
use rowbus::{Durability, MessengerExt, NatsBus, Publish, SqliteBus};

use crate::{PATIENCE, Place};

pub(crate) async fn role(words: &[&str]) -> Option<()> {
    match words {
        ["bridge-run", path, url, dies_at] => kills::run(path, url, dies_at).await,
        _ => return None,
    }
    Some(())
}

/// A file, a server, and a way to look at its streams.
struct Rig {
    place: Place,
    server: NatsServer,
    bus: SqliteBus,
    nats: NatsBus,
    jetstream: Context,
}

impl Rig {
    async fn new() -> Option<Self> {
        Self::with(NatsServer::builder()).await
    }

    async fn with(server: NatsServerBuilder) -> Option<Self> {
        let server = server.jetstream(true).start()?;
        let place = Place::without_disk();
        let bus = place.open().await;
        let nats = NatsBus::connect(&server.url()).await.unwrap();
        let client = async_nats::connect(server.url()).await.unwrap();
        Some(Self { place, server, bus, nats, jetstream: jetstream::new(client) })
    }

    /// A stream named `S` for everything below `a` and `b`, whose duplicate window is over at once.
    async fn stream(&self) {
        self.stream_with(stream()).await;
    }

    async fn stream_with(&self, config: Config) {
        self.jetstream.create_stream(config).await.unwrap();
    }

    async fn publish(&self, numbers: std::ops::Range<usize>) {
        publish(&self.bus, numbers).await;
    }

    async fn start(&self, forward: Forward) -> Bridge {
        forward.patience(Duration::from_secs(1)).to(&self.nats).start(&self.bus).await.unwrap()
    }

    async fn stored(&self) -> Vec<Stored> {
        stored(&self.jetstream, "S").await
    }

    /// Every event from 1 to this is in the stream once, in order.
    async fn has_all(&self, newest: u64) {
        all_once(&self.stored().await, newest);
    }
}

/// Every event from 1 to this is there once, in order.
fn all_once(stored: &[Stored], newest: u64) {
    let wrong = stored.iter().zip(1..).find(|(stored, expected)| stored.sequence != *expected);
    assert!(wrong.is_none(), "{wrong:?} of {} events", stored.len());
    assert_eq!(stored.len() as u64, newest);
}

fn stream() -> Config {
    Config {
        name: "S".to_owned(),
        subjects: vec!["a.>".to_owned(), "b.>".to_owned()],
        duplicate_window: Duration::from_millis(100),
        ..Config::default()
    }
}

async fn publish(bus: &SqliteBus, numbers: std::ops::Range<usize>) {
    let numbers: Vec<_> = numbers.collect();
    for some in numbers.chunks(500) {
        let events = some.iter().map(|number| Publish::new(format!("a.{}", number % 7), number.to_string()));
        bus.publish_all(events).await.unwrap();
    }
}

/// What a bridge has stored.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    subject: String,
    sequence: u64,
    payload: String,
    headers: BTreeMap<String, Vec<String>>,
}

/// Everything in a stream that a bridge has forwarded, in the order of the stream.
async fn stored(jetstream: &Context, name: &str) -> Vec<Stored> {
    let stream = jetstream.get_stream(name).await.unwrap();
    let mut left = stream.cached_info().state.messages;
    let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut stored = Vec::new();
    while left > 0 {
        let message = messages.next().await.unwrap().unwrap();
        left = message.info().unwrap().pending;
        let headers: BTreeMap<String, Vec<String>> = message
            .headers
            .iter()
            .flat_map(|headers| headers.iter())
            .map(|(name, values)| (name.to_string(), values.iter().map(|value| value.to_string()).collect()))
            .collect();
        let Some(sequence) = headers.get("Rowbus-Sequence") else { continue };
        stored.push(Stored {
            subject: message.subject.to_string(),
            sequence: sequence[0].parse().unwrap(),
            payload: String::from_utf8(message.payload.to_vec()).unwrap(),
            headers,
        });
    }
    stored
}

async fn wait(bridge: &Bridge, wanted: impl FnMut(&BridgeStatus) -> bool) -> BridgeStatus {
    let waited = tokio::time::timeout(PATIENCE, bridge.wait_for(wanted)).await;
    waited.unwrap_or_else(|_| panic!("in vain: {:?}", bridge.status()))
}

async fn open(path: &Path) -> SqliteBus {
    SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap()
}
