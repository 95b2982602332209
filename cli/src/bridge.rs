//! `rowbus bridge`.

use std::time::Duration;

use clap::Args;
use rowbus::bridge::{Bridge, BridgeState, BridgeStatus, Forward};
use rowbus::{Durable, Filter, NatsBus, SqliteBus};

use crate::duration;
use crate::failure::{Failure, Result};
use crate::signals::Stop;
use crate::start::Start;
use crate::status::Status;
use crate::wait;

/// Between two lines that only say how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  rowbus bridge --to nats://hub:4222 --filter 'orders.>' --prefix till-7
  rowbus bridge --to tls://hub:4222 --filter 'orders.>' --stream ORDERS --create-stream
  rowbus bridge --to nats://hub:4222 --filter '>' --name offsite --once --wait 10m --json";

/// Forward events to a stream of NATS JetStream
///
/// Every event that a filter matches is stored in the stream once, in the order of the file, through crashes of either side and weeks
/// without a line: the position is in the file, as that of a consumer bridge:NAME, which `rowbus consumer` shows, moves, pauses
/// and removes. Of several bridges of one name on a file one works, and the others stand by.
///
/// What the stream can never take (too large, a subject that it does not have) is kept as a dead letter of the file. For a stream
/// that is missing or full, and for a server that cannot be reached, it waits.
///
/// How it fares is told on standard error when something changes, and every 10 s while events are forwarded. Told to stop by
/// Ctrl-C, SIGTERM or a terminal that goes, it waits for what is under way. With --once, exit code 3 if not all was forwarded within --wait.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BridgeArgs {
    /// The server, as nats://host:4222 or tls://user:password@host
    #[arg(long, value_name = "URL")]
    to: String,

    /// What to forward, as in orders.>; may be given several times
    #[arg(long = "filter", value_name = "FILTER", required = true)]
    filters: Vec<String>,

    /// The stream; unless given, the one that takes these subjects
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,

    /// Make the stream if there is none
    #[arg(long, requires = "stream")]
    create_stream: bool,

    /// What to put in front of each subject, with a dot
    #[arg(long, value_name = "SUBJECT")]
    prefix: Option<String>,

    /// The bridge's name, which its position is kept under
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,

    /// Where a new bridge begins: oldest, new, a sequence, a time, or an age (10m, 2h, 7d)
    #[arg(long, value_name = "START", default_value = "oldest")]
    from: Start,

    /// End when all that there is has been forwarded
    #[arg(long)]
    once: bool,

    /// With --once, how long to try, as in 30s or 10m
    #[arg(long, value_name = "DURATION", requires = "once", value_parser = duration::argument)]
    wait: Option<Duration>,

    /// Write the status as one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A bridge to begin, checked as far as that can be done without the file.
pub(crate) struct Task {
    forward: Forward,
    url: String,
    name: String,
    once: bool,
    wait: Option<Duration>,
    json: bool,
}

impl BridgeArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let filters =
            self.filters.iter().map(|filter| Filter::new(filter)).collect::<rowbus::Result<Vec<_>>>()?;
        let (first, rest) = filters.split_first().ok_or_else(|| Failure::usage("--filter is missing"))?;
        let forward = Bridge::forward(first.clone()).name(&self.name).from(self.from.0);
        let forward = rest.iter().fold(forward, |forward, filter| forward.filter(filter.clone()));
        let forward = match &self.stream {
            Some(stream) => forward.stream(stream).create_stream(self.create_stream),
            None => forward,
        };
        let forward = match self.prefix.as_deref() {
            Some(prefix) => forward.prefix(prefix),
            None => forward,
        };
        let forward = forward.checked()?;
        Ok(Task { forward, url: self.to, name: self.name, once: self.once, wait: self.wait, json: self.json })
    }
}

pub(crate) async fn run(bus: &SqliteBus, task: Task, stop: &Stop, status: &Status) -> Result<()> {
    stop.or_leave(|| "ended at once: what was under way is looked for by the next bridge".to_owned());
    let deadline = task.wait.and_then(|time| tokio::time::Instant::now().checked_add(time));
    // A server that cannot be reached yet is one that is waited for.
    let connect = NatsBus::builder(&task.url).retry_first_connect(true).connect();
    let nats = connect.await?;
    let bridge = task.forward.clone().to(&nats).start(bus).await?;
    let mut told = Told::default();
    let mut seen = bridge.status();
    let outcome = loop {
        told.tell(&seen, &task, status);
        if seen.state == BridgeState::Stopped {
            break bridge.ended().await.map_err(Failure::from);
        }
        if task.once && is_done(bus, &task, &seen).await? {
            break Ok(());
        }
        let before = seen.clone();
        let wakes = tokio::time::Instant::now() + if task.once { AGAIN } else { PROGRESS };
        tokio::select! {
            status = bridge.wait_for(|now| differs(now, &before)) => seen = status,
            () = tokio::time::sleep_until(wakes) => seen = bridge.status(),
            () = stop.told() => break Ok(()),
            () = wait::until(deadline) => {
                let message = format!("not all was forwarded in time; {}", line(&bridge.status()));
                break Err(Failure::nothing_there(message));
            }
        }
    };
    let stopped = bridge.stop().await;
    told.tell(&bridge.status(), &task, status);
    outcome.and(stopped.map_err(Failure::from))
}

/// How often it is looked at whether all was forwarded.
const AGAIN: Duration = Duration::from_millis(100);

/// Whether nothing that there is waits to be forwarded.
async fn is_done(bus: &SqliteBus, task: &Task, seen: &BridgeStatus) -> Result<bool> {
    if seen.state != BridgeState::Forwarding {
        return Ok(false);
    }
    let info = bus.consumer_info(&format!("bridge:{}", task.name)).await?;
    Ok(info.num_pending == 0)
}

/// Whether something happened that is worth a line at once.
fn differs(now: &BridgeStatus, before: &BridgeStatus) -> bool {
    let error = |status: &BridgeStatus| status.last_error.as_ref().map(ToString::to_string);
    now.state != before.state
        || (now.stream.as_ref(), now.refused, now.gaps)
            != (before.stream.as_ref(), before.refused, before.gaps)
        || (now.state == BridgeState::Waiting && error(now) != error(before))
}

/// What was said last.
#[derive(Default)]
struct Told {
    before: Option<BridgeStatus>,
    at: Option<tokio::time::Instant>,
}

impl Told {
    fn tell(&mut self, now: &BridgeStatus, task: &Task, status: &Status) {
        let is_news = match (&self.before, self.at) {
            (Some(before), Some(at)) => {
                differs(now, before) || (before.position != now.position && at.elapsed() >= PROGRESS)
            }
            _ => true,
        };
        if is_news {
            status.say(&said(now, task));
            (self.before, self.at) = (Some(now.clone()), Some(tokio::time::Instant::now()));
        }
    }
}

fn said(status: &BridgeStatus, task: &Task) -> String {
    if task.json { json(status) } else { line(status) }
}

fn line(status: &BridgeStatus) -> String {
    let mut line = format!("{} up to event {}", status.state, status.position);
    if let Some(stream) = &status.stream {
        line += &format!(", stream {stream}");
    }
    for (count, what) in [
        (status.forwarded, "forwarded"),
        (status.found, "found there"),
        (status.refused, "refused"),
        (status.gaps, "gaps"),
    ] {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    match &status.last_error {
        Some(error) if status.state != BridgeState::Forwarding => line + &format!(": {error}"),
        _ => line,
    }
}

fn json(status: &BridgeStatus) -> String {
    let text = |text: Option<String>| serde_json::Value::from(text).to_string();
    let gap = status.last_gap.map_or("null".to_owned(), |(first, last)| format!("[{first},{last}]"));
    format!(
        "{{\"state\":{},\"stream\":{},\"position\":{},\"forwarded\":{},\"found\":{},\"refused\":{},\"gaps\":{},\
         \"last_gap\":{gap},\"looks\":{},\"conflicts\":{},\"last_error\":{}}}",
        text(Some(status.state.to_string())),
        text(status.stream.clone()),
        status.position,
        status.forwarded,
        status.found,
        status.refused,
        status.gaps,
        status.looks,
        status.conflicts,
        text(status.last_error.as_ref().map(ToString::to_string)),
    )
}
