//! Rows written by other programs, as `docs/sql.md` promises.

use rowbus::{ErrorKind, Messenger, MessengerExt, Publish, StartAt, Subscribe, sql};

use crate::{Place, from_oldest, next, texts, until};

#[tokio::test]
async fn rows_in_text_or_blob_are_delivered_to_a_live_stream() {
    let place = Place::new();
    let bus = place.open().await;
    let mut stream = bus.stream("a.>").await.unwrap();
    let conn = place.sql();
    conn.execute_batch(
        "INSERT INTO bus_events (subject, data) VALUES ('a.b', 'text');
         INSERT INTO bus_events (subject, data) VALUES ('other', 'not wanted');
         INSERT INTO bus_events (subject, data, headers) VALUES ('a.b', x'00ff', 'Trace: 7' || char(10) || 'Trace: 8');
         INSERT INTO bus_events (subject) VALUES ('a.c');",
    )
    .unwrap();
    let text = next(&mut stream).await.unwrap();
    assert_eq!((text.sequence(), text.text()), (1, Some("text")));
    let age = chrono_millis() - text.unix_millis();
    assert!((-1_000..60_000).contains(&age), "created_at is {age} ms off");
    let blob = next(&mut stream).await.unwrap();
    assert_eq!((blob.sequence(), &blob.payload()[..]), (3, &[0, 255][..]));
    assert_eq!(blob.headers().get_all("Trace").collect::<Vec<_>>(), ["7", "8"]);
    assert!(next(&mut stream).await.unwrap().payload().is_empty());
}

fn chrono_millis() -> i64 {
    rowbus::Clock::unix_millis(&rowbus::SystemClock)
}

#[tokio::test]
async fn a_statement_of_rowbus_sql_is_a_publish_in_the_callers_transaction() {
    let place = Place::new();
    let bus = place.open().await;
    let mut stream = bus.stream("a").await.unwrap();
    let mut conn = place.sql();
    for (commit, body) in [(false, "rolled back"), (true, "committed")] {
        let tx = conn.transaction().unwrap();
        let statement = sql::publish(Publish::new("a", body).header("H", "1"), 5).unwrap();
        tx.execute(statement.sql, rowbus::rusqlite::params_from_iter(&statement.params)).unwrap();
        if commit { tx.commit().unwrap() } else { tx.rollback().unwrap() }
    }
    let message = next(&mut stream).await.unwrap();
    assert_eq!((message.text(), message.unix_millis()), (Some("committed"), 5));
    assert_eq!(message.headers().get("H"), Some("1"));
}

#[tokio::test]
async fn constraints_refuse_by_name_what_cannot_be_an_event() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let conn = place.sql();
    for (values, constraint) in [
        ("(subject) VALUES (NULL)", "subject"),
        ("(subject) VALUES ('')", "bus_events_subject_is_text_of_1_to_255"),
        ("(subject) VALUES (x'61')", "bus_events_subject_is_text_of_1_to_255"),
        ("(subject, data) VALUES ('a', 7)", "bus_events_data_is_text_or_blob"),
        ("(subject, data) VALUES ('a', NULL)", "data"),
        ("(subject, created_at) VALUES ('a', 'soon')", "bus_events_created_at_is_integer"),
        ("(subject, id) VALUES ('a', -1)", "bus_events_id_is_positive"),
    ] {
        let error = conn.execute(&format!("INSERT INTO bus_events {values}"), []).unwrap_err().to_string();
        assert!(error.contains(constraint), "{values}: {error}");
    }
}

#[tokio::test]
async fn malformed_rows_are_quarantined_once_and_their_subject_goes_on() {
    let place = Place::new();
    let bus = place.open().await;
    let mut live = bus.stream(">").await.unwrap();
    let conn = place.sql();
    conn.execute_batch(
        "PRAGMA ignore_check_constraints = on;
         INSERT INTO bus_events (subject, data) VALUES ('a', '1');
         INSERT INTO bus_events (subject, data) VALUES ('a..b', 'bad subject');
         INSERT INTO bus_events (subject, data) VALUES ('a', 12);
         INSERT INTO bus_events (subject, data) VALUES (CAST(x'ff' AS TEXT), 'not UTF-8');
         INSERT INTO bus_events (subject, data, headers) VALUES ('a', '', 'no colon');
         INSERT INTO bus_events (subject, data) VALUES ('a', '2');",
    )
    .unwrap();
    assert_eq!(texts(&mut live, 2).await, ["1", "2"]);
    let mut replay = from_oldest(&bus, "a").await;
    assert_eq!(texts(&mut replay, 2).await, ["1", "2"]);
    let mut each = bus.subscribe(Subscribe::to(">").from(StartAt::LastPerSubject)).await.unwrap();
    assert_eq!(texts(&mut each, 1).await, ["2"]);
    let rows = || -> Vec<i64> {
        let mut statement =
            conn.prepare("SELECT row_id FROM bus_quarantine WHERE source = 'bus_events' ORDER BY 1").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    until("every bad row is reported", || rows().len() == 4).await;
    assert_eq!(rows(), [2, 3, 4, 5]);
    // A malformed newest row of a subject is an error and not an older message.
    conn.execute("INSERT INTO bus_events (subject, data) VALUES ('a', 12)", []).unwrap();
    assert_eq!(bus.last("a".try_into().unwrap()).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_malformed_policy_ends_no_stream() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "1").await.unwrap();
    let mut before = bus.stream("a").await.unwrap();
    place
        .sql()
        .execute_batch("INSERT INTO bus_retention (filter, pruned_through) VALUES ('bad filter', 'x')")
        .unwrap();
    bus.publish("a", "2").await.unwrap();
    assert_eq!(texts(&mut before, 1).await, ["2"]);
    let mut replay = from_oldest(&bus, "a").await;
    assert_eq!(texts(&mut replay, 2).await, ["1", "2"]);
    let mut live = bus.stream("a").await.unwrap();
    // By another program, so that it is read from the file.
    place.sql().execute("INSERT INTO bus_events (subject, data) VALUES ('a', '3')", []).unwrap();
    for stream in [&mut before, &mut replay, &mut live] {
        assert_eq!(texts(stream, 1).await, ["3"]);
    }
}

#[tokio::test]
async fn an_id_is_never_given_twice_even_after_the_newest_rows_were_deleted() {
    let place = Place::new();
    let bus = place.open().await;
    let mut stream = bus.stream("a").await.unwrap();
    for at in 1..=3 {
        assert_eq!(bus.publish("a", "x").await.unwrap().sequence, at);
    }
    texts(&mut stream, 3).await;
    place.sql().execute("DELETE FROM bus_events", []).unwrap();
    assert_eq!(bus.publish("a", "after").await.unwrap().sequence, 4);
    assert_eq!(texts(&mut stream, 1).await, ["after"]);
}

#[test]
fn a_plain_insert_in_python_is_a_publish() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let place = Place::new();
        let bus = place.open().await;
        let mut stream = bus.stream("from.python").await.unwrap();
        let script = "import sqlite3, sys\n\
                      db = sqlite3.connect(sys.argv[1], timeout=60)\n\
                      db.execute(\"PRAGMA wal_autocheckpoint = 0\")\n\
                      db.execute(\"INSERT INTO bus_events (subject, data) VALUES ('from.python', ?)\", ('hello',))\n\
                      db.commit()\n";
        let run = std::process::Command::new("python3").arg("-c").arg(script).arg(place.path()).status();
        match run {
            Ok(status) => assert!(status.success()),
            Err(error) => return eprintln!("skipped: python3 cannot be run: {error}"),
        }
        assert_eq!(texts(&mut stream, 1).await, ["hello"]);
    });
}
