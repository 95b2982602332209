//! One program on any bus: `cargo run --features nats --example anywhere [URL]`, with `memory:`, `sqlite:shop.db` or
//! `nats://127.0.0.1:4222`.
//!
//! A shop asks for prices, sells, and hears of each sale. What the bus has beyond that is asked of the bus, and not told by its URL.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;

use rowbus::{Call, DurableExt, HandlerError, Job, MessengerExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    let bus = rowbus::connect(&url).await?;
    let prices = bus.serve("price.*", price).await?;
    let mut sales = bus.stream("sold.*").await?;

    for fruit in ["apple", "pear", "durian"] {
        let price = match bus.request(format!("price.{fruit}"), "").await {
            Ok(reply) => reply.text().unwrap_or("?").to_owned(),
            Err(error) => {
                println!("not sold: {error}");
                continue;
            }
        };
        let ack = bus.publish(format!("sold.{fruit}"), price).await?;
        let sale = sales.next().await.ok_or("the bus was closed")??;
        let kept = if bus.capabilities().logged {
            format!("event {}", ack.sequence)
        } else {
            "kept by nobody".to_owned()
        };
        println!("{} for {}, {kept}", sale.subject(), sale.text().unwrap_or("?"));
    }
    prices.stop().await?;

    match bus.as_durable() {
        Ok(jobs) => {
            jobs.enqueue(Job::new("receipt.print", "all of today")).await?;
            println!("a job is left for the printer");
        }
        Err(error) => println!("no job for the printer: {error}"),
    }
    bus.close().await?;
    Ok(())
}

async fn price(call: Call) -> Result<&'static str, HandlerError> {
    match call.subject().as_str() {
        "price.apple" => Ok("20 cents"),
        "price.pear" => Ok("30 cents"),
        other => Err(HandlerError::new(format!("{other} is not known"))),
    }
}
