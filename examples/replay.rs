//! The log is kept, and a stream may begin anywhere in it: `cargo run --example replay`.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;

use rowbus::{Messenger, MessengerExt, SqliteBus, StartAt, Subscribe};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let bus = SqliteBus::open(folder.path().join("app.db")).await?;
    bus.publish("sensor.attic", "18.5").await?;
    bus.publish("sensor.cellar", "11.0").await?;
    bus.publish("sensor.attic", "19.0").await?;
    bus.publish("door.front", "open").await?;
    bus.publish("sensor.attic", "21.5").await?;

    show(&bus, "everything there is", StartAt::Oldest).await?;
    show(&bus, "from a sequence on", StartAt::Sequence(3)).await?;
    show(&bus, "where each sensor stands", StartAt::LastPerSubject).await?;

    // The state of one subject takes no stream.
    let attic = bus.last("sensor.attic".try_into()?).await?.ok_or("no event")?;
    println!("the attic has {} degrees, says event {}", attic.text().unwrap_or("?"), attic.sequence());
    bus.close().await?;
    Ok(())
}

async fn show(bus: &SqliteBus, what: &str, start: StartAt) -> Result<(), Box<dyn Error>> {
    println!("{what}:");
    let mut stream = bus.subscribe(Subscribe::to("sensor.*").from(start)).await?;
    // A stream goes on with what is new. This one ends with what has been published by now.
    stream.unsubscribe().await?;
    while let Some(message) = stream.next().await.transpose()? {
        println!("  {} {} {}", message.sequence(), message.subject(), message.text().unwrap_or("?"));
    }
    Ok(())
}
