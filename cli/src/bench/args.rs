//! The command line of `rowbus bench`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use rowbus::{Durability, defaults};

use crate::bench::clock;
use crate::duration;

/// The most messages that are measured: each keeps 8 bytes in memory, and its payload on the disk until the end.
const MESSAGES: u64 = 10_000_000;
/// The most publishers at once; beyond the 512 that share a transaction more only wait longer.
const PUBLISHERS: u64 = 4_096;
const PAYLOAD: i64 = defaults::MAX_PAYLOAD as i64;

const EXAMPLES: &str = "\
Examples:
  rowbus bench pub --publishers 16
  rowbus bench sub --db /mnt/usb/any.db
  rowbus bench queue --compare raw
  rowbus bench rpc --url nats://127.0.0.1:4222
  rowbus bench latency --relaxed --json";

/// Measure a bus on this disk, or on a server
///
/// The bus is a new one, in a folder of its own beside the file that --db names: in the current folder if nothing is
/// said, or inside of a folder that --db names. That file itself is neither read nor written, and the folder is removed
/// at the end, also after Ctrl-C; only a process that is killed leaves it, by the name rowbus-bench-….
///
/// With --url it is the bus on that server, and the messages are on a subject that nobody else has, rowbus.bench.…; what goes into a
/// stream of JetStream stays there.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Subcommand)]
pub(crate) enum What {
    #[command(flatten)]
    Measure(Measure),
    /// The second process of `bench latency`
    #[command(hide = true)]
    Receive(SecondArgs),
    /// The second process of `bench rpc`
    #[command(hide = true)]
    Answer(SecondArgs),
}

#[derive(Args)]
pub(crate) struct SecondArgs {
    pub(crate) subject: String,

    /// On bare SQLite
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Subcommand)]
pub(crate) enum Measure {
    Pub(PubArgs),
    Sub(SubArgs),
    Latency(LatencyArgs),
    Rpc(RpcArgs),
    Queue(QueueArgs),
}

impl Measure {
    pub(crate) fn output(&self) -> &Output {
        match self {
            Self::Pub(args) => &args.output,
            Self::Sub(args) => &args.output,
            Self::Latency(args) => &args.output,
            Self::Rpc(args) => &args.output,
            Self::Queue(args) => &args.output,
        }
    }

    /// What is waited for at a commit. A log is filled, and requests are made, without waiting for the disk.
    pub(crate) fn durability(&self) -> Durability {
        match self {
            Self::Pub(args) => args.level.durability(),
            Self::Latency(args) => args.level.durability(),
            Self::Queue(args) => args.level.durability(),
            Self::Sub(_) | Self::Rpc(_) => Durability::Relaxed,
        }
    }
}

const PUB_EXAMPLES: &str = "\
Examples:
  rowbus bench pub
  rowbus bench pub --messages 100000 --publishers 256 --compare raw
  rowbus bench pub --size 4096 --relaxed --json | jq .p99_us";

/// Measure publishing: how many messages a second, and how long each waits for its acknowledgement
///
/// Each publisher publishes its next message when the last one is acknowledged; publishers share transactions. The bus
/// is in a new folder beside --db, which is removed at the end.
#[derive(Args)]
#[command(after_help = PUB_EXAMPLES)]
pub(crate) struct PubArgs {
    /// How many messages to publish
    #[arg(long, value_name = "N", default_value = "10000", value_parser = value_parser!(u64).range(1..=MESSAGES))]
    pub(crate) messages: u64,

    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = value_parser!(u32).range(0..=PAYLOAD))]
    pub(crate) size: u32,

    /// How many publish at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=PUBLISHERS))]
    pub(crate) publishers: u64,

    #[command(flatten)]
    pub(crate) level: Level,

    #[command(flatten)]
    pub(crate) output: Output,
}

impl PubArgs {
    /// More publishers than messages would have nothing to do.
    pub(crate) fn publishers(&self) -> u64 {
        self.publishers.min(self.messages)
    }
}

const SUB_EXAMPLES: &str = "\
Examples:
  rowbus bench sub
  rowbus bench sub --messages 1000000 --size 512 --json";

/// Measure replay: how many messages a second a stream from the oldest delivers
///
/// The log is filled first, without waiting for the disk (synchronous NORMAL). It is then read as most logs are, from the
/// memory in which the system keeps what was just written. The bus is in a new folder beside --db, which is removed at
/// the end.
#[derive(Args)]
#[command(after_help = SUB_EXAMPLES)]
pub(crate) struct SubArgs {
    /// How many messages to read
    #[arg(long, value_name = "N", default_value = "100000", value_parser = value_parser!(u64).range(1..=MESSAGES))]
    pub(crate) messages: u64,

    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = value_parser!(u32).range(0..=PAYLOAD))]
    pub(crate) size: u32,

    #[command(flatten)]
    pub(crate) output: Output,
}

const LATENCY_EXAMPLES: &str = "\
Examples:
  rowbus bench latency
  rowbus bench latency --messages 200 --pause 50ms
  rowbus bench latency --relaxed --json | jq .p50_us";

/// Measure delivery: how long a message takes from one process to another
///
/// From the call that publishes it to the stream that has it, in a second process that this one starts; one way, by the
/// clock that both read. The next message waits until it is there, and for the pause. The bus is in a new folder beside
/// --db, which is removed at the end.
#[derive(Args)]
#[command(after_help = LATENCY_EXAMPLES)]
pub(crate) struct LatencyArgs {
    /// How many messages to publish
    #[arg(long, value_name = "N", default_value = "1000", value_parser = value_parser!(u64).range(1..=MESSAGES))]
    pub(crate) messages: u64,

    /// Bytes of each payload, of which the first 8 are the time
    #[arg(long, value_name = "BYTES", default_value = "128")]
    #[arg(value_parser = value_parser!(u32).range(clock::BYTES as i64..=PAYLOAD))]
    pub(crate) size: u32,

    /// How long to wait between messages, as in 5ms or 1s
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = duration::argument)]
    pub(crate) pause: Duration,

    #[command(flatten)]
    pub(crate) level: Level,

    #[command(flatten)]
    pub(crate) output: Output,
}

const RPC_EXAMPLES: &str = "\
Examples:
  rowbus bench rpc
  rowbus bench rpc --callers 64 --messages 20000
  rowbus bench rpc --compare raw --json | jq .ratio";

/// Measure requests: how long one takes to another process and back, and how many a second
///
/// Each caller makes its next request when the last one is answered, by a second process that this one starts and that gives back
/// what it gets. A request does not wait for the disk. The bus is in a new folder beside --db, which is removed at the end.
#[derive(Args)]
#[command(after_help = RPC_EXAMPLES)]
pub(crate) struct RpcArgs {
    /// How many requests to make
    #[arg(long, value_name = "N", default_value = "1000", value_parser = value_parser!(u64).range(1..=MESSAGES))]
    pub(crate) messages: u64,

    /// Bytes of each payload, both ways
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = value_parser!(u32).range(0..=PAYLOAD))]
    pub(crate) size: u32,

    /// How many ask at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=PUBLISHERS))]
    callers: u64,

    #[command(flatten)]
    pub(crate) output: Output,
}

impl RpcArgs {
    /// More callers than requests would have nothing to do.
    pub(crate) fn callers(&self) -> u64 {
        self.callers.min(self.messages)
    }
}

const QUEUE_EXAMPLES: &str = "\
Examples:
  rowbus bench queue
  rowbus bench queue --workers 128 --messages 50000
  rowbus bench queue --relaxed --compare raw";

/// Measure jobs: how many that wait are done in a second
///
/// The queue is filled first. Then so many workers take the jobs and complete them, which takes two transactions for each unless
/// they share them. The bus is in a new folder beside --db, which is removed at the end.
#[derive(Args)]
#[command(after_help = QUEUE_EXAMPLES)]
pub(crate) struct QueueArgs {
    /// How many jobs to do
    #[arg(long, value_name = "N", default_value = "10000", value_parser = value_parser!(u64).range(1..=MESSAGES))]
    pub(crate) messages: u64,

    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = value_parser!(u32).range(0..=PAYLOAD))]
    pub(crate) size: u32,

    /// How many are done at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=PUBLISHERS))]
    pub(crate) workers: u64,

    #[command(flatten)]
    pub(crate) level: Level,

    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Level {
    /// Do not wait for the disk (synchronous NORMAL instead of FULL)
    #[arg(long)]
    relaxed: bool,
}

impl Level {
    pub(crate) fn durability(&self) -> Durability {
        if self.relaxed { Durability::Relaxed } else { Durability::Full }
    }
}

#[derive(Args)]
pub(crate) struct Output {
    /// Write the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Do the same work on bare SQLite as well, and say how fast the bus is beside it
    #[arg(long, value_name = "WITH")]
    pub(crate) compare: Option<Compare>,
}

/// What a bus is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compare {
    /// One connection and a table, at the same level of `synchronous`; another process polls each millisecond
    Raw,
}
