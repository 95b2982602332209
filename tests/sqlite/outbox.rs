//! Publishing in a transaction of the host's own.

use rowbus::rusqlite::{Connection, Transaction, TransactionBehavior};
use rowbus::sqlite::{enqueue_in, publish_in};
use rowbus::{Call, Durable, DurableExt, ErrorKind, Job, JobState, Messenger, MessengerExt, Publish};

use crate::{Place, from_oldest, listed, next, texts};

fn begin(conn: &mut Connection) -> Transaction<'_> {
    conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap()
}

#[tokio::test]
async fn a_message_is_there_if_and_only_if_the_hosts_transaction_is_committed() {
    let place = Place::new();
    let bus = place.open().await;
    let mut conn = place.sql();
    conn.execute_batch("CREATE TABLE orders (item TEXT)").unwrap();
    let tx = begin(&mut conn);
    tx.execute("INSERT INTO orders VALUES ('anchovies')", []).unwrap();
    publish_in(&tx, Publish::new("orders.created", "anchovies")).unwrap();
    drop(tx);
    let tx = begin(&mut conn);
    let message = || Publish::new("orders.created", "pizza").header("Source", "app").message_id("one");
    let ack = publish_in(&tx, message()).unwrap();
    let again = publish_in(&tx, message()).unwrap();
    assert_eq!((again.duplicate, again.sequence), (true, ack.sequence));
    let refused = publish_in(&tx, Publish::new("orders.created", "late").expect_last(ack.sequence + 1));
    assert!(matches!(refused.unwrap_err().kind(), ErrorKind::WrongSequence { .. }));
    publish_in(&tx, Publish::new("orders.created", "salad").expect_last(ack.sequence)).unwrap();
    tx.commit().unwrap();
    let mut stream = from_oldest(&bus, "orders.>").await;
    assert_eq!(texts(&mut stream, 2).await, ["pizza", "salad"]);
    // The bus knows the id as if it had been published on it.
    assert!(bus.send(message()).await.unwrap().duplicate);
}

#[tokio::test]
async fn what_cannot_be_published_leaves_the_transaction_as_it_was() {
    let place = Place::new();
    let bus = place.open().await;
    listed(&bus).await;
    let mut conn = place.sql();
    let without = publish_in(&conn, Publish::new("a", "x")).unwrap_err();
    assert_eq!(without.kind(), ErrorKind::InvalidOption);
    assert!(without.to_string().contains("BEGIN IMMEDIATE"), "{without}");
    let tx = begin(&mut conn);
    let refusal = |message| publish_in(&tx, message).unwrap_err().kind();
    assert_eq!(refusal(Publish::new("a..b", "x")), ErrorKind::InvalidSubject);
    let too_large = refusal(Publish::new("a", vec![0; (1 << 20) + 1]));
    assert!(matches!(too_large, ErrorKind::PayloadTooLarge { .. }), "{too_large:?}");
    assert!(!tx.is_autocommit());
    publish_in(&tx, Publish::new("a", "only")).unwrap();
    tx.commit().unwrap();
    assert_eq!(texts(&mut from_oldest(&bus, ">").await, 1).await, ["only"]);
}

#[tokio::test]
async fn a_bus_in_an_attached_file_and_a_file_without_one_are_refused() {
    let place = Place::new();
    let bus = place.open().await;
    let conn = Connection::open(place.join("other.db")).unwrap();
    conn.execute("ATTACH ?1 AS bus", [place.path().to_str().unwrap()]).unwrap();
    conn.execute_batch("BEGIN").unwrap();
    let error = publish_in(&conn, Publish::new("a", "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("ATTACHed"), "{error}");
    conn.execute_batch("COMMIT").unwrap();
    assert!(bus.last("a".parse().unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_of_a_newer_library_that_this_one_may_not_write_is_refused() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let mut conn = place.sql();
    conn.execute("UPDATE bus_meta SET value = '99' WHERE key = 'min_writer'", []).unwrap();
    let tx = begin(&mut conn);
    let error = publish_in(&tx, Publish::new("a", "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaTooNew, "{error}");
}

#[tokio::test]
async fn a_job_enqueued_in_a_hosts_transaction_is_there_if_that_is_committed() {
    let place = Place::new();
    let bus = place.open().await;
    let mut conn = place.sql();
    let tx = begin(&mut conn);
    let lost = enqueue_in(&tx, Job::new("mail.send", "lost")).unwrap();
    tx.rollback().unwrap();
    assert_eq!(bus.job(lost).await.unwrap_err().kind(), ErrorKind::NotFound);
    let tx = begin(&mut conn);
    let kept = enqueue_in(&tx, Job::new("mail.send", "kept").unique("one")).unwrap();
    assert_eq!(enqueue_in(&tx, Job::new("mail.send", "again").unique("one")).unwrap(), kept);
    tx.commit().unwrap();
    let mail = bus.serve("mail.send", |call: Call| async move { Ok(call.into_message().into_payload()) });
    let mail = mail.await.unwrap();
    assert_eq!(bus.reply(kept).await.unwrap().text(), Some("kept"));
    mail.stop().await.unwrap();
}

#[tokio::test]
async fn a_transaction_of_the_bus_is_all_there_or_not_at_all() {
    let place = Place::new();
    let bus = place.open().await;
    let mut events = bus.stream(">").await.unwrap();
    let write = |fail: bool| {
        bus.transaction(move |tx| {
            tx.execute_batch("CREATE TABLE IF NOT EXISTS mine (x)")?;
            tx.execute("INSERT INTO mine VALUES (1)", [])?;
            let job = tx.enqueue(Job::new("work", ""))?;
            tx.publish(Publish::new("made", ""))?;
            if fail { Err(rowbus::Error::new(ErrorKind::Io, "no")) } else { Ok(job) }
        })
    };
    assert_eq!(write(true).await.unwrap_err().to_string(), "no");
    let job = write(false).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().sequence(), 1);
    assert_eq!(bus.job(job).await.unwrap().state, JobState::Ready);
    let count = |sql: &str| place.sql().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM mine"), 1);
    assert_eq!(count("SELECT count(*) FROM bus_requests"), 1);
}

#[tokio::test]
async fn a_transaction_can_neither_end_itself_nor_attach_a_file_nor_call_its_own_bus() {
    let place = Place::new();
    let bus = place.open().await;
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "ATTACH ':memory:' AS other"] {
        let refused = bus.transaction(move |tx| Ok(tx.execute_batch(sql)?)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidOption, "{sql}: {refused}");
    }
    let same = bus.clone();
    let runtime = tokio::runtime::Handle::current();
    let called =
        bus.transaction(move |_| Ok(runtime.block_on(same.publish("a", "")).unwrap_err())).await.unwrap();
    assert_eq!(called.kind(), ErrorKind::InvalidOption, "{called}");
    // Another bus on another file can be called.
    let elsewhere = Place::new();
    let other = elsewhere.open().await;
    let runtime = tokio::runtime::Handle::current();
    let sequence =
        bus.transaction(move |_| Ok(runtime.block_on(other.publish("a", ""))?.sequence)).await.unwrap();
    assert_eq!(sequence, 1);
    assert_eq!(bus.publish("a", "").await.unwrap().sequence, 1, "nothing was written by any of them");
}

#[tokio::test]
async fn a_panic_in_a_transaction_reaches_its_caller_and_the_bus_goes_on() {
    let place = Place::new();
    let bus = place.open().await;
    let panicking = bus.clone();
    let panicked = tokio::spawn(async move {
        let run = |tx: &mut rowbus::sqlite::Transaction<'_, '_>| -> rowbus::Result<()> {
            tx.publish(Publish::new("a", ""))?;
            panic!("on purpose");
        };
        panicking.transaction(run).await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(bus.publish("a", "").await.unwrap().sequence, 1);
}

#[tokio::test]
async fn a_bus_in_an_attached_file_is_refused_jobs_as_well() {
    let (place, other) = (Place::new(), Place::new());
    place.open().await.close().await.unwrap();
    let mut conn = Connection::open(other.path()).unwrap();
    conn.execute("ATTACH ?1 AS bus", [place.path().to_str().unwrap()]).unwrap();
    let tx = begin(&mut conn);
    let refused = enqueue_in(&tx, Job::new("a", "")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidOption);
    assert!(refused.to_string().contains("ATTACHed"), "{refused}");
}

#[tokio::test]
async fn what_a_transaction_rolls_back_to_a_savepoint_of_its_own_reaches_no_stream() {
    let place = Place::new();
    let bus = place.open().await;
    let mut events = bus.stream(">").await.unwrap();
    bus.publish("a", "first").await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().text(), Some("first"));
    let run = |tx: &mut rowbus::sqlite::Transaction<'_, '_>| {
        tx.execute_batch("SAVEPOINT mine")?;
        tx.publish(Publish::new("a", "never"))?;
        tx.execute_batch("ROLLBACK TO mine")?;
        Ok(())
    };
    bus.transaction(run).await.unwrap();
    bus.publish("a", "second").await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().text(), Some("second"));
    // A statement that rolls everything back is told as that.
    let run = |tx: &mut rowbus::sqlite::Transaction<'_, '_>| {
        tx.execute_batch("CREATE TABLE one (x UNIQUE ON CONFLICT ROLLBACK); INSERT INTO one VALUES (1)")?;
        let _ = tx.execute("INSERT INTO one VALUES (1)", []);
        Ok(())
    };
    assert_eq!(bus.transaction(run).await.unwrap_err().kind(), ErrorKind::Database);
    let setting = bus.transaction(|tx| Ok(tx.execute_batch("PRAGMA query_only = ON")?)).await.unwrap_err();
    assert_eq!(setting.kind(), ErrorKind::InvalidOption);
    bus.publish("a", "third").await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().text(), Some("third"));
}
