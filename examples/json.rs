//! Payloads as JSON: `cargo run --example json --features json`.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;

use rowbus::{ErrorKind, InMemBus, Messenger, MessengerExt, Publish};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = InMemBus::new();
    let mut orders = bus.stream("orders.*").await?;

    let order = Order { item: "pizza".to_owned(), count: 2 };
    bus.send(Publish::json("orders.created", &order)).await?;
    bus.publish("orders.created", "two pizzas, please").await?;

    for _ in 0..2 {
        let message = orders.next().await.ok_or("the bus was closed")??;
        match message.json::<Order>() {
            Ok(order) => println!("{} times {}", order.count, order.item),
            Err(error) if error.kind() == ErrorKind::Json => println!("passed over: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
