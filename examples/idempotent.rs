//! Publishing again without publishing twice, and publishing only what still holds: `cargo run --example idempotent`.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;

use rowbus::{ErrorKind, Messenger, Publish, SqliteBus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let bus = SqliteBus::open(folder.path().join("app.db")).await?;

    // Whoever does not know whether a publish came through repeats it with its id.
    for attempt in 1..=2 {
        let ack = bus.send(Publish::new("invoice.sent", "17.00").message_id("invoice-2026-17")).await?;
        println!("attempt {attempt}: event {}, duplicate: {}", ack.sequence, ack.duplicate);
    }

    // Two clerks have seen the same stock, and each sells the last one of it.
    let seen = bus.send(Publish::new("stock.chairs", "1 left").expect_last(0)).await?.sequence;
    for clerk in ["Ada", "Bob"] {
        let sold = Publish::new("stock.chairs", format!("0 left, sold by {clerk}")).expect_last(seen);
        match bus.send(sold).await {
            Ok(ack) => println!("{clerk} sold it: event {}", ack.sequence),
            Err(error) => match error.kind() {
                ErrorKind::WrongSequence { actual, .. } => {
                    println!("{clerk} came too late: event {actual} was first");
                }
                _ => return Err(error.into()),
            },
        }
    }
    bus.close().await?;
    Ok(())
}
