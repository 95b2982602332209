//! How long the WAL grows, and when it is given back.

use std::time::{Duration, Instant};

use rowbus::defaults::{WAL_IDLE, WAL_KEPT, WAL_LIMIT};
use rowbus::{Consumer, Durability, Durable, Messenger, MessengerExt, Publish, SqliteBus};

use crate::child::Process;
use crate::{PATIENCE, Place, from_oldest, listed, next, until};

fn wal_of(place: &Place) -> u64 {
    std::fs::metadata(place.join("bus.db-wal")).map_or(0, |found| found.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_short_under_load_whatever_readers_do() {
    let place = Place::without_disk();
    let bus = place.open().await;
    // One that never reads, one that reads slowly, a consumer that holds what it has and never asks for more; and the same in
    // another process.
    let mut stuck = bus.stream(">").await.unwrap();
    let mut slow = from_oldest(&bus, ">").await;
    let mut inbox = bus.consumer(Consumer::durable("stuck").max_ack_pending(1)).await.unwrap();
    let path = place.path();
    let mut other = Process::start("stuck", &[path.to_str().unwrap(), "1"]);
    assert_eq!(other.hear(), "ready");
    let reading = tokio::spawn(async move {
        while slow.next().await.is_some_and(|message| message.is_ok()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut longest = 0;
    let mut held = None;
    for at in 0..600 {
        let batch = (0..64).map(|_| Publish::new("load.big", vec![b'x'; 8_000]));
        bus.publish_all(batch).await.unwrap();
        if at == 0 {
            held = Some(tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap());
        }
        longest = longest.max(wal_of(&place));
    }
    let stats = bus.stats().await.unwrap();
    eprintln!(
        "longest WAL {:.1} MiB of 307 MB published; {:?}",
        longest as f64 / f64::from(1 << 20),
        stats.bus.checkpoints
    );
    assert!(longest <= 2 * WAL_LIMIT, "{longest}");
    assert!(stats.bus.checkpoints.count > 0 && stats.bus.checkpoints.pages > 10_000);
    assert_eq!(next(&mut stuck).await.unwrap().sequence(), 1);
    drop((reading, held, stuck));
}

#[tokio::test]
async fn the_wal_of_an_idle_file_is_cut_once_and_nothing_wakes_the_bus_again() {
    let place = Place::without_disk();
    let (bus, other) = (place.open().await, place.open().await);
    for bus in [&bus, &other] {
        listed(bus).await;
        bus.publish_all((0..100).map(|_| Publish::new("a", vec![0; 10_000]))).await.unwrap();
    }
    assert!(wal_of(&place) > WAL_KEPT);
    until("the WAL is cut", || wal_of(&place) == 0).await;
    let counted = async || {
        let stats =
            [bus.stats().await.unwrap().bus.checkpoints, other.stats().await.unwrap().bus.checkpoints];
        stats.map(|checkpoints| (checkpoints.count, checkpoints.truncations))
    };
    // Both have written, and the one that comes later finds it done.
    tokio::time::sleep(WAL_IDLE + Duration::from_secs(1)).await;
    let once = counted().await;
    assert!((1..=2).contains(&once.iter().map(|(_, cuts)| cuts).sum::<u64>()), "{once:?}");
    tokio::time::sleep(WAL_IDLE + Duration::from_secs(1)).await;
    assert_eq!(counted().await, once);
    // And what was there is there.
    let mut all = from_oldest(&bus, "a").await;
    for _ in 0..200 {
        next(&mut all).await.unwrap();
    }
    bus.publish("a", "on").await.unwrap();
}

#[tokio::test]
async fn a_small_wal_is_left_as_it_is_and_so_are_the_hosts_own_settings() {
    let place = Place::without_disk();
    let host = place.sql();
    host.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 7; PRAGMA journal_size_limit = 12345;
         PRAGMA user_version = 9; PRAGMA application_id = 8; CREATE TABLE mine (x)",
    )
    .unwrap();
    let setting = |name: &str| host.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let bus = place.open().await;
    bus.publish_all((0..100).map(|_| Publish::new("a", vec![0; 10_000]))).await.unwrap();
    until("the WAL is cut", || wal_of(&place) == 0).await;
    bus.send(Publish::new("a", "small").durability(Durability::Relaxed)).await.unwrap();
    let (small, start) = (wal_of(&place), Instant::now());
    while start.elapsed() < WAL_IDLE * 2 + Duration::from_secs(1) {
        assert_eq!(wal_of(&place), small);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((setting("wal_autocheckpoint"), setting("journal_size_limit")), (7, 12_345));
    assert_eq!((setting("user_version"), setting("application_id")), (9, 8));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_a_bus_has_done_is_counted() {
    let place = Place::without_disk();
    let (bus, other) = (place.open().await, place.open().await);
    listed(&bus).await;
    let mut here = bus.stream("a").await.unwrap();
    let mut there = other.stream("a").await.unwrap();
    let before = bus.stats().await.unwrap().bus;
    for _ in 0..10 {
        bus.publish("a", "x").await.unwrap();
    }
    bus.send(Publish::new("a", "x").durability(Durability::Full)).await.unwrap();
    for stream in [&mut here, &mut there] {
        for _ in 0..11 {
            next(stream).await.unwrap();
        }
    }
    let (stats, others) = (bus.stats().await.unwrap(), other.stats().await.unwrap());
    let now = &stats.bus;
    assert_eq!((now.published - before.published, now.delivered, others.bus.delivered), (11, 11, 11));
    // Now and then it writes for itself.
    assert!(now.commits - before.commits >= 11);
    assert!(now.relaxed_micros.count() - before.relaxed_micros.count() >= 10);
    assert_eq!(now.flushed_micros.count() - before.flushed_micros.count(), 1);
    assert!(now.operations.max() >= 1 && now.flushed_micros.max() > 0);
    let start = Instant::now();
    while other.stats().await.unwrap().bus.wakes.bell == 0 {
        assert!(start.elapsed() < PATIENCE, "it is never rung");
        tokio::time::sleep(Duration::from_millis(20)).await;
        bus.publish("a", "x").await.unwrap();
    }
    assert_eq!((stats.file.events.count, stats.file.events.is_exact), (11, true));
    assert_eq!((stats.file.last_sequence, stats.file.schema_version >= 3), (11, true));
    assert_eq!(stats.file.consumers.as_ref().map(Vec::len), Some(0));
    assert!(stats.file.wal_bytes > 0 && stats.file.pages > 0);
    assert!(stats.file.peers.unwrap().iter().any(|peer| peer.is_self));
}

#[tokio::test]
async fn a_look_at_a_long_log_is_bounded_and_says_so() {
    let place = Place::without_disk();
    // A pruner would count them.
    let bus = SqliteBus::builder(place.path()).prune(false).open().await.unwrap();
    place
        .sql()
        .execute_batch(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000)
             INSERT INTO bus_events (subject) SELECT 'a' FROM n",
        )
        .unwrap();
    let _consumer = bus.consumer(Consumer::durable("c").filter("b.*")).await.unwrap();
    let start = Instant::now();
    let stats = bus.stats().await.unwrap().file;
    eprintln!("stats of 300,000 events took {:?}", start.elapsed());
    assert_eq!((stats.events.count, stats.events.is_exact), (10_000, false));
    assert_eq!(
        (stats.oldest.unwrap().0, stats.newest.unwrap().0, stats.last_sequence),
        (1, 300_000, 300_000)
    );
    assert!(!stats.consumers.unwrap()[0].num_pending_is_exact);
}

#[tokio::test]
async fn a_bus_in_a_builder_without_files_is_none() {
    let place = Place::new();
    assert!(rowbus::sqlite::Inspector::open(place.path()).is_err());
    let bus = SqliteBus::open(place.path()).await.unwrap();
    bus.publish("a", "x").await.unwrap();
    // From within the process that has it open, too.
    let seen = rowbus::sqlite::Inspector::open(place.path()).unwrap().stats().unwrap();
    assert_eq!(seen.events.count, 1);
    bus.publish("a", "y").await.unwrap();
}
