//! A transaction on the bus's own connection: the host's statements, and what the bus is to do, at once or not at all.

use std::any::Any;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::job_handle::JobId;
use crate::publish::{Durability, PubAck, Publish};
use crate::sqlite::publishing::publish;
use crate::sqlite::work::Work;
use crate::sqlite::work::jobs::{self, NewJob};
use crate::sqlite::writer::{Failure, Inside, Operation, Tx};
use crate::sqlite::{SqliteBus, fault};

/// A transaction that is open, from [`SqliteBus::transaction`]. It derefs to rusqlite's [`Connection`] for statements of your own.
pub struct Transaction<'a, 'c> {
    tx: &'a mut Tx<'c>,
    max_payload: usize,
}

impl Transaction<'_, '_> {
    /// Publishes in this transaction.
    ///
    /// # Errors
    /// As [`Messenger::send`](crate::Messenger::send). A refusal leaves nothing behind, and the transaction goes on.
    pub fn publish(&mut self, message: Publish) -> Result<PubAck> {
        let event = message.into_parts()?;
        event.check_size(self.max_payload)?;
        publish(self.tx, &event).map_err(into_error)
    }

    /// Enqueues in this transaction; the id is that of the job that has the unique key, where one does.
    ///
    /// # Errors
    /// As [`Durable::submit`](crate::Durable::submit).
    pub fn enqueue(&mut self, job: Job) -> Result<JobId> {
        let job = job.into_parts()?;
        job.check_size(self.max_payload)?;
        self.tx.check_room(jobs::size(&job)).map_err(into_error)?;
        let enqueued =
            jobs::enqueue(self.tx, &NewJob::new(job)).map_err(|e| fault::error("enqueueing", e))?;
        Ok(enqueued.id)
    }
}

impl Deref for Transaction<'_, '_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.tx.conn
    }
}

fn into_error(failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => error,
        Failure::Sqlite(error) => fault::error("writing in a transaction", error),
    }
}

impl SqliteBus {
    /// Runs this in a transaction of its own on the bus's connection, off the runtime: what it writes, publishes and enqueues is
    /// there at once, or, if it fails, not at all. It has the durability of the bus.
    ///
    /// The closure blocks all writes of this bus, and those of all processes, for as long as it runs. If the future is dropped
    /// before it has begun, it never does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// use rowbus::{Job, Publish, SqliteBus};
    ///
    /// let bus = SqliteBus::open(&path).await?;
    /// let sequence = bus.transaction(|tx| {
    ///     tx.execute_batch("CREATE TABLE IF NOT EXISTS orders (item TEXT)")?;
    ///     tx.execute("INSERT INTO orders VALUES (?1)", ["pizza"])?;
    ///     tx.enqueue(Job::new("oven.bake", "pizza"))?;
    ///     Ok(tx.publish(Publish::new("orders.created", "pizza"))?.sequence)
    /// }).await?;
    /// assert_eq!(sequence, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Whatever the closure returns; rusqlite's errors convert by `?`. `InvalidOption` if it tries to begin, commit or roll back, or
    /// to attach a file, and for a call of the same bus from within it, which could only wait for itself. `Busy`, `DiskFull`,
    /// `Indeterminate`, … as every writing verb.
    ///
    /// # Panics
    /// If the closure does; nothing is written then, and the bus goes on.
    pub async fn transaction<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_, '_>) -> Result<T> + Send + 'static,
    {
        let core = self.core();
        let operation = RunInTransaction {
            run: Mutex::new(Some(run)),
            work: Arc::clone(core.work()),
            durability: core.options().durability,
            max_payload: core.options().max_payload,
        };
        match core.writer().run(operation).await? {
            Ok(output) => Ok(output),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

struct RunInTransaction<F> {
    run: Mutex<Option<F>>,
    work: Arc<Work>,
    durability: Durability,
    max_payload: usize,
}

/// What its caller is to see: its output, or its panic.
type Ran<T> = Result<T, Box<dyn Any + Send>>;

impl<T, F> Operation for RunInTransaction<F>
where
    T: Send + 'static,
    F: FnOnce(&mut Transaction<'_, '_>) -> Result<T> + Send + 'static,
{
    type Output = Ran<T>;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Ran<T>, Failure> {
        let Some(run) = self.run.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(Failure::Refused(Error::closed()));
        };
        let (writer, max_payload) = (self.work.writer_address(), self.max_payload);
        let ran = guarded(tx, |tx| in_savepoint(tx, writer, max_payload, run, Result::is_ok))?;
        match ran.outcome {
            Ok(Ok(_)) if ran.rolled_back => {
                let message =
                    "the transaction was rolled back by one of its statements (ON CONFLICT ROLLBACK)";
                Err(Failure::Refused(Error::new(ErrorKind::Database, message)))
            }
            Ok(Ok(output)) => Ok(Ok(output)),
            Ok(Err(error)) => Err(Failure::Refused(error)),
            Err(panic) => Ok(Err(panic)),
        }
    }

    fn committed(&self, _: &Self::Output) {
        self.work.timers_changed();
    }
}

/// How a closure in a transaction has ended.
pub(crate) struct InSavepoint<R> {
    /// What it returned, or its panic.
    pub(crate) outcome: Result<R, Box<dyn Any + Send>>,
    /// One of its statements has rolled the whole transaction back, with all that was written before.
    pub(crate) rolled_back: bool,
}

/// Runs what calls a host's closures, which may neither end the transaction nor reach out of it. Where one of them has ended it
/// none the less, by an `ON CONFLICT ROLLBACK`, another one is open afterwards, with nothing in it.
///
/// The closures in it may share a guard: to set one has SQLite compile all statements anew.
pub(crate) fn guarded<T>(
    tx: &mut Tx<'_>,
    run: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    tx.conn.authorizer(Some(deny_transactions))?;
    // A statement behind one that has ended the transaction would commit by itself.
    tx.conn.commit_hook(Some(|| true))?;
    let ran = run(tx);
    tx.conn.commit_hook(None::<fn() -> bool>)?;
    tx.conn.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    if tx.conn.is_autocommit() {
        tx.conn.execute_batch("BEGIN IMMEDIATE")?;
        tx.forget();
    }
    ran
}

/// Runs a host's closure, and undoes what it has written unless its result is to be kept: the way back without giving up the
/// lock.
pub(crate) fn in_savepoint<R>(
    tx: &mut Tx<'_>,
    writer: usize,
    max_payload: usize,
    run: impl FnOnce(&mut Transaction<'_, '_>) -> R,
    keep: impl FnOnce(&R) -> bool,
) -> rusqlite::Result<InSavepoint<R>> {
    let mark = tx.mark();
    tx.conn.prepare_cached("SAVEPOINT rowbus_transaction")?.execute([])?;
    let outcome = {
        let _inside = Inside::of(writer);
        let mut inside = Transaction { tx: &mut *tx, max_payload };
        std::panic::catch_unwind(AssertUnwindSafe(|| run(&mut inside)))
    };
    if tx.conn.is_autocommit() {
        return Ok(InSavepoint { outcome, rolled_back: true });
    }
    if outcome.as_ref().is_ok_and(keep) {
        // The host may have rolled a part of it back, to a savepoint of its own: readers look into the file.
        tx.hand_nothing_over();
    } else {
        tx.conn.prepare_cached("ROLLBACK TO rowbus_transaction")?.execute([])?;
        tx.back_to(mark);
    }
    tx.conn.prepare_cached("RELEASE rowbus_transaction")?.execute([])?;
    Ok(InSavepoint { outcome, rolled_back: false })
}

/// Pragmas whose argument names what is asked about.
const READ_ONLY: [&str; 6] =
    ["table_info", "table_xinfo", "index_list", "index_info", "foreign_key_list", "foreign_key_check"];

/// It is not the closure's to end the transaction, or to reach files that are not in it.
fn deny_transactions(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Transaction { .. } | AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            Authorization::Deny
        }
        // Settings of the connection outlast the transaction; what is only read about a table has an argument as well.
        AuthAction::Pragma { pragma_name, pragma_value: Some(_) } if !READ_ONLY.contains(&pragma_name) => {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }
}

impl From<rusqlite::Error> for Error {
    /// For closures of [`SqliteBus::transaction`].
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) {
            let message = "a transaction of a bus can neither begin, commit nor roll back, attach a file nor change a setting: return an error to \
                           have nothing written, or Ok to have all of it";
            return Self::with_source(ErrorKind::InvalidOption, message, error);
        }
        fault::error("a statement failed", error)
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sqlite::wake::{Bell, WakeBits};

    #[tokio::test]
    async fn a_transaction_rings_for_what_it_has_changed_and_not_for_the_hosts_own_tables() {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(folder.path().join("app.db")).await.unwrap();
        let bell = Bell::open(bus.path());
        // It says that it is there behind its opening.
        while bus.peers().await.unwrap().is_empty() {}
        let rung_by = async |sql: &'static str| {
            let armed = bell.arm(WakeBits::EVERYTHING);
            bus.transaction(move |tx| Ok(tx.execute_batch(sql)?)).await.unwrap();
            armed.sleep(Duration::ZERO)
        };
        assert!(!rung_by("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)").await);
        assert!(rung_by("INSERT INTO bus_events (subject) VALUES ('a')").await);
        assert!(rung_by("INSERT INTO bus_requests (subject) VALUES ('a')").await);
        assert!(!rung_by("UPDATE mine SET x = 2").await);
    }
}
