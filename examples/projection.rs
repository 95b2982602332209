//! A balance that counts each payment once, however often the program is killed: `cargo run --example projection [FILE]`.
//!
//! The handler's own writes, what it publishes and the acknowledgement are one transaction. Kill it, and run it again with
//! the same FILE.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;
use std::path::PathBuf;

use rowbus::sqlite::Transaction;
use rowbus::{
    AckPolicy, Consumer, Delivery, HandlerError, Messenger, MessengerExt, Publish, SqliteBus, StartAt,
    Subscribe,
};

const PAYMENTS: i64 = 20_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = std::env::args_os().nth(1).map_or_else(|| folder.path().join("app.db"), PathBuf::from);
    let bus = SqliteBus::open(file).await?;
    let schema =
        "CREATE TABLE IF NOT EXISTS balance (id INTEGER PRIMARY KEY, payments INTEGER, cents INTEGER);
                  INSERT OR IGNORE INTO balance VALUES (1, 0, 0)";
    bus.transaction(move |tx| Ok(tx.execute_batch(schema)?)).await?;
    // All of them or none: a program that was killed before has published them, or begins anew.
    if bus.last("payment.received".try_into()?).await?.is_none() {
        bus.publish_all((1..=PAYMENTS).map(|cents| Publish::new("payment.received", cents.to_string())))
            .await?;
    }

    let payments = Consumer::durable("balance").filter("payment.*").ack_policy(AckPolicy::Cumulative);
    let projection = bus.handle_in(payments, count).await?;

    let mut reports = bus.subscribe(Subscribe::to("balance.report").from(StartAt::Oldest)).await?;
    while let Some(report) = reports.next().await.transpose()? {
        let report = report.text().unwrap_or("?");
        println!("{report}");
        if report.starts_with(&format!("{PAYMENTS} payments")) {
            break;
        }
    }
    projection.stop().await?;
    bus.close().await?;
    Ok(())
}

/// Counts one payment. If it fails, nothing of it is there, and it is tried again.
fn count(tx: &mut Transaction<'_, '_>, payment: &Delivery) -> Result<(), HandlerError> {
    let cents: i64 = payment.text().unwrap_or_default().parse()?;
    let (payments, cents): (i64, i64) = tx.query_row(
        "UPDATE balance SET payments = payments + 1, cents = cents + ?1 RETURNING payments, cents",
        [cents],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if payments % 2_000 == 0 {
        tx.publish(Publish::new("balance.report", format!("{payments} payments, {cents} cents")))?;
    }
    Ok(())
}
