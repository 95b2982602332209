//! `rowbus bench`: what a bus does on the disk of whoever runs it.

mod answer;
pub(crate) mod args;
mod clock;
mod histogram;
mod latency;
mod measured;
mod percentiles;
mod place;
mod progress;
mod publish;
mod queue;
mod raw;
mod receive;
mod replay;
mod report;
mod rpc;
mod second;
mod site;

use std::io::IsTerminal;
use std::path::Path;

use crate::address::Address;
use crate::bench::args::{BenchArgs, Compare, Measure, What};
use crate::bench::measured::Measured;
use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::report::{Look, Report, synchronous};
use crate::bench::site::Site;
use crate::failure::{Failure, Result};
use crate::signals::Stop;
use crate::status::Status;
use crate::stdout::Output;

/// The subject of every message in a file of its own.
const SUBJECT: &str = "bench.measured";

const STOPPED: &str = "told to stop before there was a result";

pub(crate) async fn run(args: BenchArgs, address: &Address, status: &Status) -> Result<()> {
    let work = match args.what {
        What::Measure(work) => work,
        What::Receive(second) if second.raw => return raw::receive(address.path("bench")?).await,
        What::Receive(second) => return receive::run(address, &second.subject).await,
        What::Answer(second) if second.raw => return raw::answer(address.path("bench")?).await,
        What::Answer(second) => return answer::run(address, &second.subject).await,
    };
    let place = place(&work, address)?;
    let path = place.as_ref().map(|place| place.path().to_owned());
    let stop = Stop::listen()?;
    stop.or_leave(move || match path.map(|path| (std::fs::remove_dir_all(&path), path)) {
        Some((Err(error), path)) if path.exists() => {
            format!("told to stop, and {} is left: {error}", path.display())
        }
        _ => STOPPED.to_owned(),
    });
    let outcome = measure(&work, address, place.as_ref(), stop, status).await;
    // Before anything is printed: a reader that takes nothing must not keep the folder.
    let removed = place.map_or(Ok(()), Place::remove);
    let (bus, raw) = match (outcome, removed) {
        (Ok(measured), Ok(())) => measured,
        (Err(failure), Err(left)) => return Err(failure.after(left.message())),
        (Err(failure), _) | (_, Err(failure)) => return Err(failure),
    };
    let report = Report::of(&work, address, bus, raw);
    let look = match work.output().json {
        true => Look::Json,
        false => Look::People { has_histogram: std::io::stdout().is_terminal() },
    };
    let mut out = Output::new();
    let _somebody_reads = out.write(|out| report.write(out, look))? && out.flush()?;
    Ok(())
}

/// Room on the disk. A bus on a server needs none, but what it is compared with.
fn place(work: &Measure, address: &Address) -> Result<Option<Place>> {
    match address {
        Address::File { path, .. } => Place::beside(path).map(Some),
        Address::Server(_) => work.output().compare.map(|_| Place::beside(Path::new("."))).transpose(),
    }
}

/// What the bus has done, and what bare SQLite has, if it is to be compared.
async fn measure(
    work: &Measure,
    address: &Address,
    place: Option<&Place>,
    stop: Stop,
    status: &Status,
) -> Result<(Measured, Option<Measured>)> {
    let durability = work.durability();
    let site = match (address, place) {
        (Address::File { .. }, Some(place)) => {
            let folder = place.path().display();
            status.say(&format!("measuring in {folder} with synchronous {}", synchronous(durability)));
            Site::in_folder(place, durability).await?
        }
        _ => {
            let site = unless_stopped(stop.clone(), Site::on_server(address)).await?;
            status.say(&format!("measuring on {} ({})", site.subject, address.shown()));
            site
        }
    };
    let outcome = measure_bus(&site, work, stop.clone(), status).await;
    let measured = crate::finish(&*site.bus, outcome).await?;
    let raw = match (work.output().compare, place) {
        (Some(Compare::Raw), Some(place)) => Some(measure_raw(work, place, stop, status).await?),
        _ => None,
    };
    Ok((measured, raw))
}

/// Asks for no more than the contract: any bus can be measured.
async fn measure_bus(site: &Site, work: &Measure, stop: Stop, status: &Status) -> Result<Measured> {
    let progress = |what, messages| Progress::new(status, what, messages);
    match work {
        Measure::Pub(args) => {
            unless_stopped(stop, publish::run(site, args, progress("publishing", args.messages)?)).await
        }
        Measure::Sub(args) => {
            let filled = replay::fill(site, args, progress("filling", args.messages)?);
            unless_stopped(stop.clone(), filled).await?;
            unless_stopped(stop, replay::run(site, args, progress("reading", args.messages)?)).await
        }
        Measure::Queue(args) => {
            let (bus, subject) = (site.bus.as_durable()?, &site.subject);
            let filled = queue::fill(&*bus, subject, args, progress("enqueueing", args.messages)?);
            unless_stopped(stop.clone(), filled).await?;
            unless_stopped(stop, queue::run(&*bus, subject, args, progress("working", args.messages)?)).await
        }
        // The second process has to end as well.
        Measure::Latency(args) => {
            latency::run(site, args, progress("delivering", args.messages)?, stop).await
        }
        Measure::Rpc(args) => rpc::run(site, args, progress("asking", args.messages)?, stop).await,
    }
}

async fn measure_raw(work: &Measure, place: &Place, stop: Stop, status: &Status) -> Result<Measured> {
    let progress = |messages| Progress::new(status, "bare SQLite", messages);
    match work {
        Measure::Pub(args) => raw::publish(place, args, progress(args.messages)?, stop).await,
        Measure::Sub(args) => raw::replay(place, args, progress(args.messages)?, stop).await,
        Measure::Queue(args) => raw::queue(place, args, progress(args.messages)?, stop).await,
        Measure::Latency(args) => raw::deliver(place, args, progress(args.messages)?, stop).await,
        Measure::Rpc(args) => raw::ask(place, args, progress(args.messages)?, stop).await,
    }
}

/// Does the work, until a signal says that nobody waits for it any more.
async fn unless_stopped<T>(stop: Stop, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = stop.told() => Err(Failure::failed(STOPPED)),
        outcome = work => outcome,
    }
}
