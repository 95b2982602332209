//! What a handler writes in the file is there exactly once for each event, whenever its process is killed.

use std::time::Duration;

use rowbus::sqlite::Transaction;
use rowbus::{AckPolicy, Delivery, Durability, HandlerError, Messenger, Publish, SqliteBus};

use super::{ALL, consumer, fares, while_it_is_killed};
use crate::child::{Process, say};
use crate::{Place, from_oldest, texts};

/// How many numbers lie between two reports.
const REPORT: i64 = 1_000;

/// Sums up the numbers until it is killed; a role.
pub(super) async fn project(path: &str, policy: AckPolicy) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    say("ready");
    let mut service = bus.handle_in(consumer(policy), add).await.unwrap();
    service.ended().await.unwrap();
}

fn add(tx: &mut Transaction<'_, '_>, delivery: &Delivery) -> Result<(), HandlerError> {
    let number: i64 = delivery.text().unwrap_or_default().parse()?;
    // Handling takes its time, so that a death mostly comes in the middle of a transaction.
    std::thread::sleep(Duration::from_micros(50));
    let count: i64 = tx.query_row(
        "UPDATE totals SET sum = sum + ?1, count = count + 1 RETURNING count",
        [number],
        |row| row.get(0),
    )?;
    if count % REPORT == 0 {
        tx.publish(Publish::new("report", count.to_string()))?;
    }
    Ok(())
}

async fn is_exact(policy: AckPolicy) {
    let place = Place::without_disk();
    let bus = place.open().await;
    place
        .sql()
        .execute_batch(
            "CREATE TABLE totals (sum INTEGER NOT NULL, count INTEGER NOT NULL); INSERT INTO totals VALUES (0, 0)",
        )
        .unwrap();
    let path = place.path();
    let start = || Process::start("consumer-project", &[path.to_str().unwrap(), policy.as_str()]);
    let last = while_it_is_killed(&place, &bus, start).await;

    let newest = bus.last("number".try_into().unwrap()).await.unwrap().unwrap().sequence();
    let info = fares(&bus, "it", "all is handled", |info| info.ack_floor >= newest).await;
    drop(last);
    assert_eq!((info.num_pending, info.num_ack_pending, info.num_backing_off), (0, 0, 0));
    let totals = place.sql().query_row("SELECT sum, count FROM totals", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    let all = ALL.cast_signed();
    assert_eq!(totals.unwrap(), (all * (all + 1) / 2, all));
    // What the handler published in its transactions as well: each report once.
    let reports: Vec<_> = (1..=all / REPORT).map(|at| (at * REPORT).to_string()).collect();
    let mut stream = from_oldest(&bus, "report").await;
    assert_eq!(texts(&mut stream, reports.len()).await, reports);
    let last_report = bus.last("report".try_into().unwrap()).await.unwrap().unwrap();
    assert_eq!(last_report.text(), Some(ALL.to_string().as_str()));
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sum_of_a_cumulative_projection_is_exact_after_200_kills() {
    is_exact(AckPolicy::Cumulative).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sum_of_an_explicit_projection_is_exact_after_200_kills() {
    is_exact(AckPolicy::Explicit).await;
}
