//! An idle consumer writes nothing.

use std::time::{Duration, Instant};

use rowbus::rusqlite::Connection;
use rowbus::{Consumer, Durable, Messenger, MessengerExt};

use super::{BOTH, next};
use crate::{PATIENCE, Place, listed};

/// How long nothing may happen. What a bus does when it wakes up by itself, it does four times a second.
const QUIET: Duration = Duration::from_secs(2);

/// What changes with whatever anybody else commits.
fn version(sql: &Connection) -> i64 {
    sql.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap()
}

/// Waits until nothing has been written for so long; how long that took.
async fn quiet(sql: &Connection) -> Duration {
    let (start, mut seen, mut since) = (Instant::now(), version(sql), Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = version(sql);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        assert!(start.elapsed() < PATIENCE, "it is never quiet");
    }
    start.elapsed()
}

#[tokio::test]
async fn idle_consumers_write_nothing_neither_at_the_beginning_nor_when_they_have_handled_something() {
    let place = Place::quiet();
    let (bus, other) = (place.open().await, place.open().await);
    listed(&bus).await;
    listed(&other).await;
    let mut inboxes = Vec::new();
    for policy in BOTH {
        for bus in [&bus, &other] {
            let consumer = Consumer::durable(policy.as_str()).filter("number").ack_policy(policy);
            inboxes.push(bus.consumer(consumer).await.unwrap());
        }
    }
    let sql = place.sql();
    let wal = || std::fs::metadata(place.join("bus.db-wal")).unwrap().len();
    // What they do as they begin is over soon, and then there is nothing.
    quiet(&sql).await;
    let before = (version(&sql), wal());
    tokio::time::sleep(QUIET).await;
    assert_eq!((version(&sql), wal()), before);

    // What does not concern them moves nothing either.
    bus.publish("other", "1").await.unwrap();
    let published = version(&sql);
    assert_ne!(published, before.0, "a commit is seen here");
    tokio::time::sleep(QUIET).await;
    assert_eq!(version(&sql), published);

    bus.publish("number", "2").await.unwrap();
    // One of each two has it.
    for two in inboxes.chunks_mut(2) {
        let (one, other) = two.split_at_mut(1);
        let delivery = tokio::select! {
            delivery = next(&mut one[0]) => delivery,
            delivery = next(&mut other[0]) => delivery,
        };
        delivery.unwrap().ack().await.unwrap();
    }
    let settled = quiet(&sql).await;
    assert!(settled < PATIENCE / 2, "{settled:?}");
    let after = (version(&sql), wal());
    tokio::time::sleep(QUIET).await;
    assert_eq!((version(&sql), wal()), after);
    drop(inboxes);
    bus.close().await.unwrap();
}
