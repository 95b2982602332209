//! Publishing and enqueueing in a transaction of the host's own: the outbox.

use rusqlite::Connection;

use crate::clock::SystemClock;
use crate::defaults::{DEDUP_WINDOW, MAX_PAYLOAD};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::job_handle::JobId;
use crate::publish::{PubAck, Publish};
use crate::retry::millis;
use crate::sqlite::publishing::publish;
use crate::sqlite::work::jobs::{self, Enqueued, NewJob};
use crate::sqlite::writer::{Failure, Tx};
use crate::sqlite::{fault, schema};

/// Publishes in a transaction of your own, on your own connection to the file of a bus: the message is there if, and only
/// if, the transaction is committed. The sequence in the acknowledgement is a promise that the commit makes good.
///
/// `message_id` (within 2 minutes) and `expect_last` mean what they mean on a bus; a refusal leaves nothing behind, and the
/// transaction open. The message's durability is that of your commit, by your connection's `synchronous`. Readers notice it as
/// they do any program's commits; with [`SqliteBus::attach`](crate::SqliteBus::attach) at once.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// use rowbus::rusqlite::{Connection, TransactionBehavior::Immediate};
/// use rowbus::{MessengerExt, Publish, SqliteBus};
///
/// let bus = SqliteBus::open(&path).await?;
/// let mut created = bus.stream("orders.created").await?;
/// let mut conn = Connection::open(&path).unwrap();
/// conn.execute_batch("CREATE TABLE orders (item TEXT)").unwrap();
///
/// let tx = conn.transaction_with_behavior(Immediate).unwrap();
/// tx.execute("INSERT INTO orders VALUES ('pizza')", []).unwrap();
/// rowbus::sqlite::publish_in(&tx, Publish::new("orders.created", "pizza"))?;
/// tx.commit().unwrap();                                          // both, or neither
/// assert_eq!(created.next().await.unwrap()?.text(), Some("pizza"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// As publishing on a bus: `InvalidSubject`, `InvalidHeader`, `InvalidOption`, `PayloadTooLarge` (1 MiB), `WrongSequence`. `InvalidOption`
/// if the connection has no open transaction, or its own file has no bus, also where a bus is ATTACHed: a transaction over two
/// files is not one after a power cut. `SchemaTooNew`; `Busy`, `DiskFull`, … if the statement fails.
pub fn publish_in(conn: &Connection, message: Publish) -> Result<PubAck> {
    let event = message.into_parts()?;
    event.check_size(MAX_PAYLOAD)?;
    in_transaction(conn, |tx| publish(tx, &event))
}

/// Enqueues in a transaction of your own, as [`publish_in`] publishes: the job is there if, and only if, the
/// transaction is committed.
///
/// Its id is known at once; [`Durable::replies`](crate::Durable::replies) asks for its reply. Where another job has its unique
/// key, the id is that of the other one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
/// use rowbus::rusqlite::{Connection, TransactionBehavior::Immediate};
/// use rowbus::{Call, DurableExt, Job, MessengerExt, SqliteBus};
///
/// let bus = SqliteBus::open(&path).await?;
/// let mut conn = Connection::open(&path).unwrap();
/// let tx = conn.transaction_with_behavior(Immediate).unwrap();
/// let id = rowbus::sqlite::enqueue_in(&tx, Job::new("mail.send", "to: ada"))?;
/// tx.commit().unwrap();
/// let mail = bus.serve("mail.send", |_: Call| async { Ok("sent") }).await?;
/// assert_eq!(bus.reply(id).await?.text(), Some("sent"));
/// # mail.stop().await }
/// ```
///
/// # Errors
/// As [`publish_in`], and every mistake of [`Job`].
pub fn enqueue_in(conn: &Connection, job: Job) -> Result<JobId> {
    let job = job.into_parts()?;
    job.check_size(MAX_PAYLOAD)?;
    let new = NewJob::new(job);
    in_transaction(conn, |tx| jobs::enqueue(tx, &new).map_err(Failure::from)).map(|Enqueued { id, .. }| id)
}

fn in_transaction<T>(conn: &Connection, write: impl FnOnce(&mut Tx<'_>) -> Result<T, Failure>) -> Result<T> {
    if conn.is_autocommit() {
        let message = "the connection has no transaction open; begin one, best with BEGIN IMMEDIATE";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    schema::check_main(conn)?;
    let mut tx = Tx::new(conn, &SystemClock, millis(DEDUP_WINDOW), false, u64::MAX);
    write(&mut tx).map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::Sqlite(error) => fault::error("writing in a transaction", error),
    })
}
