//! The examples of `docs/sql.md` in SQL.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rowbus::{ErrorKind, Messenger, Publish, StartAt, Subscribe};

use crate::PATIENCE;
use crate::page::{Place, SQL_DOC, blocks};
use crate::sql_clients::{by_python, python};
use crate::sql_consumers::check_consumers;
use crate::sql_jobs::check_jobs;

/// Runs SQL of the page, on this crate's SQLite or on that of Python, which is another.
pub(crate) type RunSql<'a> = &'a dyn Fn(&Place, &str);

fn by_rusqlite(place: &Place, sql: &str) {
    place.sql().execute_batch(sql).unwrap();
}

/// Runs one SQL example, between what it needs and what it promises.
async fn check_sql(name: &str, code: &str, run: RunSql<'_>) {
    let place = Place::new().await;
    match name {
        "insert" => {
            run(&place, code);
            assert_eq!(place.bodies(1).await, ["one pizza"]);
        }
        "headers" => {
            run(&place, code);
            let message = place.first(1).await.remove(0);
            assert_eq!((&message.payload()[..], message.headers().len()), (&[0, 255][..], 2));
            assert_eq!(message.headers().get("Currency"), Some("EUR"));
        }
        "transaction" | "trigger" => {
            run(&place, code);
            let orders: i64 =
                place.sql().query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
            assert_eq!(orders, 1);
            assert_eq!(place.bodies(1).await, ["one pizza"]);
        }
        "once" => {
            run(&place, code);
            run(&place, code);
            let again = Publish::new("invoice.sent", "again").message_id("invoice-17");
            let ack = place.bus.send(again).await.unwrap();
            assert_eq!((ack.sequence, ack.duplicate), (1, true));
            assert_eq!(place.bodies(1).await, ["17.00"]);
            // And the other way round, once the window has closed.
            place.sql().execute("UPDATE bus_dedup SET expires_at = 0", []).unwrap();
            run(&place, code);
            let ack = place.bus.send(Publish::new("a", "").message_id("invoice-17")).await.unwrap();
            assert_eq!((ack.sequence, ack.duplicate), (3, true));
        }
        "expect" => {
            run(&place, code);
            run(&place, code);
            assert_eq!(place.bodies(1).await, ["1 left"]);
        }
        "quarantine" => {
            place.sql().execute("INSERT INTO bus_events (subject) VALUES ('a..b')", []).unwrap();
            assert_eq!(place.bodies(0).await, [""; 0]);
            let start = Instant::now();
            let reported = || -> Option<(i64, String, String)> {
                let conn = place.sql();
                let columns = |row: &rowbus::rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                conn.query_row(code, [], columns).ok()
            };
            while reported().is_none() && start.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let expected = (1, "the subject breaks the grammar".to_owned(), "a..b".to_owned());
            assert_eq!(reported(), Some(expected));
            run(&place, code);
        }
        "read" | "last" => {
            place.publish(&[("sensor.attic", "18"), ("sensor.attic", "19"), ("door", "open")]).await.unwrap();
            run(&place, code);
            let statements: Vec<&str> = code.split_inclusive(';').collect();
            let conn = place.sql();
            let count = |sql: &str| {
                let mut statement = conn.prepare(sql.trim().trim_end_matches(';')).unwrap();
                statement.query_map([], |_| Ok(())).unwrap().count()
            };
            let counts: Vec<usize> = statements.iter().map(|sql| count(sql)).collect();
            assert_eq!(counts, if name == "read" { vec![3] } else { vec![1, 1] });
        }
        "retention" => {
            run(&place, code);
            let policies = place.bus.retention().await.unwrap();
            let set = policies.iter().find(|policy| policy.filter.as_str() == "sensors.>").unwrap();
            assert_eq!(set.retention.max_age, Some(Duration::from_secs(24 * 3600)));
            assert_eq!((set.retention.max_bytes, set.set_by), (Some(1 << 30), rowbus::SetBy::Operator));
            // Again, over what a builder has set.
            place.sql().execute("UPDATE bus_retention SET set_by = 'builder'", []).unwrap();
            run(&place, code);
            assert_eq!(place.bus.retention().await.unwrap().len(), 2);
        }
        "remove" => {
            place.publish(&[("a", "1"), ("a", "2"), ("a", "3")]).await.unwrap();
            run(&place, code);
            let start = Subscribe::to("a").from(StartAt::Sequence(1));
            let mut stream = place.bus.subscribe(start).await.unwrap();
            let gap = stream.next().await.unwrap().unwrap_err();
            assert!(matches!(gap.kind(), ErrorKind::Gap { first: 1, last: 2, .. }), "{gap:?}");
            assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("3"));
        }
        "enqueue" | "enqueue-later" | "enqueue-once" | "job-state" | "job-reply" | "dead-letters"
        | "pause" | "resume" => check_jobs(&place, name, code, run).await,
        "consumers" | "in-flight" | "dead-events" => check_consumers(&place, name, code, run).await,
        other => panic!("docs/sql.md has an example {other:?} that nothing here checks"),
    }
}

#[tokio::test]
async fn the_sql_examples_do_what_the_page_says() {
    let blocks = blocks();
    assert!(blocks.len() > 10, "the examples are found");
    for block in blocks.iter().filter(|block| block.language == "sql") {
        check_sql(block.name, &block.code, &by_rusqlite).await;
    }
}

#[tokio::test]
async fn the_sql_examples_do_the_same_on_the_sqlite_of_python() {
    if python().is_none() {
        return eprintln!("skipped: there is no Python with its sqlite3 module");
    }
    for block in blocks().iter().filter(|block| block.language == "sql") {
        check_sql(block.name, &block.code, &by_python).await;
    }
}

#[test]
fn the_constraints_that_the_page_names_are_those_of_the_tables() {
    let (events, requests) =
        (include_str!("../../migrations/V1__bus.sql"), include_str!("../../migrations/V2__requests.sql"));
    for (name, schema) in [("bus_events", events), ("bus_requests", requests)] {
        let begin = format!("CREATE TABLE {name} (");
        let table = schema.split_once(&begin).unwrap().1.split_once("\n);\n").unwrap().0;
        let named = |text: &'static str| -> BTreeSet<&str> {
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            words.filter(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'))).collect()
        };
        assert_eq!(named(SQL_DOC), named(table));
    }
}
