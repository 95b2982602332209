//! NATS through async-nats: core, which keeps nothing, and JetStream, which keeps what it acknowledges in files.

pub mod core;
pub mod install;
pub mod jetstream;
pub mod server;

use async_nats::Client;
use futures_util::StreamExt;
use tokio::runtime::Runtime;

use super::Role;

/// As rowbus has it: two workers, as `#[tokio::main]` would make them on two cores.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Returns when the server has seen all that the client has sent so far; flushing alone does not wait for that.
async fn round_trip(client: &Client) {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    echo.next().await.unwrap();
}
