//! A consumer goes on where it was, whatever became of its process: `cargo run --example indexer`.
//!
//! The program starts itself twice as an indexer. The first one dies with an article in its hands; the second one begins
//! with that article, and not with the first.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::process::Command;

use rowbus::{AckPolicy, Consumer, Durable, Messenger, MessengerExt, SqliteBus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        None => editor().await,
        Some(path) => index(Path::new(&path), args.next().is_some()).await,
    }
}

/// Writes articles, and has them indexed by one process after another.
async fn editor() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");
    let bus = SqliteBus::open(&path).await?;
    for title in ["ants", "bees", "cats", "dogs", "eels"] {
        bus.publish("article.written", title).await?;
    }
    let indexer = || Ok::<_, std::io::Error>(Command::new(std::env::current_exe()?));
    let died = indexer()?.arg(&path).arg("and die").status()?;
    say("editor", format_args!("the first one ended well: {}", died.success()));
    indexer()?.arg(&path).status()?;

    let info = bus.consumer_info("indexer").await?;
    say("editor", format_args!("indexed up to event {}, {} are left", info.ack_floor, info.num_pending));
    bus.close().await?;
    Ok(())
}

/// Indexes what there is.
async fn index(path: &Path, dies: bool) -> Result<(), Box<dyn Error>> {
    let bus = SqliteBus::open(path).await?;
    // One member at a time gets the events, in order. Without a start, a new one begins with the oldest.
    let consumer = Consumer::durable("indexer").filter("article.*").ack_policy(AckPolicy::Cumulative);
    let mut articles = bus.consumer(consumer).await?;
    while let Some(article) = articles.next().await.transpose()? {
        say("indexer", format_args!("event {}: {}", article.sequence(), article.text().unwrap_or("?")));
        if dies && article.text() == Some("cats") {
            std::process::exit(1);
        }
        // Moves the position: everything up to here is done with.
        article.ack().await?;
        if article.text() == Some("eels") {
            break;
        }
    }
    articles.leave().await?;
    bus.close().await?;
    Ok(())
}

fn say(role: &str, what: impl Display) {
    println!("[{role} {}] {what}", std::process::id());
}
