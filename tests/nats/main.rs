//! A NATS bus beyond the contract, on real servers: how it is let in, what becomes of it when its server dies, and that other clients
//! understand it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod nats_auth;
mod nats_lost;
mod nats_others;
mod nats_returns;
#[cfg(unix)]
mod nats_server;
mod nats_tls;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use rowbus::testing::NatsServer;
use rowbus::{Error, ErrorKind, MessengerExt, NatsBus};
use tokio::time::timeout;

/// For what must happen at all: far longer than it ever takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("an end within the time of a test")
}

pub(crate) async fn connect(server: &NatsServer) -> NatsBus {
    NatsBus::connect(&server.url()).await.unwrap()
}

pub(crate) fn kind<T: Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// It was let in: what it publishes comes back to it.
pub(crate) async fn assert_works(bus: &NatsBus) {
    let mut stream = bus.stream("works").await.unwrap();
    bus.publish("works", "yes").await.unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap().text(), Some("yes"));
}
