//! The `rowbus` command: publish, stream, ask and serve on a bus in one SQLite file, and measure one on this disk.
//!
//! Data goes to standard output, status and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 3 timed out or nothing there.

mod args;
mod backup;
mod bench;
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
mod peers;
mod publish;
mod reply;
mod request;
mod retention;
mod salvage;
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
mod wait;

use std::path::Path;
use std::process::ExitCode;

use rowbus::sqlite::Migrate;
use rowbus::{Messenger, SqliteBus};

use crate::args::{Cli, Verb};
use crate::failure::{Failure, Result};
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
    runtime.block_on(async {
        let status = Status::new(cli.quiet, &cli.db);
        // Mistakes of usage are found before a file is made.
        match cli.verb {
            Verb::Pub(args) => {
                let task = args.check()?;
                let bus = open(&cli.db).await?;
                finish(&bus, publish::run(&bus, task, &status).await).await
            }
            Verb::Sub(args) => {
                let task = args.check()?;
                let bus = open(&cli.db).await?;
                finish(&bus, subscribe::run(&bus, task, &status).await).await
            }
            Verb::Request(args) => {
                let task = args.check()?;
                let bus = open(&cli.db).await?;
                finish(&bus, request::run(&bus, task).await).await
            }
            Verb::Serve(args) => {
                let task = args.check()?;
                let bus = open(&cli.db).await?;
                finish(&bus, serve::run(&bus, task, &status).await).await
            }
            Verb::Enqueue(args) => {
                let task = args.check()?;
                let bus = open(&cli.db).await?;
                finish(&bus, enqueue::run(&bus, task, &status).await).await
            }
            Verb::Job(args) => {
                let bus = open_existing(&cli.db).await?;
                finish(&bus, job::run(&bus, args, &status).await).await
            }
            Verb::Dead(args) => {
                let task = args.check()?;
                let bus = open_existing(&cli.db).await?;
                finish(&bus, dead::run(&bus, task, &status).await).await
            }
            Verb::Consumer(args) => {
                let bus = open_existing(&cli.db).await?;
                finish(&bus, consumer::run(&bus, args, &status).await).await
            }
            Verb::Retention(args) => {
                let task = args.check()?;
                let bus = open_existing(&cli.db).await?;
                finish(&bus, retention::run(&bus, task, &status).await).await
            }
            Verb::Peers(args) => {
                let bus = open_existing(&cli.db).await?;
                finish(&bus, peers::run(&bus, args, &status).await).await
            }
            Verb::Backup(args) => {
                let bus = open_existing(&cli.db).await?;
                finish(&bus, backup::run(&bus, args, &status).await).await
            }
            Verb::Export(args) => export::run(&cli.db, args.check()?, &status),
            Verb::Import(args) => import::run(&cli.db, args, &status).await,
            Verb::Salvage(args) => salvage::run(args, &status),
            Verb::Stats(args) => stats::run(args, &cli.db, &status).await,
            Verb::Doctor(args) => doctor::run(args, &cli.db, status.is_quiet()).await,
            Verb::Bench(args) => bench::run(args, &cli.db, &status).await,
        }
    })
}

/// Opens the bus in this file, and makes one where there is none yet. The file of another program is never migrated in
/// passing: that is for the program to do.
async fn open(db: &Path) -> Result<SqliteBus> {
    Ok(SqliteBus::builder(db).migrate(Migrate::NewFiles).open().await?)
}

/// Opens the bus in this file for a verb that only concerns what is there: looking makes no file.
async fn open_existing(db: &Path) -> Result<SqliteBus> {
    Ok(SqliteBus::builder(db).migrate(Migrate::NewFiles).create(false).open().await?)
}

/// Closes the bus; the verb's own failure is the one to tell of.
async fn finish<T>(bus: &SqliteBus, outcome: Result<T>) -> Result<T> {
    let closed = bus.close().await;
    let done = outcome?;
    closed?;
    Ok(done)
}
