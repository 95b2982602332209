//! The examples of `docs/sql.md` about consumers.

use rowbus::rusqlite::types::Value;
use rowbus::{AckPolicy, Consumer, Delivery, Durable, HandlerError, Inbox};

use crate::PATIENCE;
use crate::page::Place;
use crate::sql::RunSql;
use crate::sql_jobs::told;

async fn next(inbox: &mut Inbox) -> Delivery {
    tokio::time::timeout(PATIENCE, inbox.next()).await.expect("a delivery in time").unwrap().unwrap()
}

/// Runs an example between what it needs and what it promises.
pub(crate) async fn check_consumers(place: &Place, name: &str, code: &str, run: RunSql<'_>) {
    let events = [("mail.send", "ada"), ("mail.send", "bob"), ("mail.send", "eve"), ("other", "")];
    place.publish(&events).await.unwrap();
    let mut mailer = place.bus.consumer(Consumer::durable("mailer").filter("mail.*")).await.unwrap();
    let (ada, bob, eve) = (next(&mut mailer).await, next(&mut mailer).await, next(&mut mailer).await);
    let indexer = Consumer::durable("indexer").ack_policy(AckPolicy::Cumulative);
    let mut indexer = place.bus.consumer(indexer).await.unwrap();
    next(&mut indexer).await.ack().await.unwrap();
    place.bus.pause_consumer("indexer").await.unwrap();
    ada.ack().await.unwrap();
    bob.fail(HandlerError::new("not yet")).await.unwrap();
    run(place, code);
    match name {
        "consumers" => {
            let found = rows(place, code, 6);
            assert_eq!(found[0][..5], ["indexer", "cumulative", "1", "-", "1"]);
            assert_eq!(found[0][5], "3");
            assert_eq!(found[1][..5], ["mailer", "explicit", "0", "-", "1"]);
            assert_eq!(found.len(), 2);
        }
        "in-flight" => {
            let found = rows(place, code, 5);
            assert_eq!(found[0][..3], ["2", "1", "0"]);
            assert!(found[0][3].starts_with("1 ") && found[0][3].ends_with(" not yet\n"), "{found:?}");
            assert_eq!(found[0][4], "bob");
            assert_eq!(found[1], ["3", "1", "1", "-", "eve"]);
            assert_eq!(found.len(), 2);
        }
        "dead-events" => {
            eve.term("nobody is called eve").await.unwrap();
            let found = rows(place, code, 7);
            assert_eq!(found[0][..6], ["1", "mailer", "3", "eve", "nobody is called eve", "1"]);
            assert_eq!(found.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    mailer.leave().await.unwrap();
    indexer.leave().await.unwrap();
}

/// What a query finds, as texts; NULL is a dash.
fn rows(place: &Place, sql: &str, columns: usize) -> Vec<Vec<String>> {
    let conn = place.sql();
    let mut statement = conn.prepare(sql.trim()).unwrap();
    assert_eq!(statement.column_count(), columns);
    let row = |row: &rowbus::rusqlite::Row<'_>| {
        (0..columns)
            .map(|at| row.get::<_, Value>(at).map(|value| told(value).unwrap_or("-".to_owned())))
            .collect()
    };
    statement.query_map([], row).unwrap().map(rowbus::rusqlite::Result::unwrap).collect()
}
