//! One program, two backends, picked at run time: `cargo run --example in_memory [FILE]`.
//!
//! Unit tests of an app give it a bus in memory; the app itself opens a file.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;
use std::sync::Arc;

use rowbus::{InMemBus, Messenger, MessengerExt, SqliteBus, Subscription};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus: Arc<dyn Messenger> = match std::env::args_os().nth(1) {
        None => Arc::new(InMemBus::new()),
        Some(file) => Arc::new(SqliteBus::open(file).await?),
    };
    println!("durable: {}", bus.capabilities().durable);

    let greetings = bus.stream("greeting.*").await?;
    let reader = tokio::spawn(read(greetings));
    for name in ["Ada", "Bob"] {
        bus.publish(format!("greeting.{name}"), "hello").await?;
    }
    // Ends the stream behind what was published.
    bus.close().await?;
    println!("{} greetings", reader.await??);
    Ok(())
}

async fn read(mut greetings: Subscription) -> rowbus::Result<usize> {
    let mut count = 0;
    while let Some(message) = greetings.next().await.transpose()? {
        println!("{}: {}", message.subject(), message.text().unwrap_or("?"));
        count += 1;
    }
    Ok(count)
}
