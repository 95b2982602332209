//! Handlers whose statements spoil the transaction that they share with others.

use std::time::Duration;

use rowbus::rusqlite::Connection;
use rowbus::sqlite::Transaction;
use rowbus::{
    AckPolicy, Backoff, Dead, Delivery, Durable, Filter, HandlerError, Messenger, OnFailure, SqliteBus,
};

use super::{BOTH, consumer, fares, publish_numbers};
use crate::Place;

const NUMBERS: u64 = 200;
/// Those whose handlers do harm.
const BAD: [u64; 3] = [41, 42, 130];

type Handle = fn(&mut Transaction<'_, '_>, u64) -> Result<(), HandlerError>;

/// All but the bad ones have their effect once, and the bad ones are dead letters, with no effect at all.
async fn only_the_bad_ones_fail(harm: Handle) {
    for policy in BOTH {
        let place = Place::new();
        let builder = SqliteBus::builder(place.path());
        let bus =
            builder.on_connect(|conn| conn.execute_batch("PRAGMA foreign_keys = on")).open().await.unwrap();
        place
            .sql()
            .execute_batch(
                "CREATE TABLE effects (number INTEGER);
                 CREATE TABLE one (x INTEGER PRIMARY KEY ON CONFLICT ROLLBACK);
                 INSERT INTO one VALUES (1);
                 CREATE TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);",
            )
            .unwrap();
        publish_numbers(&bus, "number", 0..NUMBERS, 100).await;
        let handle = move |tx: &mut Transaction<'_, '_>, delivery: &Delivery| {
            let number: u64 = delivery.text().unwrap_or_default().parse()?;
            if BAD.contains(&number) {
                harm(tx, number)?;
            }
            tx.execute("INSERT INTO effects VALUES (?1)", [number.cast_signed()])?;
            Ok(())
        };
        let mut consumer = consumer(policy).max_deliver(2).backoff(Backoff::fixed(Duration::from_millis(1)));
        if policy == AckPolicy::Cumulative {
            consumer = consumer.on_failure(OnFailure::DeadLetter);
        }
        let service = bus.handle_in(consumer, handle).await.unwrap();
        fares(&bus, "it", "all is done with", |info| info.ack_floor >= NUMBERS).await;
        service.stop().await.unwrap();
        let letters = bus.dead_letters(Dead::Of(Filter::everything()), 0, 10).await.unwrap();
        let mut dead: Vec<u64> = letters
            .iter()
            .map(|letter| std::str::from_utf8(&letter.payload).unwrap().parse().unwrap())
            .collect();
        dead.sort_unstable();
        assert_eq!(dead, BAD, "{policy}");
        assert!(
            letters.iter().all(|letter| letter.attempts == 2 && letter.failures.len() == 2),
            "{letters:?}"
        );
        let expected: Vec<u64> = (0..NUMBERS).filter(|number| !BAD.contains(number)).collect();
        assert_eq!(effects(&place.sql()), expected, "{policy}");
        bus.close().await.unwrap();
    }
}

fn effects(sql: &Connection) -> Vec<u64> {
    let mut statement = sql.prepare("SELECT number FROM effects ORDER BY number").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    rows.map(|number| number.unwrap().cast_unsigned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_rolls_back_the_transaction_is_a_failure_of_its_event_alone() {
    only_the_bad_ones_fail(|tx, _| {
        tx.execute("INSERT INTO one VALUES (1)", [])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_behind_an_ignored_rollback_is_not_committed_by_itself() {
    only_the_bad_ones_fail(|tx, number| {
        let _ = tx.execute("INSERT INTO one VALUES (1)", []);
        let _ = tx.execute("INSERT INTO effects VALUES (?1)", [number.cast_signed()]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_commit_refuses_is_a_failure_of_its_event_alone() {
    only_the_bad_ones_fail(|tx, number| {
        tx.execute("INSERT INTO child VALUES (?1)", [number.cast_signed()])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_takes_the_savepoint_away_fails_its_event_alone() {
    only_the_bad_ones_fail(|tx, _| {
        tx.execute_batch("RELEASE rowbus_transaction")?;
        Err(HandlerError::new("and fails"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_fails_its_event_alone() {
    only_the_bad_ones_fail(|_, number| panic!("number {number}")).await;
}
