//! `rowbus bench latency`: this process publishes, and a second one of this program receives.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rowbus::{MessengerExt, SqliteBus};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::bench::args::LatencyArgs;
use crate::bench::percentiles::Percentiles;
use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::receive::READY;
use crate::bench::report::{Delivery, Report};
use crate::bench::{SUBJECT, clock, unless_stopped};
use crate::failure::{Failure, Result};
use crate::status::Status;

/// How long the second process may take over anything: to start, to receive a message, to end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(
    bus: &SqliteBus,
    place: &Place,
    args: LatencyArgs,
    stop: oneshot::Receiver<()>,
    status: &Status,
) -> Result<Report> {
    let mut receiver = Receiver::start(place)?;
    let outcome = unless_stopped(stop, measure(bus, &mut receiver, &args, status)).await;
    // Also of one that was stopped: the folder can go when nobody is in it any more.
    let ended = receiver.end(outcome.is_ok()).await;
    let times = outcome?;
    ended?;
    Ok(Report {
        work: "latency",
        messages: args.messages,
        size: args.size,
        publishers: None,
        durability: args.level.durability(),
        delivery: Some(Delivery { pause: args.pause, clock: clock::NAME }),
        elapsed: None,
        latency: Percentiles::of(times),
    })
}

/// How long each message took, in nanoseconds.
async fn measure(
    bus: &SqliteBus,
    receiver: &mut Receiver,
    args: &LatencyArgs,
    status: &Status,
) -> Result<Vec<u64>> {
    let ready = receiver.line().await?;
    if ready != READY {
        return Err(Failure::failed(format!("the receiving process said {ready:?}")));
    }
    let mut deliver = async || {
        tokio::time::sleep(args.pause).await;
        let payload = clock::stamped(args.size as usize);
        bus.publish(SUBJECT, payload).await?;
        let line = receiver.line().await?;
        line.parse().map_err(|_| Failure::failed(format!("the receiving process said {line:?}")))
    };
    // The first message of a file meets what is made once, such as the memory that processes share.
    let _: u64 = deliver().await?;
    let progress = Progress::new(status, "delivering", args.messages)?;
    let mut times = Vec::new();
    for _ in 0..args.messages {
        times.push(deliver().await?);
        progress.add(1);
    }
    Ok(times)
}

/// The second process; killed if it is dropped before it has ended.
struct Receiver {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Option<ChildStderr>,
}

impl Receiver {
    fn start(place: &Place) -> Result<Self> {
        let mut child = Self::spawn(place)
            .map_err(|error| Failure::failed(format!("starting a second process: {error}")))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let lines = stdout.map(|pipe| BufReader::new(pipe).lines());
        Ok(Self { child, stdin, lines, stderr })
    }

    fn spawn(place: &Place) -> io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--db").arg(place.db()).args(["bench", "receive"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn()
    }

    /// The next line that it says.
    async fn line(&mut self) -> Result<String> {
        let next = async {
            match &mut self.lines {
                Some(lines) => lines.next_line().await,
                None => Ok(None),
            }
        };
        match timeout(PATIENCE, next).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err(self.last_words().await),
            Ok(Err(error)) => Err(Failure::failed(format!("reading from the receiving process: {error}"))),
            Err(_) => Err(Failure::failed(format!("the receiving process said nothing for {PATIENCE:?}"))),
        }
    }

    /// Why it ended too early, in its own words.
    async fn last_words(&mut self) -> Failure {
        let mut words = String::new();
        if let Some(stderr) = &mut self.stderr {
            // What cannot be read adds nothing to the failure that there is already.
            let _ = timeout(PATIENCE, stderr.read_to_string(&mut words)).await;
        }
        let words = words.trim_end();
        let words = words.strip_prefix("rowbus: ").unwrap_or(words);
        Failure::failed(format!("the receiving process has ended: {words}"))
    }

    /// Lets it end, or ends it where it is not wanted any more.
    async fn end(mut self, in_good_order: bool) -> Result<()> {
        self.stdin = None;
        let failed = |error: io::Error| Failure::failed(format!("ending the receiving process: {error}"));
        if !in_good_order {
            return self.child.kill().await.map_err(failed);
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(code)) if code.success() => Ok(()),
            Ok(Ok(_)) => Err(self.last_words().await),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(Failure::failed(format!("the receiving process did not end within {PATIENCE:?}"))),
        }
    }
}
