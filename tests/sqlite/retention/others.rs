//! Policies as programs set them, and what is kept beside events.

use std::sync::Arc;
use std::time::Duration;

use rowbus::{Dead, Durable, DurableExt, ErrorKind, HandlerError, Messenger, MessengerExt, Publish};
use rowbus::{Retention, SetBy, SqliteBus, defaults};

use super::{DAY, HOUR, Set, policy, publish, there};
use crate::{Place, until};

fn hours(hours: u64) -> Retention {
    Retention::new().max_age(Duration::from_secs(hours * 3600))
}

#[tokio::test]
async fn a_builder_takes_the_place_of_the_default_and_of_nobody_elses_policy() {
    let place = Place::new();
    let open = |retention| SqliteBus::builder(place.path()).retention(">", retention).open();
    let bus = open(hours(5)).await.unwrap();
    assert_eq!(policy(&bus, ">").await.set_by, SetBy::Builder);
    assert_eq!(policy(&bus, ">").await.retention.max_age, Some(Duration::from_secs(5 * 3600)));
    drop(bus);
    let bus = open(hours(6)).await.unwrap();
    assert_eq!(policy(&bus, ">").await.retention.max_age, Some(Duration::from_secs(5 * 3600)));
    bus.set_retention(">", hours(7)).await.unwrap();
    drop(bus);
    let bus = open(hours(8)).await.unwrap();
    let set = policy(&bus, ">").await;
    assert_eq!((set.retention.max_age, set.set_by), (Some(Duration::from_secs(7 * 3600)), SetBy::Operator));
    bus.remove_retention(">").await.unwrap();
    assert_eq!(policy(&bus, ">").await.retention.max_age, Some(defaults::RETENTION_AGE));
    assert_eq!(bus.remove_retention("a").await.unwrap_err().kind(), ErrorKind::NotFound);
    let wrong = SqliteBus::builder(place.path()).retention("a..b", hours(1)).open().await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidSubject);
    let wrong =
        SqliteBus::builder(place.path()).retention("a", Retention::new().max_messages(0)).open().await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidOption);
}

#[tokio::test]
async fn each_event_goes_by_the_policy_of_the_most_literal_filter() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(1)).await.unwrap();
    bus.set_retention("a.*", Retention::new().max_messages(2)).await.unwrap();
    bus.set_retention("*.b", Retention::new().max_messages(3)).await.unwrap();
    bus.set_retention("a.c", Retention::keep_everything()).await.unwrap();
    for subject in ["a.b", "x.b", "a.c", "x.y"] {
        publish(&bus, subject, 5).await;
    }
    let pruned = bus.prune().await.unwrap();
    assert_eq!((pruned.events, pruned.bytes), (3 + 2 + 4, 3 + 2 + 4));
    assert_eq!(there(&place.sql()), [4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 20]);
    assert_eq!(bus.prune().await.unwrap().events, 0);
    let of = policy(&bus, "*.b").await;
    assert_eq!((of.messages, of.bytes, of.counted_through, of.pruned_through), (3, 3, 20, 7));
}

#[tokio::test]
async fn dead_letters_ids_against_duplicates_and_reports_go_in_time() {
    let (place, clock) = (Place::without_disk(), Arc::new(Set::at(1000 * DAY)));
    let builder = SqliteBus::builder(place.path()).clock(Arc::clone(&clock) as _);
    let bus = builder.keep_dead_letters(Some(Duration::from_secs(3600))).open().await.unwrap();
    assert_eq!(bus.dead_letter_age().await.unwrap(), Some(Duration::from_secs(3600)));
    let handler = |_| async { Err::<String, _>(HandlerError::new("no").fatal()) };
    let service = bus.serve("job", handler).await.unwrap();
    bus.enqueue(rowbus::Job::new("job", "")).await.unwrap();
    let sql = place.sql();
    let count = |what: &str| {
        sql.query_row::<i64, _, _>(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
    };
    until("the job is a dead letter", || count("bus_dead_letters") == 1).await;
    service.stop().await.unwrap();
    bus.send(Publish::new("a", "").message_id("once")).await.unwrap();
    sql.execute_batch(
        "INSERT INTO bus_events (subject) VALUES ('a..b');
         INSERT INTO bus_quarantine VALUES ('bus_events', 2, 'so', 0), ('bus_events', 99, 'so', 0)",
    )
    .unwrap();
    bus.set_retention(">", Retention::new().max_messages(1)).await.unwrap();
    publish(&bus, "a", 1).await;
    let pruned = bus.prune().await.unwrap();
    assert_eq!((pruned.events, pruned.dead_letters, pruned.message_ids), (2, 0, 0));
    assert_eq!(count("bus_quarantine"), 1, "that of the row that has gone");
    clock.pass(2 * HOUR);
    let pruned = bus.prune().await.unwrap();
    assert_eq!((pruned.events, pruned.dead_letters, pruned.message_ids), (0, 1, 1));
    assert!(bus.dead_letters(Dead::Of(rowbus::Filter::everything()), 0, 9).await.unwrap().is_empty());
    bus.keep_dead_letters(None).await.unwrap();
    assert_eq!(bus.dead_letter_age().await.unwrap(), None);
}

#[tokio::test]
async fn free_pages_are_given_back_where_the_file_was_made_so() {
    let place = Place::without_disk();
    let pages = |sql: &rowbus::rusqlite::Connection, what: &str| {
        sql.query_row::<i64, _, _>(&format!("PRAGMA {what}"), [], |row| row.get(0)).unwrap()
    };
    for incremental in [true, false] {
        let path = place.join(if incremental { "own.db" } else { "host.db" });
        if !incremental {
            let host = rowbus::rusqlite::Connection::open(&path).unwrap();
            host.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE mine (x)").unwrap();
        }
        let builder = SqliteBus::builder(&path).durability(rowbus::Durability::Relaxed);
        let bus = builder.retention(">", Retention::new().max_messages(5)).open().await.unwrap();
        for _ in 0..100 {
            bus.publish("big", vec![7; 100_000]).await.unwrap();
        }
        let sql = rowbus::rusqlite::Connection::open(&path).unwrap();
        let before = pages(&sql, "page_count");
        let pruned = bus.prune().await.unwrap();
        assert!(pruned.events <= 95, "some may have gone before");
        let (after, free) = (pages(&sql, "page_count"), pages(&sql, "freelist_count"));
        if incremental {
            assert!(free <= 1000 && after < 1500, "{before} {after} {free}");
        } else {
            assert_eq!((pruned.pages, after), (0, before));
            assert!(free > 2000, "{free}");
        }
        bus.close().await.unwrap();
    }
}
