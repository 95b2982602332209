//! How the works are put on: a fresh file or server for each measurement, processes in their roles, and what all of them cost.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;
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
    folder: TempDir,
}

impl Place {
    fn new(system: &str) -> Self {
        let folder = tempfile::tempdir_in(folder_of_this_program()).unwrap();
        let server = matches!(system, "nats-core" | "jetstream").then(|| Server::start(folder.path()));
        let address = match &server {
            Some(server) => server.address().to_owned(),
            None => folder.path().join(format!("{system}.db")).display().to_string(),
        };
        Self { address, server, folder }
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
        let seconds = seconds(options);
        Box::new(move || alone(&Place::new(system), system, &[work, level, &seconds]))
    }
}

/// The log is written once, and read by a new process each time.
pub fn replay(system: &'static str, count: usize) -> impl Fn(&Options) -> Measure {
    move |_| {
        let (place, count) = (Place::new(system), count.to_string());
        fill(&place, system, &["fill", &count]);
        Box::new(move || alone(&place, system, &["replay", &count]))
    }
}

/// Callers in one process, and as many server processes.
pub fn requests(system: &'static str, callers: usize, servers: usize) -> impl Fn(&Options) -> Measure {
    move |options| {
        let (seconds, callers) = (seconds(options), callers.to_string());
        Box::new(move || {
            let place = Place::new(system);
            let start = |role: &[&str]| start(system, &place.address, role);
            let mut serving: Vec<Process> = (0..servers).map(|_| start(&["serve"])).collect();
            serving.iter_mut().for_each(Process::go);
            let mut caller = start(&["request", &seconds, &callers]);
            let others = Watch::start(serving.iter().map(Process::pid).chain(place.servers()).collect());
            caller.go();
            let report: Report = caller.report();
            Sample::new(&report, others.stop())
        })
    }
}

/// So many jobs wait whenever it is measured.
pub fn claims(
    system: &'static str,
    level: &'static str,
    batch: usize,
    waiting: usize,
) -> impl Fn(&Options) -> Measure {
    move |options| {
        let (seconds, batch, waiting) = (seconds(options), batch.to_string(), waiting.to_string());
        Box::new(move || {
            let place = Place::new(system);
            fill(&place, system, &["enqueue", &waiting]);
            alone(&place, system, &["claim", level, &seconds, &batch, &waiting])
        })
    }
}

/// A system's jobs that take long to enqueue: that is done when they are first wanted, and every measurement takes from
/// them.
pub struct Backlog {
    system: &'static str,
    waiting: usize,
    place: OnceCell<Place>,
}

impl Backlog {
    pub fn new(system: &'static str, waiting: usize) -> Rc<Self> {
        Rc::new(Self { system, waiting, place: OnceCell::new() })
    }

    pub fn claims(
        self: &Rc<Self>,
        level: &'static str,
        batch: usize,
    ) -> impl Fn(&Options) -> Measure + use<> {
        let this = Rc::clone(self);
        move |options| {
            this.place();
            let (seconds, batch, waiting) = (seconds(options), batch.to_string(), this.waiting.to_string());
            let this = Rc::clone(&this);
            Box::new(move || alone(this.place(), this.system, &["claim", level, &seconds, &batch, &waiting]))
        }
    }

    fn place(&self) -> &Place {
        self.place.get_or_init(|| {
            let place = Place::new(self.system);
            fill(&place, self.system, &["enqueue", &self.waiting.to_string()]);
            place
        })
    }
}

fn seconds(options: &Options) -> String {
    options.time.as_secs_f64().to_string()
}

/// Before anything is measured. The files are on the disk afterwards, so that no measurement waits for that.
fn fill(place: &Place, system: &str, role: &[&str]) {
    let mut filling = start(system, &place.address, role);
    filling.go();
    let () = filling.report();
    drop(filling);
    for file in std::fs::read_dir(place.folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::File::open(path).unwrap().sync_all().unwrap();
        }
    }
}

/// One process does it all, but for what the server does.
fn alone(place: &Place, system: &str, role: &[&str]) -> Sample {
    let mut process = start(system, &place.address, role);
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
            let streams = STREAMS_WHEN_IDLE.to_string();
            let mut process = start(system, &place.address, &["idle", &streams, "idle"]);
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

fn start(system: &str, address: &str, role: &[&str]) -> Process {
    if system == "effectum" {
        let mut command = super::effectum::program();
        command.arg(address).args(role);
        Process::spawn(command).expect("effectum gets ready")
    } else {
        Process::start(&[&[system, address], role].concat())
    }
}
