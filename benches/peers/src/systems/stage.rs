//! How the works are put on: a fresh file or server for each measurement, processes in their roles, and what all of them cost.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use super::nats::server::Server;
use crate::options::Options;
use crate::process::Process;
use crate::sample::{Report, Sample};
use crate::usage::Watch;
use crate::works::{Measure, STREAMS_WHEN_IDLE};

/// rowbus looks often at a file for two seconds after a commit, and then ever more seldom; tokio ends the threads on which
/// something was opened when they have had nothing to do for ten.
const CALMS_DOWN: Duration = Duration::from_secs(12);

/// Where a system has its messages.
struct Place {
    address: String,
    server: Option<Server>,
    _folder: TempDir,
}

impl Place {
    fn new(system: &str) -> Self {
        let folder = tempfile::tempdir_in(folder_of_this_program()).unwrap();
        let server = matches!(system, "nats-core" | "jetstream").then(|| Server::start(folder.path()));
        let address = match &server {
            Some(server) => server.address().to_owned(),
            None => folder.path().join(format!("{system}.db")).display().to_string(),
        };
        Self { address, server, _folder: folder }
    }

    fn servers(&self) -> Vec<u32> {
        self.server.iter().map(Server::pid).collect()
    }
}

/// A folder of the build: it is on a disk, as a system's folder for temporary files need not be.
pub fn folder_of_this_program() -> std::path::PathBuf {
    std::env::current_exe().unwrap().parent().map(Path::to_path_buf).unwrap()
}

pub fn publishing(
    system: &'static str,
    work: &'static str,
    level: &'static str,
) -> impl Fn(&Options) -> Measure {
    move |options| {
        let seconds = options.time.as_secs_f64().to_string();
        Box::new(move || alone(&Place::new(system), &[system], &[work, level, &seconds]))
    }
}

/// The log is written once, and read by a new process each time.
pub fn replay(system: &'static str, count: usize) -> impl Fn(&Options) -> Measure {
    move |_| {
        let (place, count) = (Place::new(system), count.to_string());
        let mut filling = Process::start(&[system, &place.address, "fill", &count]);
        filling.go();
        let () = filling.report();
        drop(filling);
        Box::new(move || alone(&place, &[system], &["replay", &count]))
    }
}

/// One process does it all, but for what the server does.
fn alone(place: &Place, system: &[&str], role: &[&str]) -> Sample {
    let mut process = Process::start(&[system, &[&place.address], role].concat());
    let server = Watch::start(place.servers());
    process.go();
    let report: Report = process.report();
    Sample::new(&report, server.stop())
}

/// From one process to another, which has `idle_streams` more, while other `processes` stream something else.
pub fn delivery(system: &'static str, idle_streams: usize, processes: usize) -> impl Fn(&Options) -> Measure {
    move |options| {
        let (count, idle_streams) = (options.deliveries().to_string(), idle_streams.to_string());
        Box::new(move || {
            let place = Place::new(system);
            let address = place.address.as_str();
            let bystanders: Vec<Process> = (0..processes)
                .map(|at| Process::start(&[system, address, "idle", "1", &format!("other{at}")]))
                .collect();
            let mut receiver = Process::start(&[system, address, "receive", &count, &idle_streams]);
            let mut sender = Process::start(&[system, address, "send", &count]);
            let others: Vec<u32> = bystanders.iter().map(Process::pid).chain(place.servers()).collect();

            let others = Watch::start(others);
            receiver.go();
            sender.go();
            let sent: Report = sender.report();
            let received: Report = receiver.report();
            Sample::new(&received, sent.usage + others.stop())
        })
    }
}

/// A process that waits for what does not come.
pub fn idle(system: &'static str) -> impl Fn(&Options) -> Measure {
    move |options| {
        let time = options.idle();
        Box::new(move || {
            let place = Place::new(system);
            let mut process = start_idle(system, &place.address);
            process.go();
            sleep(CALMS_DOWN);
            let pids: Vec<u32> = place.servers().into_iter().chain([process.pid()]).collect();
            let watch = Watch::start(pids);
            sleep(time);
            let spent = watch.stop();
            // What has ended spends nothing.
            assert!(process.lives(), "{system} ended while it was to idle");
            Sample::idle(spent, time)
        })
    }
}

fn start_idle(system: &str, address: &str) -> Process {
    let streams = STREAMS_WHEN_IDLE.to_string();
    if system == "effectum" {
        let mut command = super::effectum::program();
        command.args([address, "idle", &streams]);
        Process::spawn(command).expect("effectum idles")
    } else {
        Process::start(&[system, address, "idle", &streams, "idle"])
    }
}
