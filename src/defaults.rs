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
/// Events and bytes that the backend in memory keeps for replay.
pub const MEMORY_LOG: usize = 65_536;
/// Bytes of payload that the backend in memory keeps for replay: 64 MiB.
pub const MEMORY_LOG_BYTES: usize = 64 << 20;
