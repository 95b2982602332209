//! A publish inside a transaction of sqlx: both the order and the event, or neither.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rowbus::sql::{self, Value};
use rowbus::{Message, Messenger, Publish, SqliteBus, StartAt, Subscribe, Subscription};
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

    app.close().await?;
    bus.close().await?;
    println!(
        "rowbus beside sqlx, on SQLite {}: {} orders, as many events",
        rowbus::rusqlite::version(),
        kept.len()
    );
    Ok(())
}

/// A transaction, not committed yet, that takes an order and tells of it.
async fn order<'a>(app: &'a mut SqliteConnection, item: &'static str) -> Result<Transaction<'a, Sqlite>> {
    // IMMEDIATE, as every writer of a shared file should: a transaction that becomes a writer halfway can fail as busy
    // with no use in waiting.
    let mut transaction = app.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("INSERT INTO orders (item) VALUES (?1)").bind(item).execute(&mut *transaction).await?;

    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let statement =
        sql::publish(Publish::new("orders.created", item).header("Driver", "sqlx"), i64::try_from(now)?)?;
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
    insert.execute(&mut *transaction).await?;
    Ok(transaction)
}

async fn next(stream: &mut Subscription) -> Result<Message> {
    let item = tokio::time::timeout(DELIVERY, stream.next()).await?;
    Ok(item.ok_or("the stream ended")??)
}
