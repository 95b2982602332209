//! Two processes talk through one file: `cargo run --example quickstart`.
//!
//! The guest orders, and starts a second process of this program, the kitchen, which answers. Neither knows more of the
//! other than the path of the file.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::process::Command;

use rowbus::{Messenger, MessengerExt, SqliteBus, StartAt, Subscribe};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        None => guest().await,
        Some(path) => kitchen(Path::new(&path)).await,
    }
}

/// The first process: orders dish by dish, and waits for each.
async fn guest() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");
    let bus = SqliteBus::open(&path).await?;
    let mut served = bus.stream("dish.*").await?;

    let mut kitchen = Command::new(std::env::current_exe()?).arg(&path).spawn()?;
    for dish in ["soup", "pizza", "coffee"] {
        let ack = bus.publish("order.placed", dish).await?;
        say("guest", format_args!("ordered {dish}, event {}", ack.sequence));

        let answer = served.next().await.ok_or("the bus was closed")??;
        say("guest", format_args!("got {} on {}", answer.text().unwrap_or("?"), answer.subject()));
    }
    bus.publish("order.closed", "").await?;
    kitchen.wait()?;
    bus.close().await?;
    Ok(())
}

/// The second process: serves what is ordered until there is no more to come.
async fn kitchen(path: &Path) -> Result<(), Box<dyn Error>> {
    let bus = SqliteBus::open(path).await?;
    // From the oldest event on: the first order was placed before this process was there.
    let mut orders = bus.subscribe(Subscribe::to("order.*").from(StartAt::Oldest)).await?;
    while let Some(order) = orders.next().await.transpose()? {
        if order.subject() == "order.closed" {
            break;
        }
        let dish = order.text().unwrap_or("?");
        say("kitchen", format_args!("makes {dish} for event {}", order.sequence()));
        bus.publish("dish.served", format!("hot {dish}")).await?;
    }
    bus.close().await?;
    Ok(())
}

fn say(role: &str, what: impl Display) {
    println!("[{role} {}] {what}", std::process::id());
}
