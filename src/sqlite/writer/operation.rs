//! What a transaction is made of: operations that share it without knowing of each other.

use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::publish::{Durability, PublishParts};
use crate::sqlite::tables::events::Appender;
use crate::sqlite::wake::WakeBits;
use crate::sqlite::writer::connection::COMMIT_BYTES;
use crate::sqlite::writer::room::row_size;

/// Something to write.
pub(crate) trait Operation: Send + 'static {
    /// What its caller gets.
    type Output: Send + 'static;

    /// What its acknowledgement promises; a transaction commits at its strongest member's level.
    fn durability(&self) -> Durability;

    /// Writes. It may be called again if the transaction was rolled back for a neighbour's sake.
    ///
    /// An operation that refuses leaves nothing behind: it looks before it writes, or has a savepoint.
    fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Failure>;

    /// Called when what it has written is committed, with what its caller gets.
    fn committed(&self, _: &Self::Output) {}

    /// Whether it has a transaction of its own, since it may do anything to it. Then it is applied once at most.
    fn is_alone(&self) -> bool {
        false
    }

    /// Whether it takes so long that a runtime's thread should not be held up by it.
    fn is_long(&self) -> bool {
        false
    }
}

/// Why an operation could not be applied.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It says no, and has written nothing: its neighbours are not concerned.
    Refused(Error),
    /// A statement failed: what it left behind is unknown, and the transaction is rolled back.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// An open transaction, as its operations see it.
pub(crate) struct Tx<'c> {
    pub(crate) conn: &'c Connection,
    /// Unix milliseconds, the same for the whole transaction.
    pub(crate) now: i64,
    /// Awake milliseconds, likewise.
    pub(crate) awake: i64,
    /// How long a `message_id` is remembered, in milliseconds.
    pub(crate) dedup_window: i64,
    log: Appender<'c>,
    /// Whether local streams want to be handed what is appended.
    hand_over: bool,
    /// Bytes that may be added.
    room: u64,
    appended: Appended,
}

/// What a transaction has added to the log.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// For local streams, if they wanted it.
    pub(crate) events: Vec<Message>,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// Whom it concerns.
    pub(crate) bits: WakeBits,
    /// Whether requests were changed by operations that know whom that concerns.
    pub(crate) requests: bool,
    /// Operations refused for want of room on the disk.
    pub(crate) refused: usize,
}

/// How far a transaction was, to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    events: usize,
    count: usize,
    bytes: usize,
    bits: WakeBits,
    requests: bool,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(
        conn: &'c Connection,
        clock: &dyn Clock,
        dedup_window: i64,
        hand_over: bool,
        room: u64,
    ) -> Self {
        let (now, awake) = (clock.unix_millis(), clock.awake_millis());
        let (log, appended) = (Appender::new(conn), Appended::default());
        Self { conn, now, awake, dedup_window, log, hand_over, room, appended }
    }

    /// Refuses what adds so many bytes to the file if the last of the disk would go into it. To be called before anything is
    /// written; what makes room, or ends what is there already, need not ask.
    pub(crate) fn check_room(&mut self, bytes: usize) -> Result<(), Failure> {
        let wanted = self.appended.bytes.saturating_add(bytes).saturating_add(COMMIT_BYTES);
        if wanted as u64 <= self.room {
            return Ok(());
        }
        self.appended.refused += 1;
        let message = "the disk is nearly full, and the rest is kept for pruning and checkpoints: nothing was written; \
                       free some space, or remove old events, and try again";
        Err(Failure::Refused(Error::new(ErrorKind::DiskFull, message)))
    }

    /// Appends an event to the log and gives its sequence.
    pub(crate) fn append(&mut self, event: &PublishParts) -> rusqlite::Result<u64> {
        self.append_at(event, self.now)
    }

    /// The same with the time at which it was published.
    pub(crate) fn append_at(&mut self, event: &PublishParts, time: i64) -> rusqlite::Result<u64> {
        let sequence = self.log.append(event, time)?;
        self.appended.count += 1;
        self.appended.bytes += row_size(&event.subject, &event.payload, &event.headers);
        self.appended.bits.add(WakeBits::event(&event.subject));
        if self.hand_over {
            let (subject, payload) = (event.subject.clone(), event.payload.clone());
            let message = Message::new(subject, payload, event.headers.clone(), sequence, time);
            self.appended.events.push(message.with_message_id(event.message_id.clone()));
        }
        Ok(sequence)
    }

    /// Requests were changed, which concerns these.
    pub(crate) fn changed_requests(&mut self, concerns: WakeBits) {
        self.appended.requests = true;
        self.appended.bits.add(concerns);
    }

    /// Something was changed that those wait for, of this process or others.
    pub(crate) fn concerns(&mut self, whom: WakeBits) {
        self.appended.bits.add(whom);
    }

    /// Rows were written of about so many bytes.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.appended.bytes += bytes;
    }

    /// What was appended is not certain to be all there is: readers of this process look into the file.
    pub(crate) fn hand_nothing_over(&mut self) {
        self.appended.events.clear();
    }

    /// What was appended so far was rolled back.
    pub(crate) fn forget(&mut self) {
        self.appended = Appended { refused: self.appended.refused, ..Appended::default() };
    }

    pub(crate) fn mark(&self) -> Mark {
        let Appended { events, count, bytes, bits, requests, .. } = &self.appended;
        Mark { events: events.len(), count: *count, bytes: *bytes, bits: *bits, requests: *requests }
    }

    /// Forgets what was appended since; the rows themselves are rolled back by the caller.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.appended.events.truncate(mark.events);
        (self.appended.count, self.appended.bytes) = (mark.count, mark.bytes);
        (self.appended.bits, self.appended.requests) = (mark.bits, mark.requests);
    }

    pub(crate) fn into_appended(self) -> Appended {
        self.appended
    }
}

/// An operation in the queue, with the caller that waits for it.
pub(crate) struct Waiting<O: Operation> {
    operation: O,
    deadline: Instant,
    outcome: Option<Result<O::Output>>,
    /// `None` where nobody waits, so that nobody can give up either.
    reply: Option<oneshot::Sender<Result<O::Output>>>,
}

/// A [`Waiting`] of any operation.
pub(crate) trait Queued: Send {
    fn durability(&self) -> Durability;
    fn is_alone(&self) -> bool;
    fn is_long(&self) -> bool;
    fn deadline(&self) -> Instant;
    /// Whether the caller has gone: then it need not be begun.
    fn is_abandoned(&self) -> bool;
    fn apply(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    /// Tells the caller: its own outcome if the transaction was committed, else the error.
    fn finish(self: Box<Self>, committed: Result<()>);
}

impl<O: Operation> Waiting<O> {
    pub(crate) fn new(operation: O, deadline: Instant) -> (Self, oneshot::Receiver<Result<O::Output>>) {
        let (reply, answer) = oneshot::channel();
        (Self { operation, deadline, outcome: None, reply: Some(reply) }, answer)
    }

    pub(crate) fn detached(operation: O, deadline: Instant) -> Self {
        Self { operation, deadline, outcome: None, reply: None }
    }
}

impl<O: Operation> Queued for Waiting<O> {
    fn durability(&self) -> Durability {
        self.operation.durability()
    }

    fn is_alone(&self) -> bool {
        self.operation.is_alone()
    }

    fn is_long(&self) -> bool {
        self.operation.is_long()
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn apply(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.outcome = Some(apply(&self.operation, tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        if let (Ok(()), Some(Ok(output))) = (&committed, &self.outcome) {
            self.operation.committed(output);
        }
        let outcome = match (committed, self.outcome) {
            // A refusal stands whatever became of the neighbours.
            (_, Some(Err(refusal))) => Err(refusal),
            (Ok(()), Some(Ok(output))) => Ok(output),
            (Ok(()), None) => Err(Error::closed()),
            (Err(error), _) => Err(error),
        };
        if let Some(reply) = self.reply {
            // The caller may have gone meanwhile.
            let _ = reply.send(outcome);
        } else if let Err(error) = outcome
            && !matches!(error.kind(), ErrorKind::Busy | ErrorKind::Closed)
        {
            // A file that was locked for too long is nothing special, and what it is for is done another time.
            tracing::warn!(%error, "a write that nobody waits for failed");
        }
    }
}

/// Applies an operation: the outer error concerns the transaction, the inner one its caller alone.
pub(crate) fn apply<O: Operation>(operation: &O, tx: &mut Tx<'_>) -> rusqlite::Result<Result<O::Output>> {
    match operation.apply(tx) {
        Ok(output) => Ok(Ok(output)),
        Err(Failure::Refused(error)) => Ok(Err(error)),
        Err(Failure::Sqlite(error)) => Err(error),
    }
}
