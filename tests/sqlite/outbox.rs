//! Publishing in a transaction of the host's own.

use rowbus::rusqlite::{Connection, Transaction, TransactionBehavior};
use rowbus::sqlite::publish_in;
use rowbus::{ErrorKind, Messenger, Publish};

use crate::{Place, from_oldest, listed, texts};

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
