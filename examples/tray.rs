//! A tray app and its helper, in two processes: `cargo run --example tray`.
//!
//! The tray starts a second process of this program, the helper, and asks it for two things that take their time: one shows
//! how far it is, the other is not wanted any more before it is done.
#![allow(clippy::print_stdout, reason = "what an example does is seen by what it prints")]

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rowbus::{Call, HandlerError, Messenger, MessengerExt, Request, SqliteBus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        None => tray().await,
        Some(path) => helper(Path::new(&path)).await,
    }
}

/// The first process: asks, shows progress, and changes its mind.
async fn tray() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");
    let bus = SqliteBus::open(&path).await?;
    // What is asked before the helper is there waits for it.
    let mut helper = Command::new(std::env::current_exe()?).arg(&path).spawn()?;

    let mut replies = bus.request_stream("folder.index", "3").await?;
    while let Some(reply) = replies.next().await.transpose()? {
        let what = if reply.is_final() { "done" } else { "progress" };
        say("tray", format_args!("{what}: {}", reply.text().unwrap_or("?")));
    }

    // A request waits 10 s for its final reply, unless it says otherwise.
    let convert = Request::to("video.convert", "holiday.mov").timeout(Duration::from_secs(600));
    let mut replies = bus.call_stream(convert).await?;
    let begun = replies.next().await.ok_or("no reply")??;
    say("tray", format_args!("progress: {}", begun.text().unwrap_or("?")));
    // Whoever does not wait any more says so by dropping it.
    drop(replies);
    say("tray", "cancelled");

    bus.publish("tray.closed", "").await?;
    helper.wait()?;
    bus.close().await?;
    Ok(())
}

/// The second process: does what it is asked for until the tray is closed.
async fn helper(path: &Path) -> Result<(), Box<dyn Error>> {
    let bus = SqliteBus::open(path).await?;
    let mut closed = bus.stream("tray.closed").await?;
    let index = bus.serve("folder.index", index_folder).await?;
    let convert = bus.serve("video.convert", convert_video).await?;
    closed.next().await.transpose()?;
    // In good order: a handler that runs has time to come to its end.
    index.stop().await?;
    convert.stop().await?;
    bus.close().await?;
    Ok(())
}

async fn index_folder(call: Call) -> Result<String, HandlerError> {
    let files: u32 = call.text().unwrap_or_default().parse()?;
    for file in 1..=files {
        tokio::time::sleep(Duration::from_millis(10)).await; // the work
        call.part(format!("{file} of {files} files")).await?;
    }
    Ok(format!("{files} files are indexed"))
}

async fn convert_video(call: Call) -> Result<&'static str, HandlerError> {
    call.part("begun").await?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(300)) => Ok("converted"), // the work
        () = call.cancelled() => {
            say("helper", "stopped: nobody waits for the video any more");
            Err(HandlerError::new("cancelled"))
        }
    }
}

fn say(role: &str, what: impl Display) {
    println!("[{role} {}] {what}", std::process::id());
}
