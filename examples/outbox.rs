//! An order, the event that tells of it and the job that it makes, in one transaction: `cargo run --example outbox`.
//!
//! Once on a connection of the app's own, and once on that of the bus. With another driver than rusqlite, see `outbox_sql`.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;
use std::time::Duration;

use rowbus::rusqlite::{Connection, TransactionBehavior};
use rowbus::sqlite::{enqueue_in, publish_in};
use rowbus::{Call, DurableExt, Job, JobId, Messenger, MessengerExt, Publish, SqliteBus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");
    let bus = SqliteBus::open(&path).await?;
    let mut created = bus.stream("orders.created").await?;
    let bake = |call: Call| async move { Ok(format!("baked {}", call.text().unwrap_or("?"))) };
    let oven = bus.serve("oven.bake", bake).await?;

    let mut app = Connection::open(&path)?;
    app.busy_timeout(Duration::from_secs(5))?;
    app.execute_batch("CREATE TABLE orders (item TEXT NOT NULL)")?;

    let mut jobs = Vec::new();
    for (item, commit) in [("anchovies", false), ("pizza", true)] {
        let tx = app.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("INSERT INTO orders (item) VALUES (?1)", [item])?;
        publish_in(&tx, Publish::new("orders.created", item))?;
        let job = enqueue_in(&tx, Job::new("oven.bake", item))?;
        // Dropped without a commit, it leaves nothing behind: no order, no event and no job.
        if commit {
            tx.commit()?;
            jobs.push(job);
        }
    }

    // The same without a connection of the app's own: all of it if the closure returns Ok, else nothing.
    let job: JobId = bus
        .transaction(|tx| {
            tx.execute("INSERT INTO orders (item) VALUES (?1)", ["pasta"])?;
            tx.publish(Publish::new("orders.created", "pasta"))?;
            tx.enqueue(Job::new("oven.bake", "pasta"))
        })
        .await?;
    jobs.push(job);

    for job in jobs {
        let event = created.next().await.ok_or("the bus was closed")??;
        let done = bus.reply(job).await?;
        let (event_text, done) = (event.text().unwrap_or("?"), done.text().unwrap_or("?"));
        println!("event {}: {event_text}; job: {done}", event.sequence());
    }
    let orders: i64 = app.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    println!("{orders} orders");
    oven.stop().await?;
    bus.close().await?;
    Ok(())
}
