//! The `rowbus` command: publish, stream, ask and serve on a bus in one SQLite file or on a server, and measure one on this disk.
//!
//! Data goes to standard output, status and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 3 timed out or nothing there.

mod address;
mod args;
mod backup;
mod bench;
mod bridge;
mod colour;
mod completions;
mod connection;
mod consumer;
mod content;
mod dead;
mod doctor;
mod duration;
mod enqueue;
mod escape;
mod export;
mod failure;
mod failures;
mod format;
mod import;
mod job;
mod json;
mod migrate;
mod peers;
mod publish;
mod reply;
mod request;
mod retention;
mod salvage;
mod screen;
mod serve;
mod signals;
mod size;
mod start;
mod stats;
mod status;
mod stdin;
mod stdout;
mod subscribe;
mod time;
mod top;
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use rowbus::Messenger;

use crate::args::{Cli, Verb};
use crate::failure::{Failure, Result};
use crate::signals::Stop;
use crate::status::Status;

fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<()> {
    // One worker beside this thread, so that a signal is noticed while this one is blocked in writing to a full pipe.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("starting the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        let address = cli.address.find()?;
        let status = Status::new(cli.quiet, address.shown());
        if address.is_server() {
            connection::tell(&status);
        }
        // Mistakes of usage are found before a file is made.
        match cli.verb {
            Verb::Pub(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.open()).await??;
                finish_in_time(&*bus, &stop, publish::run(&*bus, task, &stop, &status).await).await
            }
            Verb::Sub(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.open()).await??;
                finish_in_time(&*bus, &stop, subscribe::run(&*bus, task, &stop, &status).await).await
            }
            Verb::Request(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.open()).await??;
                finish_in_time(&*bus, &stop, request::run(&*bus, task, &stop).await).await
            }
            Verb::Serve(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.open()).await??;
                finish_in_time(&*bus, &stop, serve::run(&*bus, &address, task, &stop, &status).await).await
            }
            Verb::Enqueue(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.open()).await??;
                finish_in_time(&*bus, &stop, enqueue::run(&*bus, task, &stop, &status).await).await
            }
            Verb::Job(args) => {
                let stop = Stop::listen()?;
                let bus = stop.unless_told(address.open_existing()).await??;
                finish_in_time(&*bus, &stop, job::run(&*bus, args, &stop, &status).await).await
            }
            Verb::Dead(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.open_existing()).await??;
                let outcome = stop.unless_told(dead::run(&*bus, task, &status)).await.flatten();
                finish_in_time(&*bus, &stop, outcome).await
            }
            Verb::Consumer(args) => {
                let stop = Stop::listen()?;
                let bus = stop.unless_told(address.open_existing()).await??;
                let outcome = stop.unless_told(consumer::run(&*bus, args, &status)).await.flatten();
                finish_in_time(&*bus, &stop, outcome).await
            }
            Verb::Retention(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.open_file("retention")).await??;
                let outcome = stop.unless_told(retention::run(&bus, task, &status)).await.flatten();
                finish_in_time(&bus, &stop, outcome).await
            }
            Verb::Peers(args) => {
                let stop = Stop::listen()?;
                let bus = stop.unless_told(address.open_file("peers")).await??;
                let outcome = stop.unless_told(peers::run(&bus, args, &status)).await.flatten();
                finish_in_time(&bus, &stop, outcome).await
            }
            Verb::Backup(args) => backup::run(address.path("backup")?, args, &Stop::listen()?, &status).await,
            Verb::Export(args) => {
                export::run(address.path("export")?, args.check()?, &Stop::listen()?, &status)
            }
            Verb::Import(args) => import::run(address.path("import")?, args, &Stop::listen()?, &status).await,
            Verb::Salvage(args) => salvage::run(args, &Stop::listen()?, &status),
            Verb::Stats(args) => stats::run(args, address.path("stats")?, &status).await,
            Verb::Top(args) => top::run(args, address.path("top")?).await,
            Verb::Doctor(args) => doctor::run(args, address.path("doctor")?, status.is_quiet()).await,
            Verb::Migrate(args) => migrate::run(args, address.path("migrate")?, &status).await,
            Verb::Completions(args) => completions::run(&args),
            Verb::Bridge(args) => {
                let (task, stop) = (args.check()?, Stop::listen()?);
                let bus = stop.unless_told(address.make_file("bridge")).await??;
                finish_in_time(&bus, &stop, bridge::run(&bus, task, &stop, &status).await).await
            }
            Verb::Bench(args) => bench::run(args, &address, &status).await,
        }
    });
    runtime.shutdown_timeout(AT_THE_END);
    outcome
}

/// How long threads that still wait for a file are waited for: what they do is whole or not at all.
const AT_THE_END: Duration = Duration::from_millis(500);

/// Closes the bus, as long as there is time for it; the verb's own failure is the one to tell of.
async fn finish_in_time<T>(bus: &dyn Messenger, stop: &Stop, outcome: Result<T>) -> Result<T> {
    let closed = stop.in_time(bus.close()).await;
    let done = outcome?;
    closed.unwrap_or(Ok(()))?;
    Ok(done)
}

/// Closes the bus; the verb's own failure is the one to tell of.
async fn finish<T>(bus: &dyn Messenger, outcome: Result<T>) -> Result<T> {
    let closed = bus.close().await;
    let done = outcome?;
    closed?;
    Ok(done)
}
