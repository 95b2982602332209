//! The file is the truth, and holds little: a row for the consumer, and one for each event that is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rowbus::rusqlite::Connection;
use rowbus::{AckPolicy, Delivery, Durable, Messenger};

use super::{Chance, consumer, fares, publish_numbers};
use crate::Place;

const NUMBERS: u64 = 200_000;
const MOST: usize = 500;

/// Looks again and again until it is told to stop: the most rows that it has seen in either table, and how often it looked.
fn watch(sql: &Connection, stop: &AtomicBool) -> (i64, i64, usize) {
    let (mut consumers, mut deliveries, mut looks) = (0, 0, 0);
    let count = "SELECT (SELECT count(*) FROM bus_consumers), (SELECT count(*) FROM bus_deliveries)";
    while !stop.load(Ordering::Relaxed) {
        let row: (i64, i64) = sql.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        (consumers, deliveries, looks) = (consumers.max(row.0), deliveries.max(row.1), looks + 1);
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    (consumers, deliveries, looks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_a_long_log_costs_a_row_and_one_for_each_event_in_flight() {
    let place = Place::without_disk();
    let bus = place.open().await;
    publish_numbers(&bus, "number", 0..NUMBERS, 500).await;
    let sql = place.sql();
    let stop = Arc::new(AtomicBool::new(false));
    let watching = std::thread::spawn({
        let (stop, sql) = (Arc::clone(&stop), place.sql());
        move || watch(&sql, &stop)
    });
    let mut inbox = bus.consumer(consumer(AckPolicy::Explicit).max_ack_pending(MOST)).await.unwrap();
    let mut chance = Chance::from_env();
    // The first is held to the end, so that the ack floor stays where it is, and the others are acknowledged in any order.
    let first = super::next(&mut inbox).await.unwrap();
    let (mut held, mut handled) = (Vec::new(), 1);
    while handled < NUMBERS {
        held.extend(inbox.batch(100).await.unwrap());
        let all = handled + held.len() as u64 == NUMBERS;
        let mut acks: Vec<Delivery> = Vec::new();
        while held.len() > if all { 0 } else { 150 } {
            let at = chance.below(held.len() as u64);
            acks.push(held.swap_remove(usize::try_from(at).unwrap()));
        }
        Delivery::ack_all(&acks).await.unwrap();
        handled += acks.len() as u64;
    }
    first.extend(std::time::Duration::from_secs(30)).await.unwrap();
    first.ack().await.unwrap();
    fares(&bus, "it", "all is acknowledged", |info| info.ack_floor == NUMBERS).await;
    stop.store(true, Ordering::Relaxed);
    let (consumers, deliveries, looks) = watching.join().unwrap();
    eprintln!("{looks} looks, at most {deliveries} rows of deliveries");
    assert_eq!(consumers, 1);
    assert!(looks > 100 && deliveries > 0);
    assert!(deliveries <= MOST as i64, "{deliveries} rows for at most {MOST} deliveries in flight");
    let left: i64 = sql.query_row("SELECT count(*) FROM bus_deliveries", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    inbox.leave().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_cumulative_consumer_has_a_row_and_nothing_else() {
    let place = Place::without_disk();
    let bus = place.open().await;
    publish_numbers(&bus, "number", 0..NUMBERS, 500).await;
    let mut inbox = bus.consumer(consumer(AckPolicy::Cumulative)).await.unwrap();
    let (sql, mut sequence) = (place.sql(), 0);
    let rows = "SELECT (SELECT count(*) FROM bus_consumers), (SELECT count(*) FROM bus_deliveries), position FROM bus_consumers";
    while sequence < NUMBERS {
        let batch = inbox.batch(1_000).await.unwrap();
        let last = batch.last().unwrap();
        assert_eq!(last.sequence(), sequence + batch.len() as u64);
        last.ack().await.unwrap();
        sequence = last.sequence();
        let found = sql.query_row(rows, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?)));
        assert_eq!(found.unwrap(), (1, 0, sequence.cast_signed()));
    }
    inbox.leave().await.unwrap();
    bus.close().await.unwrap();
}
