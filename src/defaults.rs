//! Every default of the crate, in one place. `docs/defaults.md` shows them as a table.

use std::time::Duration;

/// Payload and encoded headers of one message, in bytes: 1 MiB.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The largest payload that a reader accepts, whoever wrote it: 64 MiB, which is also the most `max_payload` may be.
pub const MAX_ROW: usize = 64 << 20;
/// A subject or filter, in bytes.
pub const MAX_SUBJECT: usize = 255;
/// A `message_id`, in bytes.
pub const MAX_MESSAGE_ID: usize = 255;
/// How long a `message_id` is remembered: 2 minutes.
pub const DEDUP_WINDOW: Duration = Duration::from_secs(120);
/// How long a write waits for a locked file before it fails as `Busy`.
pub const BUSY_DEADLINE: Duration = Duration::from_secs(5);
/// How long connecting to a server may take, and how long a verb waits for a lost connection and for a confirmation: 5 s.
pub const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// Messages that a stream holds for a reader that is slower than the log.
pub const STREAM_BUFFER: usize = 1024;
/// Bytes of payload that a stream holds for such a reader: 8 MiB.
pub const STREAM_BUFFER_BYTES: usize = 8 << 20;
/// Events in one page read from the log.
pub const PAGE: usize = 512;
/// Bytes of payload at which a page ends early: 4 MiB.
pub const PAGE_BYTES: usize = 4 << 20;
/// Operations that share one transaction, at most.
pub const BATCH: usize = 512;
/// Events that the backend in memory keeps for replay.
pub const MEMORY_LOG: usize = 65_536;
/// Bytes of payload that the backend in memory keeps for replay: 64 MiB.
pub const MEMORY_LOG_BYTES: usize = 64 << 20;

/// How long a request waits for its reply.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest timeout of a request: a day. What takes longer is a job.
pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long a server holds what it has taken without renewing it; a request half its timeout, at most.
pub const LEASE: Duration = Duration::from_secs(30);
/// How long a handler may run before its lease is no longer renewed.
pub const MAX_RUN: Duration = Duration::from_secs(3600);
/// Handlers of one service that run at the same time.
pub const CONCURRENCY: usize = 16;
/// How often a job is tried.
pub const MAX_ATTEMPTS: u32 = 20;
/// The time between a job's first failure and its second attempt; doubled at each attempt.
pub const BACKOFF: Duration = Duration::from_secs(1);
/// The longest time between two attempts of a job.
pub const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// How much a backoff varies, so that what failed together is not tried again together: 20 % either way.
pub const BACKOFF_JITTER_PERCENT: u64 = 20;
/// How long the reply of a job is kept.
pub const KEEP_REPLY: Duration = Duration::from_secs(3600);
/// How long `close` and a service's `stop` wait for handlers that run.
pub const CLOSE_GRACE: Duration = Duration::from_secs(10);
/// Parts of a reply that wait in memory for a slow caller.
pub const PARTS_BUFFER: usize = 64;
/// A unique key or a key of jobs that run one after the other, in bytes.
pub const MAX_KEY: usize = 255;

/// How long a delivery of an explicit consumer is held by the member that got it.
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// Deliveries that the members of a consumer hold at the same time, all together.
pub const MAX_ACK_PENDING: usize = 1000;
/// How often an event is delivered before it is given up on.
pub const MAX_DELIVER: u32 = 20;
/// What was nacked without a delay comes again after this time at the earliest, so that a handler that gives back at once
/// does not spin.
pub const NACK_AT_LEAST: Duration = Duration::from_millis(10);
/// Matching events that `consumer_info` counts as pending before it says "at least".
pub const PENDING_COUNTED: usize = 10_000;
/// A consumer's name, in bytes, as in NATS.
pub const MAX_CONSUMER_NAME: usize = 255;
/// Filters of one consumer.
pub const MAX_CONSUMER_FILTERS: usize = 64;

/// How long an event is kept where no policy was set: 7 days.
pub const RETENTION_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a dead letter is kept: 90 days.
pub const DEAD_LETTER_AGE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How far the wall clock may run ahead of the time that has passed before it counts as a jump, and the age of events is
/// judged by a clock that catches up slowly: 1 hour.
pub const CLOCK_JUMP: Duration = Duration::from_secs(3600);
/// Rows of a kind that `stats` counts before it says "at least".
pub const STATS_COUNTED: u64 = 10_000;
/// Events of which [`Inspector::activity`](crate::sqlite::Inspector::activity) reads the subjects; of more, the newest.
pub const ACTIVITY_SAMPLED: u64 = 10_000;
/// The disk that is left to pruning and checkpoints when publishing ends: 16 MiB, or a sixteenth of the file system if that
/// is less.
pub const DISK_RESERVE: u64 = 16 << 20;
/// The WAL is cut to nothing when nobody has written for this long.
pub const WAL_IDLE: Duration = Duration::from_secs(5);
/// A WAL that is no longer than this is left as it is: 256 KiB.
pub const WAL_KEPT: u64 = 256 << 10;
/// Beyond this a checkpoint holds writers off until the WAL begins anew, however much it moves: 64 MiB.
pub const WAL_LIMIT: u64 = 64 << 20;

/// Events that a bridge has under way to a stream without an acknowledgement, and that it reads and flushes at once.
pub const BRIDGE_WINDOW: usize = 512;
/// Bytes of payload at which a bridge's batch ends early: 4 MiB.
pub const BRIDGE_BATCH_BYTES: usize = 4 << 20;
/// How long a bridge waits for an answer of the server.
pub const BRIDGE_PATIENCE: Duration = Duration::from_secs(5);
/// The pause before a bridge tries again what a server has refused or not answered; doubled each time.
pub const BRIDGE_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
pub const BRIDGE_PAUSE_MAX: Duration = Duration::from_secs(5);
