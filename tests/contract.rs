//! Every backend keeps the contract, and differs from the others in what its capabilities say.
#![cfg(feature = "conformance")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::sync::Arc;

use rowbus::conformance::{Fixture, suite};
use rowbus::{Capabilities, ErrorKind, InMemBus, Messenger, MessengerExt, Subscribe};

mod inmem {
    use super::*;

    async fn fixture() -> Fixture {
        let bus = InMemBus::new();
        let forgetful = bus.clone();
        Fixture::new(bus.clone()).also(Arc::new(bus)).forget_through(move |sequence| {
            forgetful.forget_through(sequence);
            std::future::ready(())
        })
    }

    suite!(fixture);

    #[test]
    fn it_has_all_but_durable_and_lossless() {
        let mut expected = Capabilities::none();
        expected.replay = true;
        expected.total_order = true;
        expected.atomic_batches = true;
        expected.deduplication = true;
        expected.expect_last = true;
        expected.waits_for_servers = true;
        expected.logged = true;
        expected.shared_queue = true;
        expected.takes_over = true;
        expected.jobs = true;
        expected.consumers = true;
        expected.releases = true;
        expected.duplicates_before_expectations = true;
        expected.duplicates_in_batches = true;
        expected.cumulative_consumers = true;
        expected.backing_off_apart = true;
        expected.failure_history = true;
        expected.dead_letters_in_one_step = true;
        expected.requeue = true;
        expected.job_info = true;
        expected.job_cancellation = true;
        expected.job_priorities = true;
        expected.job_keys = true;
        expected.job_uniqueness = true;
        expected.job_expiry = true;
        expected.job_pauses = true;
        expected.free_releases = true;
        expected.fair_subjects = true;
        assert_eq!(InMemBus::new().capabilities(), expected);
    }

    #[tokio::test]
    async fn it_is_not_durable_since_the_next_bus_is_empty() {
        let bus = InMemBus::new();
        bus.publish("a", "").await.unwrap();
        drop(bus);
        let ack = InMemBus::new().publish("a", "").await.unwrap();
        assert_eq!(ack.sequence, 1);
    }

    #[tokio::test]
    async fn it_is_not_lossless_since_a_full_buffer_overflows() {
        let bus = InMemBus::new();
        let mut stream = bus.subscribe(Subscribe::to("a").buffer(1)).await.unwrap();
        for _ in 0..3 {
            bus.publish("a", "").await.unwrap();
        }
        assert_eq!(stream.next().await.unwrap().unwrap().sequence(), 1);
        let overflow = stream.next().await.unwrap().unwrap_err();
        assert!(matches!(overflow.kind(), ErrorKind::Overflow { dropped: 2, .. }), "{overflow:?}");
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use rowbus::rusqlite::Connection;
    use rowbus::{SqliteBus, StartAt};

    use super::*;

    /// Two buses on one file, as two processes have them.
    async fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let bus = SqliteBus::builder(&path).open().await.unwrap();
        let other = SqliteBus::builder(&path).open().await.unwrap();
        Fixture::new(bus).also(Arc::new(other)).guard(folder).forget_through(move |sequence| {
            prune(&Connection::open(&path).unwrap(), i64::try_from(sequence).unwrap());
            std::future::ready(())
        })
    }

    /// What the pruner leaves behind.
    fn prune(file: &Connection, through: i64) {
        file.execute("DELETE FROM bus_events WHERE id <= ?1", [through]).unwrap();
        file.execute("UPDATE bus_retention SET pruned_through = ?1 WHERE filter = '>'", [through]).unwrap();
    }

    suite!(fixture);

    #[tokio::test]
    async fn it_has_every_capability() {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::builder(folder.path().join("app.db")).open().await.unwrap();
        let mut expected = Capabilities::none();
        expected.durable = true;
        expected.replay = true;
        expected.total_order = true;
        expected.lossless = true;
        expected.atomic_batches = true;
        expected.deduplication = true;
        expected.expect_last = true;
        expected.waits_for_servers = true;
        expected.logged = true;
        expected.shared_queue = true;
        expected.takes_over = true;
        expected.jobs = true;
        expected.consumers = true;
        expected.releases = true;
        expected.duplicates_before_expectations = true;
        expected.duplicates_in_batches = true;
        expected.cumulative_consumers = true;
        expected.backing_off_apart = true;
        expected.failure_history = true;
        expected.dead_letters_in_one_step = true;
        expected.requeue = true;
        expected.job_info = true;
        expected.job_cancellation = true;
        expected.job_priorities = true;
        expected.job_keys = true;
        expected.job_uniqueness = true;
        expected.job_expiry = true;
        expected.job_pauses = true;
        expected.free_releases = true;
        expected.fair_subjects = true;
        assert_eq!(bus.capabilities(), expected);
        bus.close().await.unwrap();
    }

    #[tokio::test]
    async fn it_is_durable_since_the_next_bus_has_what_the_last_one_had() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let bus = SqliteBus::builder(&path).open().await.unwrap();
        let before = bus.publish("a", "kept").await.unwrap();
        bus.close().await.unwrap();
        drop(bus);
        let bus = SqliteBus::builder(&path).open().await.unwrap();
        let mut stream = bus.subscribe(Subscribe::to("a").from(StartAt::Oldest)).await.unwrap();
        let message = stream.next().await.unwrap().unwrap();
        assert_eq!((message.sequence(), message.text()), (before.sequence, Some("kept")));
        assert!(bus.publish("a", "").await.unwrap().sequence > before.sequence);
        bus.close().await.unwrap();
    }

    #[tokio::test]
    async fn it_is_lossless_since_a_full_buffer_is_read_from_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::builder(folder.path().join("app.db")).open().await.unwrap();
        let mut stream = bus.subscribe(Subscribe::to("a").buffer(1)).await.unwrap();
        for _ in 0..20 {
            bus.publish("a", "").await.unwrap();
        }
        for sequence in 1..=20 {
            assert_eq!(stream.next().await.unwrap().unwrap().sequence(), sequence);
        }
        bus.close().await.unwrap();
    }
}

#[cfg(all(feature = "nats", feature = "testing"))]
#[path = "contract/nats_core.rs"]
mod nats_core;

#[cfg(all(feature = "nats", feature = "testing"))]
mod nats {
    use rowbus::NatsBus;
    use rowbus::testing::NatsServer;

    use super::*;

    /// Room for what the protocol needs beside a message of 1 MiB.
    const ROOM: usize = 2 << 20;

    /// Two buses on one server, as two programs have them.
    async fn fixture() -> Fixture {
        let Some(server) = NatsServer::builder().max_payload(ROOM).start() else {
            return Fixture::skip("there is no nats-server");
        };
        let bus = NatsBus::connect(&server.url()).await.unwrap();
        let other = NatsBus::connect(&server.url()).await.unwrap();
        Fixture::new(bus).also(Arc::new(other)).guard(server)
    }

    suite!(fixture);
}

#[cfg(all(feature = "nats", feature = "testing"))]
#[path = "contract/nats_jetstream.rs"]
mod nats_jetstream;
