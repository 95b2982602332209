//! **rowbus** is a message bus made of rows: one SQLite file is the broker, and any process that opens it can publish and
//! stream, ask and serve, and leave jobs to be done. There is no daemon to run, and nothing that was acknowledged is lost.
#![cfg_attr(
    feature = "sqlite",
    doc = r#"
```
# #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
# let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
use rowbus::{Messenger, MessengerExt, SqliteBus, StartAt, Subscribe};

let bus = SqliteBus::open(&path).await?;                       // every process opens the same file
let mut live = bus.stream("orders.>").await?;                  // what is new
bus.publish("orders.created", "one pizza").await?;             // acknowledged: it survives a power cut
assert_eq!(live.next().await.unwrap()?.text(), Some("one pizza"));

let mut all = bus.subscribe(Subscribe::to("orders.>").from(StartAt::Oldest)).await?;
assert_eq!(all.next().await.unwrap()?.sequence(), 1);          // and what was
# Ok(()) }
```
"#
)]
//!
//! | To | use |
//! | --- | --- |
//! | open a file | [`SqliteBus`], or `SqliteBus::builder` for options |
//! | open or connect whatever a URL names | `rowbus::connect` |
//! | go beyond one machine | `NatsBus` (feature `nats`), and `docs/beyond-one-machine.md` |
//! | publish, stream | [`MessengerExt`], one line a verb; [`Publish`] and [`Subscribe`] for options |
//! | ask, serve | [`MessengerExt`] as well; [`Request`] and [`Serve`] for options, [`Call`] is what a handler gets |
//! | leave a job, see to dead letters | [`DurableExt`]; [`Job`] for options |
//! | read with a position that survives, share events | [`Durable::consumer`]; [`Consumer`] for options, [`Delivery`] is what a member gets |
//! | say how long events are kept | `SqliteBuilder::retention`, `SqliteBus::set_retention`; [`Retention`] for the limits |
//! | handle events exactly once | `SqliteBus::handle_in` |
//! | publish or enqueue with your own rows | `SqliteBus::transaction`; `sqlite::publish_in` and `sqlite::enqueue_in` |
//! | take any backend | [`Messenger`], the contract, as `Arc<dyn Messenger>` |
//! | forward events to a stream of NATS JetStream | `bridge::Bridge` (features `sqlite` and `nats`) |
//! | test an app without a disk | [`InMemBus`] |
//! | publish or enqueue from another driver or language | [`sql`], and `docs/sql.md` |
//! | test a backend of your own | the `conformance` module (feature `conformance`) |
//!
//! # Features
//! `sqlite` and `bundled` are the defaults. Without `sqlite`, `async` gives the contract and [`InMemBus`]; without
//! any, there are the words and [`sql`]. `json` adds `Publish::json` and `Message::json`; `conformance` the contract as
//! test cases; `nats` the backend on a NATS server, and `testing` a private server for tests.
#![cfg_attr(not(feature = "sqlite"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(not(feature = "sqlite"), allow(dead_code))]

pub mod defaults;
mod error;
mod filter;
mod headers;
mod job;
mod message;
mod publish;
mod retry;
pub mod sql;
mod subject;

#[cfg(all(feature = "nats", feature = "sqlite"))]
pub mod bridge;
#[cfg(feature = "async")]
mod call;
#[cfg(feature = "async")]
mod capabilities;
#[cfg(feature = "async")]
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "async")]
mod connect;
#[cfg(feature = "async")]
mod consumer;
#[cfg(feature = "async")]
mod consumer_info;
#[cfg(feature = "async")]
mod consumer_settings;
#[cfg(feature = "async")]
mod dead_letter;
#[cfg(feature = "async")]
mod delivery;
#[cfg(feature = "async")]
mod durable;
#[cfg(feature = "async")]
mod ext;
#[cfg(feature = "async")]
mod future;
#[cfg(feature = "async")]
mod handler;
#[cfg(feature = "async")]
mod inbox;
#[cfg(feature = "async")]
mod inmem;
#[cfg(feature = "async")]
mod job_handle;
#[cfg(feature = "async")]
mod mailbox;
#[cfg(feature = "async")]
mod messenger;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "async")]
mod reply;
#[cfg(feature = "async")]
mod request;
#[cfg(feature = "sqlite")]
mod retention;
#[cfg(feature = "async")]
mod serve;
#[cfg(feature = "async")]
mod service;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "async")]
mod subscribe;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "async")]
mod trie;
#[cfg(feature = "async")]
mod url;

pub use error::{Error, ErrorKind, Result};
pub use filter::Filter;
pub use headers::Headers;
pub use job::{Job, JobParts, RunAt, Unique};
pub use message::Message;
pub use publish::{Durability, PubAck, Publish, PublishParts};
pub use retry::Backoff;
pub use subject::Subject;

#[cfg(feature = "async")]
pub use {
    call::{Call, CallControl},
    capabilities::Capabilities,
    clock::{Clock, SystemClock},
    connect::connect,
    consumer::{AckPolicy, Consumer, ConsumerParts, OnFailure},
    consumer_info::ConsumerInfo,
    consumer_settings::ConsumerSettings,
    dead_letter::{Dead, DeadLetter, DeadSource},
    delivery::{Delivery, DeliveryControl, Settlement},
    durable::{Durable, DurableExt},
    ext::MessengerExt,
    future::BoxFuture,
    handler::{Handler, HandlerError, handler_fn},
    inbox::{Inbox, InboxSource},
    inmem::{InMemBuilder, InMemBus},
    job_handle::{Failure, JobHandle, JobId, JobInfo, JobState},
    messenger::Messenger,
    reply::{Replies, Reply, ReplySource, Response},
    request::{Request, RequestParts},
    serve::{Serve, ServeParts, Service, ServiceControl},
    subscribe::{Source, StartAt, Subscribe, SubscribeParts, Subscription},
};

#[cfg(feature = "nats")]
pub use nats::{EventStream, NatsBuilder, NatsBus};

#[cfg(feature = "sqlite")]
pub use {
    retention::{Pruned, Retention, RetentionInfo, RetentionParts, SetBy},
    rusqlite,
    sqlite::SqliteBus,
};

/// The README's code is compiled with the documentation's.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// So is that of the page about NATS.
#[cfg(all(doctest, feature = "sqlite", feature = "nats"))]
#[doc = include_str!("../docs/beyond-one-machine.md")]
struct BeyondOneMachine;
