//! A publish and a job inside a transaction of sqlx: the order, the event and the job, or none of them.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rowbus::sql::{self, Statement, Value};
use rowbus::{
    Call, DurableExt, Job, Message, Messenger, MessengerExt, Publish, Reply, SqliteBus, StartAt, Subscribe,
    Subscription,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, Transaction};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An idle bus finds rows of other drivers within a quarter of a second; the rest is for a loaded machine.
const DELIVERY: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");

    let bus = SqliteBus::open(&path).await?;
    let mut orders = bus.subscribe(Subscribe::to("orders.>").from(StartAt::Oldest)).await?;

    let mut app = SqliteConnectOptions::new().filename(&path).connect().await?;
    sqlx::query("CREATE TABLE orders (item TEXT NOT NULL)").execute(&mut app).await?;

    order(&mut app, "pizza").await?.commit().await?;
    let message = next(&mut orders).await?;
    assert_eq!(message.subject().as_str(), "orders.created");
    assert_eq!(message.text(), Some("pizza"));
    assert_eq!(message.headers().get("Driver"), Some("sqlx"));

    order(&mut app, "regret").await?.rollback().await?;
    order(&mut app, "pasta").await?.commit().await?;
    assert_eq!(next(&mut orders).await?.text(), Some("pasta"), "only what was committed arrives");

    let kept: Vec<String> =
        sqlx::query_scalar("SELECT item FROM orders ORDER BY rowid").fetch_all(&mut app).await?;
    assert_eq!(kept, ["pizza", "pasta"]);

    let jobs = enqueued(&mut app).await?;
    let kitchen = bus
        .serve("oven.*", |call: Call| async move { Ok(format!("hot {}", call.text().unwrap_or("?"))) })
        .await?;
    let mut cooked = Vec::new();
    for id in jobs {
        let reply: Reply = tokio::time::timeout(DELIVERY, bus.reply(id.into())).await??;
        cooked.push(reply.text().unwrap_or("?").to_owned());
    }
    assert_eq!(cooked, ["hot pizza", "hot pasta"], "only what was committed is done");
    kitchen.stop().await?;

    app.close().await?;
    bus.close().await?;
    println!(
        "rowbus beside sqlx, on SQLite {}: {} orders, as many events and jobs",
        rowbus::rusqlite::version(),
        kept.len()
    );
    Ok(())
}

/// The ids of the jobs, in the order in which they were enqueued.
async fn enqueued(app: &mut SqliteConnection) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT id FROM bus_requests ORDER BY sequence").fetch_all(app).await?)
}

/// A transaction, not committed yet, that takes an order, tells of it and has it cooked.
async fn order<'a>(app: &'a mut SqliteConnection, item: &'static str) -> Result<Transaction<'a, Sqlite>> {
    // IMMEDIATE, as every writer of a shared file should: a transaction that becomes a writer halfway can fail as busy
    // with no use in waiting.
    let mut transaction = app.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("INSERT INTO orders (item) VALUES (?1)").bind(item).execute(&mut *transaction).await?;

    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let created = Publish::new("orders.created", item).header("Driver", "sqlx");
    run(&mut transaction, sql::publish(created, now)?).await?;
    run(&mut transaction, sql::enqueue(Job::new("oven.bake", item).priority(1), now)?).await?;
    let last = "SELECT id FROM bus_requests WHERE sequence = last_insert_rowid()";
    let id: String = sqlx::query_scalar(last).fetch_one(&mut *transaction).await?;
    assert_eq!(id.len(), 36, "{id}");
    Ok(transaction)
}

/// Runs a statement of rowbus inside a transaction of sqlx.
async fn run(transaction: &mut Transaction<'_, Sqlite>, statement: Statement) -> Result<()> {
    let mut insert = sqlx::query(statement.sql);
    for value in statement.params {
        insert = match value {
            Value::Null => insert.bind(None::<String>),
            Value::Integer(integer) => insert.bind(integer),
            Value::Text(text) => insert.bind(text),
            Value::Blob(bytes) => insert.bind(bytes),
            other => return Err(format!("a kind of value that is new to this program: {other:?}").into()),
        };
    }
    insert.execute(&mut **transaction).await?;
    Ok(())
}

async fn next(stream: &mut Subscription) -> Result<Message> {
    let item = tokio::time::timeout(DELIVERY, stream.next()).await?;
    Ok(item.ok_or("the stream ended")??)
}
