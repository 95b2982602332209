//! The counters are exact at every commit, whoever publishes, is killed, or removes rows by hand.

use std::time::{Duration, Instant};

use rowbus::rusqlite::Connection;
use rowbus::{Durability, Filter, Messenger, Publish, Retention, SqliteBus};

use super::{policy, publish, there};
use crate::Place;
use crate::child::{Process, say};

/// Publishes on several subjects, and prunes all the time.
pub(super) async fn publish_and_prune(path: &str, name: &str) {
    let builder = SqliteBus::builder(path).durability(Durability::Relaxed).busy_deadline(crate::PATIENCE);
    let bus = builder.open().await.unwrap();
    say("ready");
    let pruning = bus.clone();
    tokio::spawn(async move {
        loop {
            pruning.prune().await.unwrap();
        }
    });
    for number in 0_u64.. {
        let subject = ["a.x", "a.y", "b", "c"][(number % 4) as usize];
        let events = (0..1 + number % 40)
            .map(|_| Publish::new(subject, vec![7; (number % 300) as usize]).header("Name", name));
        bus.send_all(events.collect()).await.unwrap();
    }
}

/// Messages and bytes of each policy: what its row says, and what there is.
fn counted(sql: &Connection) -> Vec<(String, [i64; 2], [i64; 2])> {
    let snapshot = sql.unchecked_transaction().unwrap();
    let mut statement = snapshot
        .prepare("SELECT filter, messages, bytes, counted_through FROM bus_retention ORDER BY filter = '>'")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, [row.get(1)?, row.get(2)?], row.get::<_, i64>(3)?))
    });
    let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    let filters: Vec<Filter> = rows.iter().map(|row| Filter::new(&row.0).unwrap()).collect();
    let mut found = vec![[0, 0]; rows.len()];
    let mut statement = snapshot
        .prepare("SELECT subject, octet_length(data) + ifnull(octet_length(headers), 0) FROM bus_events WHERE id <= ?1")
        .unwrap();
    let mut events = statement.query([rows[0].2]).unwrap();
    while let Some(event) = events.next().unwrap() {
        let subject: String = event.get(0).unwrap();
        let at = filters.iter().position(|filter| filter.matches(&subject)).unwrap();
        found[at] = [found[at][0] + 1, found[at][1] + event.get::<_, i64>(1).unwrap()];
    }
    rows.into_iter().zip(found).map(|(row, found)| (row.0, row.1, found)).collect()
}

#[track_caller]
fn assert_exact(sql: &Connection) -> i64 {
    let counted = counted(sql);
    for (filter, said, there) in &counted {
        assert_eq!(said, there, "{filter}");
    }
    counted.iter().map(|(_, said, _)| said[0]).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_are_exact_at_every_commit_through_kills() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(500)).await.unwrap();
    bus.set_retention("a.>", Retention::new().max_bytes(50_000)).await.unwrap();
    bus.set_retention("b", Retention::new().max_per_subject(20)).await.unwrap();
    let (path, sql) = (place.path(), place.sql());
    let mut counted = 0;
    for round in 0..6 {
        let mut children: Vec<_> = ["one", "two"]
            .map(|name| Process::start("retention-prune", &[path.to_str().unwrap(), name]))
            .into();
        children.iter_mut().for_each(|child| assert_eq!(child.hear(), "ready"));
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300 + 40 * round) {
            counted = counted.max(assert_exact(&sql));
        }
        children.iter_mut().for_each(Process::kill);
        assert_exact(&sql);
    }
    assert!(counted > 100, "{counted}");
    bus.prune().await.unwrap();
    assert_exact(&sql);
    let (everything, a, b) = (policy(&bus, ">").await, policy(&bus, "a.>").await, policy(&bus, "b").await);
    assert!(
        everything.messages <= 500 && a.bytes <= 50_000 && b.messages <= 20,
        "{everything:?} {a:?} {b:?}"
    );
    assert!(everything.messages > 400 && a.bytes > 40_000 && b.messages == 20, "{everything:?} {a:?} {b:?}");
}

#[tokio::test]
async fn rows_that_a_hand_removes_or_adds_are_found_out() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(10)).await.unwrap();
    publish(&bus, "a", 20).await;
    assert_eq!(bus.prune().await.unwrap().events, 10);
    let sql = place.sql();
    sql.execute_batch("DELETE FROM bus_events WHERE id IN (13, 15, 17, 19)").unwrap();
    publish(&bus, "a", 3).await;
    assert_eq!(bus.prune().await.unwrap().events, 0);
    assert_eq!(policy(&bus, ">").await.messages, 9);
    assert_exact(&sql);
    sql.execute_batch("DELETE FROM bus_events").unwrap();
    assert_eq!(bus.prune().await.unwrap().events, 0);
    assert_eq!((policy(&bus, ">").await.messages, policy(&bus, ">").await.bytes), (0, 0));
    for _ in 0..15 {
        sql.execute_batch("INSERT INTO bus_events (subject, data) VALUES ('by.hand', 'text')").unwrap();
    }
    assert_eq!(bus.prune().await.unwrap().events, 5);
    assert_eq!(there(&sql).len(), 10);
    // A policy by hand is as good as any.
    sql.execute_batch("INSERT INTO bus_retention (filter, max_messages) VALUES ('by.*', 4)").unwrap();
    assert_eq!(bus.prune().await.unwrap().events, 6);
    assert_exact(&sql);
}
