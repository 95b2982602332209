//! `rowbus bench`: what a bus does on the disk of whoever runs it.

pub(crate) mod args;
mod clock;
mod latency;
mod percentiles;
mod place;
mod progress;
mod publish;
mod receive;
mod replay;
mod report;

use std::path::Path;

use rowbus::{Durability, SqliteBus};
use tokio::sync::oneshot;

use crate::bench::args::{BenchArgs, Measure, What};
use crate::bench::place::Place;
use crate::bench::report::{Report, synchronous};
use crate::failure::{Failure, Result};
use crate::signals;
use crate::status::Status;
use crate::stdout::Output;

/// The subject of every message of a benchmark.
const SUBJECT: &str = "bench.measured";

const STOPPED: &str = "told to stop before there was a result";

pub(crate) async fn run(args: BenchArgs, db: &Path, status: &Status) -> Result<()> {
    let work = match args.what {
        What::Measure(work) => work,
        What::Receive => return receive::run(db).await,
    };
    let json = match &work {
        Measure::Pub(args) => args.output.json,
        Measure::Sub(args) => args.output.json,
        Measure::Latency(args) => args.output.json,
    };
    let place = Place::beside(db)?;
    let path = place.path().to_owned();
    let stop = signals::stop(move || match std::fs::remove_dir_all(&path) {
        Err(error) if path.exists() => format!("told to stop, and {} is left: {error}", path.display()),
        _ => STOPPED.to_owned(),
    })?;
    let outcome = measure(work, &place, stop, status).await;
    // Before anything is printed: a reader that takes nothing must not keep the folder.
    let removed = place.remove();
    let report = match (outcome, removed) {
        (Ok(report), Ok(())) => report,
        (Err(failure), Err(left)) => return Err(failure.after(left.message())),
        (Err(failure), _) | (_, Err(failure)) => return Err(failure),
    };
    let mut out = Output::new();
    let _somebody_reads = out.write(|out| report.write(out, json))? && out.flush()?;
    Ok(())
}

async fn measure(
    work: Measure,
    place: &Place,
    stop: oneshot::Receiver<()>,
    status: &Status,
) -> Result<Report> {
    let durability = match &work {
        Measure::Pub(args) => args.level.durability(),
        Measure::Sub(_) => Durability::Relaxed,
        Measure::Latency(args) => args.level.durability(),
    };
    let bus = SqliteBus::builder(place.db()).durability(durability).open().await?;
    let folder = place.path().display();
    status.say(&format!("measuring in {folder} with synchronous {}", synchronous(durability)));
    let outcome = match work {
        Measure::Pub(args) => unless_stopped(stop, publish::run(&bus, args, status)).await,
        Measure::Sub(args) => unless_stopped(stop, replay::run(&bus, args, status)).await,
        Measure::Latency(args) => latency::run(&bus, place, args, stop, status).await,
    };
    crate::finish(&bus, outcome).await
}

/// Does the work, until a signal says that nobody waits for it any more.
async fn unless_stopped<T>(stop: oneshot::Receiver<()>, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        _ = stop => Err(Failure::failed(STOPPED)),
        outcome = work => outcome,
    }
}
