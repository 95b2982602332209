//! From a path to a bus: what is made, and what is refused with its remedy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rowbus::rusqlite::Connection;
use rowbus::sqlite::Migrate;
use rowbus::{Error, ErrorKind, Messenger, MessengerExt, SqliteBus};

use crate::child::Process;
use crate::{PATIENCE, Place};

async fn refusal(path: impl AsRef<std::path::Path>) -> Error {
    SqliteBus::open(path).await.expect_err("it must be refused")
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_is_private_to_its_user_and_grows_its_companions_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "1").await.unwrap();
    for entry in std::fs::read_dir(place.join("").as_path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_path_that_cannot_hold_a_bus_is_refused() {
    let place = Place::new();
    for path in ["", ":memory:", "file:bus.db?mode=memory"] {
        let error = refusal(path).await;
        assert_eq!(error.kind(), ErrorKind::InvalidPath, "{path:?}");
        assert!(error.to_string().contains("InMemBus"), "{error}");
    }
    assert!(refusal(place.join("")).await.to_string().contains("not a regular file"));
    assert_eq!(refusal(place.join("missing/bus.db")).await.kind(), ErrorKind::InvalidPath);
    let error = SqliteBus::builder(place.path()).create(false).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidPath);
    assert!(!place.path().exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = Place::new();
    std::fs::write(
        place.path(),
        "a letter to my aunt, long enough to be looked at for a header of SQLite".repeat(20),
    )
    .unwrap();
    let before = std::fs::read(place.path()).unwrap();
    assert_eq!(refusal(place.path()).await.kind(), ErrorKind::NotADatabase);
    assert_eq!(std::fs::read(place.path()).unwrap(), before);
}

#[tokio::test]
async fn a_hosts_file_in_rollback_mode_is_converted_only_when_asked() {
    let place = Place::new();
    place.sql().execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (7)").unwrap();
    let error = refusal(place.path()).await;
    assert_eq!(error.kind(), ErrorKind::NotWal);
    assert!(error.to_string().contains("convert_to_wal"), "{error}");
    let mode = |conn: &Connection| {
        conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(mode(&place.sql()), "delete");
    let bus = SqliteBus::builder(place.path()).convert_to_wal(true).open().await.unwrap();
    bus.publish("a", "1").await.unwrap();
    assert_eq!(mode(&place.sql()), "wal");
    assert_eq!(place.sql().query_row("SELECT x FROM mine", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
}

#[tokio::test]
async fn a_new_file_can_give_back_its_free_pages_and_a_hosts_file_keeps_its_setting() {
    let (new, host) = (Place::new(), Place::new());
    host.sql().execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE mine (x)").unwrap();
    let auto_vacuum = async |place: &Place| {
        place.open().await.publish("a", "1").await.unwrap();
        place.sql().pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(auto_vacuum(&new).await, 2, "incremental");
    assert_eq!(auto_vacuum(&host).await, 0, "none");
}

#[tokio::test]
async fn a_hosts_own_table_with_a_name_of_the_bus_is_refused() {
    let place = Place::new();
    place.sql().execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE bus_stops (name)").unwrap();
    let error = refusal(place.path()).await;
    assert_eq!(error.kind(), ErrorKind::NameTaken);
    assert!(error.to_string().contains("bus_stops"), "{error}");
}

#[tokio::test]
async fn manual_migration_refuses_a_file_without_the_tables_and_takes_one_with_them() {
    let place = Place::new();
    let manual = || SqliteBus::builder(place.path()).migrate(Migrate::Manual).open();
    assert_eq!(manual().await.unwrap_err().kind(), ErrorKind::SchemaTooOld);
    place.open().await.close().await.unwrap();
    manual().await.unwrap().publish("a", "1").await.unwrap();
}

#[tokio::test]
async fn options_out_of_range_are_refused_before_anything_is_made() {
    let place = Place::new();
    for builder in [
        SqliteBus::builder(place.path()).max_payload(65 << 20),
        SqliteBus::builder(place.path()).dedup_window(Duration::MAX),
        SqliteBus::builder(place.path()).busy_deadline(Duration::MAX),
    ] {
        assert_eq!(builder.open().await.unwrap_err().kind(), ErrorKind::InvalidOption);
    }
    assert!(!place.path().exists());
}

#[tokio::test]
async fn on_connect_runs_on_every_connection_before_anything_else() {
    let place = Place::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let bus = SqliteBus::builder(place.path())
        .on_connect(move |conn| {
            counted.fetch_add(1, Ordering::SeqCst);
            conn.pragma_update(None, "cache_size", 77)
        })
        .open()
        .await
        .unwrap();
    let after_open = runs.load(Ordering::SeqCst);
    let _stream = bus.stream("a").await.unwrap();
    bus.publish("a", "1").await.unwrap();
    assert!(bus.last("a".try_into().unwrap()).await.unwrap().is_some());
    assert!(runs.load(Ordering::SeqCst) > after_open);
    let fails =
        SqliteBus::builder(place.path()).on_connect(|conn| conn.execute_batch("not SQL")).open().await;
    assert!(fails.unwrap_err().to_string().contains("on_connect"));
}

#[tokio::test]
async fn a_locked_new_file_is_busy_after_the_deadline_and_opens_when_it_is_free() {
    let place = Place::new();
    place.sql().execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE mine (x)").unwrap();
    let mut holder = Process::start("hold", &[place.path().to_str().unwrap()]);
    assert_eq!(holder.hear(), "held");
    let opening = SqliteBus::builder(place.path()).busy_deadline(Duration::from_millis(50)).open().await;
    assert_eq!(opening.unwrap_err().kind(), ErrorKind::Busy);
    holder.tell("go");
    place.open().await.publish("a", "1").await.unwrap();
}

#[test]
fn any_number_of_processes_may_open_a_new_file_at_once() {
    let start = std::time::Instant::now();
    for round in 0..50 {
        let place = Place::new();
        let path = place.path();
        let mut children: Vec<_> =
            (0..32).map(|_| Process::start("open", &[path.to_str().unwrap()])).collect();
        for child in &mut children {
            assert_eq!(child.hear(), "ready");
        }
        for child in &mut children {
            child.tell("go");
        }
        for child in &mut children {
            assert_eq!(child.hear(), "ok", "round {round}");
        }
        for child in &mut children {
            child.ends_well();
        }
    }
    assert!(start.elapsed() < 10 * PATIENCE);
}

#[tokio::test]
async fn opening_and_closing_a_second_bus_keeps_the_locks_of_the_process() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "1").await.unwrap();
    let conn = place.sql();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let second = SqliteBus::open(place.path()).await.unwrap();
    let _stream = second.stream("a").await.unwrap();
    second.close().await.unwrap();
    drop(second);
    // A file opened and closed outside SQLite would have dropped the lock that `conn` holds.
    let mut other = Process::start("lock", &[place.path().to_str().unwrap()]);
    assert_eq!(other.hear(), "busy");
    conn.execute_batch("ROLLBACK").unwrap();
    let mut other = Process::start("lock", &[place.path().to_str().unwrap()]);
    assert_eq!(other.hear(), "locked");
}

#[tokio::test]
async fn a_file_made_by_every_released_schema_still_opens() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut opened = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let fixture = entry.unwrap().path();
        if fixture.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        let place = Place::new();
        std::fs::copy(&fixture, place.path()).unwrap();
        let bus = place.open().await;
        let mut stream = crate::from_oldest(&bus, "fixture.>").await;
        let first = crate::next(&mut stream).await.unwrap();
        assert_eq!(
            (first.text(), first.headers().get("Made-By").is_some()),
            (Some("kept"), true),
            "{fixture:?}"
        );
        bus.publish("fixture.now", "new").await.unwrap();
        assert_eq!(crate::next(&mut stream).await.unwrap().text(), Some("new"));
        let service = bus.serve("fixture.job", |_: rowbus::Call| async { Ok("done") }).await.unwrap();
        assert_eq!(bus.request("fixture.job", "").await.unwrap().text(), Some("done"), "{fixture:?}");
        let left = "SELECT count(*) FROM bus_requests WHERE kind = 'job' AND state != 'done'";
        let left = || place.sql().query_row(left, [], |row| row.get::<_, i64>(0)).unwrap();
        crate::until("the job that it holds is done", || left() == 0).await;
        service.stop().await.unwrap();
        opened += 1;
    }
    assert!(opened > 0);
}
