//! What tests of programs on this crate need: a private `nats-server` (feature `testing`).
//!
//! ```no_run
//! use rowbus::testing::NatsServer;
//!
//! let Some(server) = NatsServer::start() else { return }; // said loudly, or a panic under ROWBUS_REQUIRE_NATS=1
//! assert!(server.url().starts_with("nats://127.0.0.1:"));
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails a test")]

mod nats_server;
mod program;
mod watchdog;

pub use self::nats_server::{NatsServer, NatsServerBuilder};
