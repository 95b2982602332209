//! Three workers in three processes share a feed: `cargo run --example workers`.
//!
//! Each event is one worker's until it is acknowledged. What failed comes again, to any of them; what fails always ends as
//! a dead letter, and holds up nobody.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rowbus::{
    Backoff, Consumer, Dead, Delivery, Durable, Filter, HandlerError, Messenger, MessengerExt, SqliteBus,
    StartAt, Subscribe,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        None => camera().await,
        Some(path) => worker(Path::new(&path)).await,
    }
}

/// What all of them open: options that are not given are as they were, so that one place is enough.
fn pictures() -> Consumer {
    let consumer = Consumer::durable("workers").filter("picture.*");
    // The default is 1 s, doubled up to 1 h, and 20 deliveries.
    consumer.backoff(Backoff::fixed(Duration::from_millis(20))).max_deliver(3)
}

/// The first process: takes pictures, and waits until all are seen to.
async fn camera() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");
    let bus = SqliteBus::open(&path).await?;
    bus.consumer(pictures()).await?.leave().await?;
    let worker = || Command::new(std::env::current_exe()?).arg(&path).spawn();
    let mut workers = [worker()?, worker()?, worker()?];
    // What was published before they are there is theirs too; but each is to get its share here. (Not every system can tell
    // how many they are.)
    while bus.consumer_info("workers").await?.members.is_some_and(|members| members < 3) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for picture in 1..=12 {
        bus.publish("picture.taken", format!("{picture}.jpg")).await?;
    }

    while bus.consumer_info("workers").await?.ack_floor < 12 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for letter in bus.dead_letters(Dead::Of(Filter::new("picture.*")?), 0, 10).await? {
        let (picture, last) = (String::from_utf8_lossy(&letter.payload), letter.failures.last());
        let why = last.map_or("?", |failure| &failure.message);
        say("camera", format_args!("{picture} is a dead letter after {} deliveries: {why}", letter.attempts));
    }
    bus.publish("camera.off", "").await?;
    for worker in &mut workers {
        worker.wait()?;
    }
    bus.close().await?;
    Ok(())
}

/// The others: each takes what nobody else has, until the camera is off.
async fn worker(path: &Path) -> Result<(), Box<dyn Error>> {
    let bus = SqliteBus::open(path).await?;
    let mut off = bus.subscribe(Subscribe::to("camera.off").from(StartAt::Oldest)).await?;
    let mut inbox = bus.consumer(pictures()).await?;
    loop {
        tokio::select! {
            delivery = inbox.next() => develop(&delivery.ok_or("the bus was closed")??).await?,
            _ = off.next() => break,
        }
    }
    inbox.leave().await?;
    bus.close().await?;
    Ok(())
}

/// Says of one picture that it is done, or how it is to go on.
async fn develop(delivery: &Delivery) -> rowbus::Result<()> {
    let (picture, attempt) = (delivery.text().unwrap_or("?"), delivery.attempt());
    // As if it took its time.
    tokio::time::sleep(Duration::from_millis(30)).await;
    match picture {
        "4.jpg" if attempt == 1 => {
            say("worker", format_args!("{picture} is too large for now"));
            delivery.nack(Duration::from_millis(50)).await
        }
        "7.jpg" => {
            say("worker", format_args!("{picture} fails at attempt {attempt}"));
            delivery.fail(HandlerError::new("it is no picture")).await
        }
        _ => {
            say("worker", format_args!("{picture} is done at attempt {attempt}"));
            delivery.ack().await
        }
    }
}

fn say(role: &str, what: impl Display) {
    println!("[{role} {}] {what}", std::process::id());
}
