//! The contract of [`Messenger`](crate::Messenger) as test cases, for every backend of this crate and of
//! others.
//!
//! [`suite!`] makes a `#[test]` of each case, and runs it on a bus of its own that your factory makes. The
//! names of the cases are the words of the contract, so that a failure says which line is broken. What the
//! [capabilities](crate::Capabilities) of a backend do not promise is not asked of it; where a verb cannot
//! work without one, a case asks that it is refused as [`Unsupported`](crate::ErrorKind::Unsupported).
//!
//! # A backend of your own
//! In an integration test of the crate that has the backend, with `rowbus` and its feature `conformance`
//! among the dev-dependencies:
//!
//! ```
//! use rowbus::InMemBus; // in place of yours
//!
//! mod contract {
//!     use super::*;
//!     rowbus::conformance::suite!(|| async { InMemBus::new() });
//! }
//! # rowbus::conformance::cases::publishing_with_nobody_listening_succeeds(|| async { InMemBus::new() });
//! ```
//!
//! The factory returns a [`Messenger`](crate::Messenger), an `Arc<dyn Messenger>`, or a [`Fixture`] where a
//! case needs more than the bus:
//!
//! ```
//! use std::sync::Arc;
//!
//! use rowbus::conformance::Fixture;
//! use rowbus::InMemBus;
//!
//! async fn fixture() -> Fixture {
//!     let folder = tempfile::tempdir().unwrap(); // where a backend on files would put them
//!     let bus = InMemBus::new();
//!     Fixture::new(bus.clone()).also(Arc::new(bus)).guard(folder)
//! }
//!
//! mod contract {
//!     rowbus::conformance::suite!(super::fixture);
//! }
//! # rowbus::conformance::cases::publishing_with_nobody_listening_succeeds(fixture);
//! ```
//!
//! Each bus has the default options, its payload limit of 1 MiB among them, and its log is empty. Each case
//! runs on a multi-threaded tokio runtime of its own, panics when it fails, and is given up after 60 seconds.
//! No case sleeps: that something does *not* come is seen by what comes in its place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a case fails by panicking, as an assertion does"
)]

mod batch;
mod cancel;
pub mod cases;
mod close;
mod closing_services;
mod consumers;
mod consumers_acks;
mod consumers_again;
mod consumers_ending;
mod consumers_giving_up;
mod consumers_in_order;
mod consumers_moving;
mod consumers_stopping;
mod consuming;
mod dead;
mod dedup;
mod delivery;
mod expect_last;
mod failing;
mod fixture;
mod gap;
mod job_replies;
mod jobs;
mod lapsing;
mod order;
mod payload;
mod replay;
mod run;
mod serving;
mod slow;
mod subject;
mod support;
#[cfg(test)]
mod tests;
mod unsubscribe;
mod waiting;
mod withdrawing;

#[doc(inline)]
pub use crate::__conformance_suite as suite;

pub use self::fixture::Fixture;
