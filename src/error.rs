//! The one public error: a kind to match on, a sentence for a person, and the cause below it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do about it.
///
/// Match on [`kind`](Error::kind), never on the text. An error is cheap to clone: when a transaction
/// that several callers share fails, each of them gets the same error.
///
/// ```
/// use rowbus::{ErrorKind, Subject};
///
/// let error = Subject::new("orders..created").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidSubject);
/// assert_eq!(error.to_string(), "invalid subject \"orders..created\": token 2 is empty");
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// What a handler said beside its message.
    said: Said,
}

/// The code and the body of a handler's error.
#[derive(Default)]
struct Said {
    code: Option<Box<str>>,
    body: Bytes,
}

/// The kinds of [`Error`]: what a program can react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A subject or a filter breaks the grammar; the message names the token.
    InvalidSubject,
    /// A header's name or value cannot be carried.
    InvalidHeader,
    /// An option is out of its range, or contradicts another.
    InvalidOption,
    /// Payload and headers together are larger than the bus allows. Nothing was written.
    #[non_exhaustive]
    PayloadTooLarge {
        /// Bytes of payload and encoded headers.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// `expect_last` did not hold: the subject's newest event is another. Nothing was written.
    #[non_exhaustive]
    WrongSequence {
        /// The sequence of the subject's newest event; 0 if it has none.
        actual: u64,
    },
    /// Not an end: events that this stream asked for may no longer be in the log. It goes on after this.
    #[non_exhaustive]
    Gap {
        /// The first sequence that may be missing.
        first: u64,
        /// The last sequence that may be missing.
        last: u64,
    },
    /// Not an end: the bounded buffer of this stream was full, and that many events were dropped.
    #[non_exhaustive]
    Overflow {
        /// How many events were dropped since the last one delivered.
        dropped: u64,
    },
    /// The asked sequence lies beyond the end of the log: the file was restored or replaced.
    #[non_exhaustive]
    CursorAhead {
        /// The newest sequence that the log has given out.
        newest: u64,
    },
    /// The position is of another incarnation of the log: the file was restored, or is another one.
    OtherIncarnation,
    /// The server's handler failed or panicked, or answered with what cannot be sent. [`Error::code`] and [`Error::body`] are
    /// what it said beside the message.
    Handler,
    /// No answer came in time. The request was withdrawn, and a handler that still runs sees that it is cancelled.
    RequestTimeout,
    /// Nobody serves the subject, and the request was not to wait for somebody who does.
    NoResponders,
    /// The server died or lost its lease, and the request was not to be given to another.
    ServerLost,
    /// A job was cancelled before it was done.
    Cancelled,
    /// There is no such job, consumer, dead letter or reply, or none any more.
    NotFound,
    /// The lease on a request has ended: it was given to another server, cancelled or withdrawn; or a delivery is no longer
    /// this member's. What this one does for it changes nothing any more.
    LeaseLost,
    /// A consumer of this name exists, and this setting of it cannot be changed by opening it.
    #[non_exhaustive]
    ConsumerMismatch {
        /// The method of [`Consumer`](crate::Consumer) that was given something else; `start` is `from`.
        setting: &'static str,
    },
    /// A cumulative consumer has failed to handle this event, and stands in front of it: nothing is delivered until it is
    /// resumed, moved or opened anew.
    #[non_exhaustive]
    ConsumerStopped {
        /// The event that could not be handled.
        sequence: u64,
    },
    /// A stream of this name exists on the NATS server, and this setting of it is not what was asked for, or not what is needed.
    #[non_exhaustive]
    StreamMismatch {
        /// The setting, as the method of the stream's builder that was given something else, or as JetStream calls it.
        setting: &'static str,
    },
    /// No stream of the NATS server keeps what is published on this subject. Nothing was written.
    NoStream,
    /// The NATS server refused it, for a reason that the message tells. Nothing was written.
    Refused,
    /// The bus was closed.
    Closed,
    /// The file stayed locked by others until the deadline. Nothing was written.
    Busy,
    /// The disk, or the file's size limit, is full. Nothing was written.
    DiskFull,
    /// A commit failed in a way that leaves open whether it will be there after recovery; or the connection to a server was
    /// lost before it had confirmed what was sent. Where the backend keeps duplicates out, it is safe to publish again with a
    /// `message_id`.
    Indeterminate,
    /// There is no connection to the server. Nothing was sent. As an item of a stream it is not an end: the connection was lost
    /// and is there again, and what was published in between did not reach this stream, which goes on after this.
    Disconnected,
    /// The server does not accept the credentials, or does not let them do this.
    NotPermitted,
    /// The file at the path is no longer the one that was opened.
    FileReplaced,
    /// This process is a fork of the one that opened the bus.
    Forked,
    /// The backend or this build cannot do it; the message says who can.
    Unsupported,
    /// There is a file where one was to be made; it was left as it is.
    AlreadyExists,
    /// What was to be imported is older than the policy that governs it keeps. Nothing of its batch was written.
    Expired,
    /// The path cannot hold a bus: in memory, a folder, or missing where it must exist.
    InvalidPath,
    /// The file is not an SQLite database, or is encrypted with another key.
    NotADatabase,
    /// The file or its folder cannot be written.
    ReadOnly,
    /// The file is in rollback-journal mode and the conversion to WAL was not asked for.
    NotWal,
    /// The file is on a mount that breaks SQLite's locks or shared memory.
    UnsafeMount,
    /// The SQLite library that runs has a bug that can corrupt the file.
    UnsafeSqlite,
    /// The host's tables already use a name that belongs to the bus.
    NameTaken,
    /// The file's schema is older than this library can use, and it was told not to migrate.
    SchemaTooOld,
    /// The file's schema is newer, and no longer open to this library.
    SchemaTooNew,
    /// The migration history contradicts this library: a changed checksum, a missing or unreadable row.
    SchemaMismatch,
    /// The file is damaged.
    Corrupt,
    /// The operating system failed to read or write.
    Io,
    /// Any other failure of the database.
    Database,
    /// A body is not what the `json` helpers were asked for.
    Json,
}

impl Error {
    /// An error of this kind. Backends outside this crate use it as well.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner { kind, message: message.into(), source: None, said: Said::default() }) }
    }

    /// An error of this kind with the error that caused it.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = Some(source.into());
        Self { inner: Arc::new(Inner { kind, message: message.into(), source, said: Said::default() }) }
    }

    /// [`ErrorKind::Handler`]: what a handler said when it failed.
    pub fn handler(message: impl Into<String>, code: Option<Box<str>>, body: Bytes) -> Self {
        let (kind, message, said) = (ErrorKind::Handler, message.into(), Said { code, body });
        Self { inner: Arc::new(Inner { kind, message, source: None, said }) }
    }

    /// The code that a handler gave its error; `None` for all other kinds.
    pub fn code(&self) -> Option<&str> {
        self.inner.said.code.as_deref()
    }

    /// The body that a handler gave its error; empty for all other kinds.
    pub fn body(&self) -> &Bytes {
        &self.inner.said.body
    }

    /// What a program can react to.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the same call may succeed later without any change: the file was locked, the disk full, the server not
    /// connected.
    ///
    /// `Indeterminate` is not among them: repeating it may publish twice unless it had a `message_id`.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), ErrorKind::Busy | ErrorKind::DiskFull | ErrorKind::Disconnected)
    }

    /// Whether no later try on the same bus can succeed.
    #[cfg(feature = "async")]
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Closed
                | ErrorKind::FileReplaced
                | ErrorKind::Forked
                | ErrorKind::Corrupt
                | ErrorKind::NotADatabase
        )
    }

    /// [`ErrorKind::Closed`].
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the bus is closed")
    }

    /// [`ErrorKind::LeaseLost`]: another attempt, or nobody, holds the request now.
    pub fn lease_lost() -> Self {
        let message = "the lease has ended: the request was given to another server, cancelled or withdrawn";
        Self::new(ErrorKind::LeaseLost, message)
    }

    /// [`ErrorKind::LeaseLost`]: another member, or nobody, has this event now.
    pub fn delivery_lost(sequence: u64) -> Self {
        let message = format!(
            "event {sequence} is no longer this member's: its ack_wait is over, it was settled before, the member has lost its \
             place, or the consumer was moved or deleted"
        );
        Self::new(ErrorKind::LeaseLost, message)
    }

    /// Whether a delivery or a request is another's now.
    #[cfg(feature = "nats")]
    pub(crate) fn is_lost(&self) -> bool {
        self.kind() == ErrorKind::LeaseLost
    }

    /// [`ErrorKind::NotFound`]: a consumer of this name.
    pub fn no_such_consumer(name: &str) -> Self {
        Self::new(ErrorKind::NotFound, format!("no consumer {name:?}: it was deleted, or never was"))
    }

    /// [`ErrorKind::ConsumerStopped`]: what was said of the event that could not be handled.
    pub fn consumer_stopped(name: &str, sequence: u64, reason: &str) -> Self {
        let message = format!(
            "consumer {name:?} stands in front of event {sequence}, which could not be handled: {reason}; \
             resume it, seek beyond it, or open it anew"
        );
        Self::new(ErrorKind::ConsumerStopped { sequence }, message)
    }

    /// [`ErrorKind::NotFound`]: a job of this id.
    pub fn no_such_job(id: &str) -> Self {
        let message = format!("no job {id:?}: it never was, or its reply is no longer kept");
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::Gap`]: these events may be missing.
    pub fn gap(first: u64, last: u64) -> Self {
        Self::new(
            ErrorKind::Gap { first, last },
            format!("events {first} to {last} may have been removed before this stream read them"),
        )
    }

    /// [`ErrorKind::Overflow`]: that many events were dropped.
    pub fn overflow(dropped: u64) -> Self {
        let message = format!("the stream's buffer was full, and {dropped} events were dropped");
        Self::new(ErrorKind::Overflow { dropped }, message)
    }

    /// [`ErrorKind::CursorAhead`]: this sequence was asked for, and that is the newest.
    pub fn cursor_ahead(asked: u64, newest: u64) -> Self {
        let message = format!(
            "sequence {asked} was asked for and the newest is {newest}: \
             the position comes from another log, or from before this one was restored"
        );
        Self::new(ErrorKind::CursorAhead { newest }, message)
    }

    /// [`ErrorKind::OtherIncarnation`]: a position of this incarnation was given, and the log is that one.
    pub fn other_incarnation(asked: &str, there: &str) -> Self {
        let message = format!(
            "the position is of the incarnation {asked:?} and the log is {there:?}: it was restored from a copy, or is another \
             log, in which the same sequences are of other events"
        );
        Self::new(ErrorKind::OtherIncarnation, message)
    }

    /// [`ErrorKind::WrongSequence`]: the subject's newest event has another sequence than was expected.
    pub fn wrong_sequence(subject: &str, expected: u64, actual: u64) -> Self {
        let message = format!(
            "the newest event of {subject:?} has sequence {actual}, and {expected} was expected; nothing was written"
        );
        Self::new(ErrorKind::WrongSequence { actual }, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.inner.kind).field("message", &self.inner.message);
        if let Some(code) = self.code() {
            debug.field("code", &code);
        }
        if let Some(source) = &self.inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
