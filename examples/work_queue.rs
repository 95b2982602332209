//! A queue of jobs that are tried again until they are done, or given up on: `cargo run --example work_queue`.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowbus::{
    Backoff, Call, Dead, Durable, DurableExt, ErrorKind, Filter, HandlerError, Job, Messenger, MessengerExt,
    SqliteBus,
};

type Addresses = Arc<Mutex<HashSet<String>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let bus = SqliteBus::open(folder.path().join("app.db")).await?;
    let known = Addresses::new(Mutex::new(HashSet::from(["ada".to_owned(), "bob".to_owned()])));

    let addresses = Arc::clone(&known);
    let mail = bus.serve("mail.send", move |call: Call| send(call, Arc::clone(&addresses))).await?;

    // Enqueued, all or none, and safe on the disk before anybody waits for it.
    let letter = |to: &'static str| {
        // The default is 1 s, doubled up to 1 h, and 20 attempts.
        let soon = Backoff::exponential(Duration::from_millis(20), Duration::from_secs(1));
        Job::new("mail.send", to).backoff(soon).max_attempts(5)
    };
    let jobs = bus.enqueue_all(["ada", "bob", "eve"].map(letter)).await?;

    for job in &jobs {
        match job.reply().await {
            Ok(reply) => println!("{}", reply.text().unwrap_or("?")),
            Err(error) if error.kind() == ErrorKind::Handler => println!("given up: {error}"),
            Err(error) => return Err(error.into()),
        }
        for failure in job.info().await?.failures {
            println!("  attempt {} failed: {}", failure.attempt, failure.message);
        }
    }

    // What was given up on stays, as a whole copy, until somebody sees to it.
    let dead = bus.dead_letters(Dead::Of(Filter::new("mail.>")?), 0, 100).await?;
    for letter in &dead {
        let to = String::from_utf8_lossy(&letter.payload);
        println!("dead letter {} on {} ({}): {to}", letter.id, letter.subject, letter.reason);
    }
    known.lock().unwrap_or_else(PoisonError::into_inner).insert("eve".to_owned());
    for letter in dead {
        bus.requeue(Dead::Letter(letter.id)).await?;
        // It is the same job, with all of its attempts before it.
        if let Some(job) = letter.job() {
            println!("requeued: {}", bus.reply(job.clone()).await?.text().unwrap_or("?"));
        }
    }
    mail.stop().await?;
    bus.close().await?;
    Ok(())
}

/// Any error is a reason to try again later, unless it says that there is no use in it.
async fn send(call: Call, known: Addresses) -> Result<String, HandlerError> {
    let to = call.text().unwrap_or_default();
    if !known.lock().unwrap_or_else(PoisonError::into_inner).contains(to) {
        return Err(HandlerError::new(format!("nobody is called {to}")).fatal());
    }
    if to == "bob" && call.attempt() < 3 {
        return Err(HandlerError::new("the mail server is busy"));
    }
    Ok(format!("sent to {to} at attempt {}", call.attempt()))
}
