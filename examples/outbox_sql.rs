//! A row of the app and the event that tells of it, in one transaction of the app's own: `cargo run --example outbox_sql`.
//!
//! `rowbus::sql` gives the statement and its parameters, and any driver can run it. Here that is rusqlite, on a connection
//! that the bus knows nothing of.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;

use chrono::Utc;
use rowbus::rusqlite::{Connection, Transaction, TransactionBehavior, params_from_iter, types};
use rowbus::{Messenger, MessengerExt, Publish, SqliteBus, sql};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");
    let bus = SqliteBus::open(&path).await?;
    let mut created = bus.stream("orders.created").await?;

    let mut app = Connection::open(&path)?;
    app.busy_timeout(std::time::Duration::from_secs(5))?;
    app.execute_batch("CREATE TABLE orders (item TEXT NOT NULL)")?;

    // Dropped without a commit: neither the order nor the event has happened.
    let tx = app.transaction_with_behavior(TransactionBehavior::Immediate)?;
    order(&tx, "anchovies")?;
    drop(tx);

    let tx = app.transaction_with_behavior(TransactionBehavior::Immediate)?;
    order(&tx, "one pizza")?;
    tx.commit()?;

    let orders: i64 = app.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    let event = created.next().await.ok_or("the bus was closed")??;
    println!("{orders} order; event {}: {}", event.sequence(), event.text().unwrap_or("?"));
    bus.close().await?;
    Ok(())
}

fn order(tx: &Transaction<'_>, item: &str) -> Result<(), Box<dyn Error>> {
    tx.execute("INSERT INTO orders (item) VALUES (?1)", [item])?;
    publish(tx, Publish::new("orders.created", item.to_owned()).header("Source", "app"))
}

/// Publishes in a transaction of rusqlite.
fn publish(tx: &Transaction<'_>, publish: Publish) -> Result<(), Box<dyn Error>> {
    let statement = sql::publish(publish, Utc::now().timestamp_millis())?;
    let params: Vec<_> = statement.params.into_iter().map(value).collect::<Result<_, _>>()?;
    tx.prepare_cached(statement.sql)?.execute(params_from_iter(params))?;
    Ok(())
}

fn value(value: sql::Value) -> Result<types::Value, Box<dyn Error>> {
    Ok(match value {
        sql::Value::Null => types::Value::Null,
        sql::Value::Integer(integer) => types::Value::Integer(integer),
        sql::Value::Text(text) => types::Value::Text(text),
        sql::Value::Blob(bytes) => types::Value::Blob(bytes),
        other => return Err(format!("a kind of value that is new to this program: {other:?}").into()),
    })
}
