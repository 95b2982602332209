//! A publish and a job inside a transaction of diesel: the order, the event and the job, or none of them.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::Sqlite;
use rowbus::sql::{self, Statement, Value};
use rowbus::{
    Call, DurableExt, Job, Message, Messenger, MessengerExt, Publish, SqliteBus, StartAt, Subscribe,
    Subscription,
};
use tokio::runtime::{Builder, Runtime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An idle bus finds rows of other drivers within a quarter of a second; the rest is for a loaded machine.
const DELIVERY: Duration = Duration::from_secs(20);

diesel::table! {
    orders (rowid) {
        rowid -> BigInt,
        item -> Text,
    }
}

fn main() -> Result<()> {
    // diesel blocks: this is a program of threads, which enters a runtime for the bus alone.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.db");

    let bus = runtime.block_on(SqliteBus::open(&path))?;
    let mut events = runtime.block_on(bus.subscribe(Subscribe::to("orders.>").from(StartAt::Oldest)))?;

    let mut app = SqliteConnection::establish(path.to_str().ok_or("a path in UTF-8")?)?;
    // diesel itself does not wait for a lock that the bus may hold for a moment.
    app.batch_execute("PRAGMA busy_timeout = 5000; CREATE TABLE orders (item TEXT NOT NULL)")?;

    app.immediate_transaction(|app| order(app, "pizza"))?;
    let message = next(&runtime, &mut events)?;
    assert_eq!(message.subject().as_str(), "orders.created");
    assert_eq!(message.text(), Some("pizza"));
    assert_eq!(message.headers().get("Driver"), Some("diesel"));

    let undone = app.immediate_transaction(|app| {
        order(app, "regret")?;
        Err::<(), Box<dyn Error>>("the guest has left".into())
    });
    assert_eq!(undone.unwrap_err().to_string(), "the guest has left");
    app.immediate_transaction(|app| order(app, "pasta"))?;
    assert_eq!(next(&runtime, &mut events)?.text(), Some("pasta"), "only what was committed arrives");

    let kept: Vec<String> = orders::table.select(orders::item).order(orders::rowid).load(&mut app)?;
    assert_eq!(kept, ["pizza", "pasta"]);

    let jobs: Vec<JobRow> =
        diesel::sql_query("SELECT id FROM bus_requests ORDER BY sequence").load(&mut app)?;
    let cook = |call: Call| async move { Ok(format!("hot {}", call.text().unwrap_or("?"))) };
    let kitchen = runtime.block_on(bus.serve("oven.*", cook))?;
    let mut cooked = Vec::new();
    for JobRow { id } in jobs {
        let reply =
            runtime.block_on(async { tokio::time::timeout(DELIVERY, bus.reply(id.into())).await })??;
        cooked.push(reply.text().unwrap_or("?").to_owned());
    }
    assert_eq!(cooked, ["hot pizza", "hot pasta"], "only what was committed is done");
    runtime.block_on(kitchen.stop())?;

    drop(app);
    runtime.block_on(bus.close())?;
    println!(
        "rowbus beside diesel, on SQLite {}: {} orders, as many events and jobs",
        rowbus::rusqlite::version(),
        kept.len()
    );
    Ok(())
}

#[derive(diesel::QueryableByName)]
struct JobRow {
    #[diesel(sql_type = Text)]
    id: String,
}

/// Takes an order, tells of it and has it cooked, inside the caller's transaction.
fn order(app: &mut SqliteConnection, item: &'static str) -> Result<()> {
    diesel::insert_into(orders::table).values(orders::item.eq(item)).execute(app)?;

    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    run(app, sql::publish(Publish::new("orders.created", item).header("Driver", "diesel"), now)?)?;
    run(app, sql::enqueue(Job::new("oven.bake", item).priority(1), now)?)?;
    let last = "SELECT id FROM bus_requests WHERE sequence = last_insert_rowid()";
    let JobRow { id } = diesel::sql_query(last).get_result(app)?;
    assert_eq!(id.len(), 36, "{id}");
    Ok(())
}

/// Runs a statement of rowbus on diesel's connection.
fn run(app: &mut SqliteConnection, statement: Statement) -> Result<()> {
    let mut insert = diesel::sql_query(statement.sql).into_boxed::<Sqlite>();
    for value in statement.params {
        insert = match value {
            Value::Null => insert.bind::<Nullable<Text>, _>(None::<String>),
            Value::Integer(integer) => insert.bind::<BigInt, _>(integer),
            Value::Text(text) => insert.bind::<Text, _>(text),
            Value::Blob(bytes) => insert.bind::<Binary, _>(bytes),
            other => return Err(format!("a kind of value that is new to this program: {other:?}").into()),
        };
    }
    insert.execute(app)?;
    Ok(())
}

fn next(runtime: &Runtime, stream: &mut Subscription) -> Result<Message> {
    let item = runtime.block_on(async { tokio::time::timeout(DELIVERY, stream.next()).await })?;
    Ok(item.ok_or("the stream ended")??)
}
