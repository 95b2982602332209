//! What a handler does in its event's transaction is there when it succeeded, and else nothing of it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rowbus::sqlite::Transaction;
use rowbus::{
    AckPolicy, Backoff, Dead, Delivery, Durable, Filter, HandlerError, Job, Messenger, OnFailure, Publish,
};

use super::{consumer, fares, publish_numbers};
use crate::Place;

const NUMBERS: u64 = 100;

/// Writes a row, publishes and enqueues; the number.
fn act(tx: &mut Transaction<'_, '_>, delivery: &Delivery) -> Result<u64, HandlerError> {
    let number: u64 = delivery.text().unwrap_or_default().parse()?;
    tx.execute(
        "INSERT INTO effects (number, attempt) VALUES (?1, ?2)",
        [number.cast_signed(), delivery.attempt().into()],
    )?;
    tx.publish(Publish::new("effect", number.to_string()))?;
    tx.enqueue(Job::new("effect", number.to_string()))?;
    Ok(number)
}

/// What was written: numbers with the attempt that wrote them. All three kinds of effect are the same.
fn effects(place: &Place) -> BTreeMap<u64, i64> {
    let sql = place.sql();
    let all = |query: &str| -> Vec<(i64, i64)> {
        let mut statement = sql.prepare(query).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let rows = all("SELECT number, attempt FROM effects ORDER BY number");
    let numbers: Vec<_> = rows.iter().map(|(number, _)| (*number, 0)).collect();
    for table in ["bus_events", "bus_requests"] {
        let query = format!(
            "SELECT CAST(CAST(data AS TEXT) AS INTEGER) AS number, 0 FROM {table} WHERE subject = 'effect' ORDER BY number"
        );
        assert_eq!(all(&query), numbers, "{table}");
    }
    rows.into_iter().map(|(number, attempt)| (number.cast_unsigned(), attempt)).collect()
}

fn with_table(place: &Place) {
    place.sql().execute_batch("CREATE TABLE effects (number INTEGER, attempt INTEGER)").unwrap();
}

fn quick() -> Backoff {
    Backoff::fixed(Duration::from_millis(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_fails_leaves_nothing_and_those_that_share_its_transaction_are_not_concerned() {
    let place = Place::new();
    let bus = place.open().await;
    with_table(&place);
    publish_numbers(&bus, "number", 0..NUMBERS, 100).await;
    let handle = |tx: &mut Transaction<'_, '_>, delivery: &Delivery| match act(tx, delivery)? {
        number if number % 10 == 3 && delivery.attempt() < 3 => Err(HandlerError::new("not yet")),
        57 => Err(HandlerError::new("never")),
        58 => Err(HandlerError::new("never").fatal()),
        77 if delivery.attempt() == 1 => panic!("a handler that panics has failed"),
        _ => Ok(()),
    };
    let consumer = consumer(AckPolicy::Explicit).backoff(quick()).max_deliver(4);
    let service = bus.handle_in(consumer, handle).await.unwrap();
    fares(&bus, "it", "all is done with", |info| info.ack_floor >= NUMBERS).await;
    service.stop().await.unwrap();
    let attempt = |number: u64| match number {
        number if number % 10 == 3 => 3,
        77 => 2,
        _ => 1,
    };
    let expected = (0..NUMBERS).filter(|number| ![57, 58].contains(number));
    assert_eq!(effects(&place), expected.map(|number| (number, attempt(number))).collect());
    let mut letters = bus.dead_letters(Dead::Of(Filter::everything()), 0, 10).await.unwrap();
    letters.sort_by_key(|letter| letter.payload.clone());
    let facts: Vec<_> =
        letters.iter().map(|letter| (&letter.payload[..], letter.reason.as_str(), letter.attempts)).collect();
    assert_eq!(facts, [(&b"57"[..], "exhausted", 4), (&b"58"[..], "failed", 1)]);
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_handle_in_transactions_share_and_each_effect_is_there_once() {
    let place = Place::new();
    let buses = [place.open().await, place.open().await, place.open().await];
    with_table(&place);
    let mut services = Vec::new();
    for bus in &buses {
        let handle = |tx: &mut Transaction<'_, '_>, delivery: &Delivery| act(tx, delivery).map(|_| ());
        services.push(bus.handle_in(consumer(AckPolicy::Explicit), handle).await.unwrap());
    }
    publish_numbers(&buses[0], "number", 0..3_000, 50).await;
    let last = buses[0].last("number".try_into().unwrap()).await.unwrap().unwrap().sequence();
    fares(&buses[0], "it", "all is done with", |info| info.ack_floor >= last).await;
    for service in services {
        service.stop().await.unwrap();
    }
    assert_eq!(effects(&place), (0..3_000).map(|number| (number, 1)).collect());
    for bus in buses {
        bus.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cumulative_handler_that_fails_stops_in_front_of_the_event_and_goes_on_when_it_is_opened_anew() {
    let place = Place::new();
    let bus = place.open().await;
    with_table(&place);
    publish_numbers(&bus, "number", 0..NUMBERS, 100).await;
    let mended = Arc::new(AtomicBool::new(false));
    let handle = {
        let mended = Arc::clone(&mended);
        move |tx: &mut Transaction<'_, '_>, delivery: &Delivery| match act(tx, delivery)? {
            41 if !mended.load(Ordering::SeqCst) => Err(HandlerError::new("no").fatal()),
            _ => Ok(()),
        }
    };
    let service = bus.handle_in(consumer(AckPolicy::Cumulative), handle.clone()).await.unwrap();
    let info = fares(&bus, "it", "it stops", |info| info.stopped.is_some()).await;
    assert_eq!((info.ack_floor, info.failures.len()), (41, 1));
    assert_eq!(effects(&place), (0..41).map(|number| (number, 1)).collect());
    // It may have ended by itself, with that error.
    let _ = service.stop().await;
    mended.store(true, Ordering::SeqCst);
    let service = bus.handle_in(consumer(AckPolicy::Cumulative), handle).await.unwrap();
    fares(&bus, "it", "all is done with", |info| info.ack_floor >= NUMBERS).await;
    service.stop().await.unwrap();
    assert_eq!(effects(&place).into_keys().collect::<Vec<_>>(), (0..NUMBERS).collect::<Vec<_>>());
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cumulative_handler_may_make_dead_letters_and_go_on_in_order() {
    let place = Place::new();
    let bus = place.open().await;
    with_table(&place);
    publish_numbers(&bus, "number", 0..NUMBERS, 100).await;
    let handle = |tx: &mut Transaction<'_, '_>, delivery: &Delivery| match act(tx, delivery)? {
        41 => Err(HandlerError::new("no")),
        _ => Ok(()),
    };
    let consumer = consumer(AckPolicy::Cumulative).on_failure(OnFailure::DeadLetter);
    let service = bus.handle_in(consumer.backoff(quick()).max_deliver(3), handle).await.unwrap();
    fares(&bus, "it", "all is done with", |info| info.ack_floor >= NUMBERS).await;
    service.stop().await.unwrap();
    let order = "SELECT group_concat(number) FROM (SELECT number FROM effects ORDER BY rowid)";
    let order: String = place.sql().query_row(order, [], |row| row.get(0)).unwrap();
    let expected: Vec<_> =
        (0..NUMBERS).filter(|number| *number != 41).map(|number| number.to_string()).collect();
    assert_eq!(order, expected.join(","));
    let letter = bus.dead_letters(Dead::Of(Filter::everything()), 0, 10).await.unwrap().remove(0);
    assert_eq!((&letter.payload[..], letter.attempts), (&b"41"[..], 3));
    bus.close().await.unwrap();
}
