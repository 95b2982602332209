//! The works, and who takes part in each.

use std::rc::Rc;

use crate::options::Options;
use crate::sample::Sample;
use crate::systems::stage::Backlog;
use crate::systems::{nats, stage};

/// Measures once.
pub type Measure = Box<dyn FnMut() -> Sample>;

/// Gets ready for measuring, once a run. An error is why the system is skipped.
pub type Prepare = Box<dyn Fn(&Options) -> Result<Measure, String>>;

/// A row of the table.
pub struct Contender {
    pub work: &'static str,
    pub system: &'static str,
    pub synchronous: &'static str,
    pub prepare: Prepare,
}

/// What the ratio of two systems is the ratio of.
#[derive(Clone, Copy, PartialEq)]
pub enum Yardstick {
    PerSecond,
    P50,
    Cpu,
}

pub struct Work {
    pub name: &'static str,
    pub synchronous: &'static str,
    pub yardstick: Yardstick,
    pub ours: Contender,
    pub peers: Vec<Contender>,
}

pub const NORMAL: &str = "NORMAL";
pub const FULL: &str = "FULL";
/// The server's default `sync_interval`.
const TWO_MINUTES: &str = "every 2 min";
const NONE: &str = "none";

pub const STREAMS_WHEN_IDLE: usize = 100;
const REPLAYED: usize = 500_000;
const CALLERS: usize = 64;
const SERVERS: usize = 4;
const WAITING: usize = 20_000;
const MANY_WAITING: usize = 1_000_000;
const BATCH: usize = 128;

/// Who has nothing to be measured at a work.
pub const ABSENT: &[&str] = &[
    "SKIPPED: effectum at publish-one, publish-many, replay and deliver: it is a job queue",
    "SKIPPED: honker, jetstream and effectum at rpc and rpc-many: they have no requests",
    "SKIPPED: honker, jetstream and effectum at claim-one-1m: they are measured with 20,000 waiting alone; honker slows \
     down with what waits",
];

pub fn all() -> Vec<Work> {
    let many = [Backlog::new("rowbus", MANY_WAITING), Backlog::new("raw", MANY_WAITING)];
    vec![
        publishing("publish-one", NORMAL),
        publishing("publish-one", FULL),
        publishing("publish-many", NORMAL),
        publishing("publish-many", FULL),
        replay(),
        deliver(),
        rpc(),
        rpc_many(),
        claims("claim-one", NORMAL, 1),
        claims("claim-one", FULL, 1),
        claims_of_many(NORMAL, &many),
        claims_of_many(FULL, &many),
        claims("claim-batch", NORMAL, BATCH),
        claims("claim-batch", FULL, BATCH),
        idle(),
    ]
}

/// honker has no setting for FULL, and neither of the others is flushed.
fn publishing(name: &'static str, synchronous: &'static str) -> Work {
    let row = |system, level| Contender::new(name, system, level, stage::publishing(system, name, level));
    let mut peers = vec![row("raw", synchronous)];
    if synchronous == NORMAL {
        peers.push(row("honker", NORMAL));
        peers.push(row("jetstream", TWO_MINUTES));
    }
    Work { name, synchronous, yardstick: Yardstick::PerSecond, ours: row("rowbus", synchronous), peers }
}

fn replay() -> Work {
    let row = |system, level| Contender::new("replay", system, level, stage::replay(system, REPLAYED));
    Work {
        name: "replay",
        synchronous: NORMAL,
        yardstick: Yardstick::PerSecond,
        ours: row("rowbus", NORMAL),
        peers: vec![row("raw", NORMAL), row("honker", NORMAL), row("jetstream", TWO_MINUTES)],
    }
}

/// The variants of rowbus stand among the peers, to be measured in turns with the plain work as these are.
fn deliver() -> Work {
    let row = |system, level| Contender::new("deliver", system, level, stage::delivery(system, 0, 0));
    let variant = |work, streams, processes| {
        Contender::new(work, "rowbus", NORMAL, stage::delivery("rowbus", streams, processes))
    };
    Work {
        name: "deliver",
        synchronous: NORMAL,
        yardstick: Yardstick::P50,
        ours: row("rowbus", NORMAL),
        peers: vec![
            row("futex", NONE),
            row("raw", NORMAL),
            row("honker", NORMAL),
            row("nats-core", NONE),
            row("jetstream", TWO_MINUTES),
            variant("deliver-1000-streams", 1_000, 0),
            variant("deliver-20-processes", 0, 20),
        ],
    }
}

fn rpc() -> Work {
    let row = |system, level| Contender::new("rpc", system, level, stage::requests(system, 1, 1));
    Work {
        name: "rpc",
        synchronous: NORMAL,
        yardstick: Yardstick::P50,
        ours: row("rowbus", NORMAL),
        peers: vec![row("raw", NORMAL), row("nats-core", NONE)],
    }
}

fn rpc_many() -> Work {
    let row =
        |system, level| Contender::new("rpc-many", system, level, stage::requests(system, CALLERS, SERVERS));
    Work {
        name: "rpc-many",
        synchronous: NORMAL,
        yardstick: Yardstick::PerSecond,
        ours: row("rowbus", NORMAL),
        peers: vec![row("nats-core", NONE)],
    }
}

fn claims(name: &'static str, synchronous: &'static str, batch: usize) -> Work {
    let row = |system, level| {
        Contender::new(name, system, level, stage::claims(system, synchronous, batch, WAITING))
    };
    let mut peers = vec![row("raw", synchronous)];
    if synchronous == NORMAL {
        peers.extend([row("honker", NORMAL), row("jetstream", TWO_MINUTES), row("effectum", NORMAL)]);
    }
    Work { name, synchronous, yardstick: Yardstick::PerSecond, ours: row("rowbus", synchronous), peers }
}

fn claims_of_many(synchronous: &'static str, [ours, raw]: &[Rc<Backlog>; 2]) -> Work {
    let name = "claim-one-1m";
    let row = |system, backlog: &Rc<Backlog>| {
        Contender::new(name, system, synchronous, backlog.claims(synchronous, 1))
    };
    Work {
        name,
        synchronous,
        yardstick: Yardstick::PerSecond,
        ours: row("rowbus", ours),
        peers: vec![row("raw", raw)],
    }
}

fn idle() -> Work {
    let row = |system, level| Contender::new("idle", system, level, stage::idle(system));
    Work {
        name: "idle",
        synchronous: NORMAL,
        yardstick: Yardstick::Cpu,
        ours: row("rowbus", NORMAL),
        peers: vec![
            row("honker", NORMAL),
            row("effectum", NORMAL),
            row("nats-core", NONE),
            row("jetstream", TWO_MINUTES),
        ],
    }
}

impl Work {
    /// Whether any row of it is.
    pub fn is_wanted(&self, options: &Options) -> bool {
        options.wants(self.name) || self.peers.iter().any(|peer| options.wants(peer.work))
    }

    /// Whether it has rows of this name.
    pub fn has(&self, name: &str) -> bool {
        self.name == name || self.peers.iter().any(|peer| peer.work == name)
    }
}

impl Contender {
    fn new(
        work: &'static str,
        system: &'static str,
        synchronous: &'static str,
        measure: impl Fn(&Options) -> Measure + 'static,
    ) -> Self {
        let prepare = move |options: &Options| {
            match system {
                "nats-core" | "jetstream" => nats::install::server().map(|_| ())?,
                "effectum" => crate::systems::effectum::build()?,
                _ => {}
            }
            Ok(measure(options))
        };
        Self { work, system, synchronous, prepare: Box::new(prepare) }
    }
}
