//! Copies of a file that others go on using, and what is restored from them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rowbus::rusqlite::Connection;
use rowbus::sqlite::Archive;
use rowbus::{Call, Consumer, Durable, DurableExt, ErrorKind, Job, JobState, Messenger, MessengerExt};
use rowbus::{Publish, Request, SqliteBus, StartAt, Subscribe};

use crate::Place;

fn text(conn: &Connection, sql: &str) -> String {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn files(place: &Place) -> Vec<String> {
    let folder = place.join("x");
    let entries = std::fs::read_dir(folder.parent().unwrap()).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_others_write_is_one_moment_of_the_file_and_whole() {
    let place = Place::new();
    let bus = place.open().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, told) = (bus.clone(), Arc::clone(&stop));
    // Always two together.
    let writing = tokio::spawn(async move {
        let mut pairs = 0_u64;
        while !told.load(Ordering::Relaxed) {
            let pair = ["a", "b"].map(|subject| Publish::new(subject, vec![7; 3000]).relaxed());
            writer.send_all(pair.to_vec()).await.unwrap();
            pairs += 1;
        }
        pairs
    });
    let mut newest = 0;
    for copy in 0..4 {
        let path = place.join(&format!("copy-{copy}.db"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let acked = bus.publish("c", "before").await.unwrap().sequence;
        let backup = bus.backup(&path).await.unwrap();
        assert!(backup.newest >= acked && backup.newest > newest, "{backup:?}");
        newest = backup.newest;
        let conn = Connection::open(&path).unwrap();
        assert_eq!(text(&conn, "PRAGMA integrity_check"), "ok");
        assert_eq!(number(&conn, "SELECT count(*) FROM bus_events"), backup.events.cast_signed());
        let of =
            |subject| number(&conn, &format!("SELECT count(*) FROM bus_events WHERE subject = '{subject}'"));
        assert_eq!(of("a"), of("b"), "half of a transaction");
        assert_eq!(number(&conn, "PRAGMA auto_vacuum"), 2);
        assert_eq!(text(&conn, "PRAGMA journal_mode"), "wal");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0);
}

#[tokio::test]
async fn a_copy_is_one_private_file_with_an_incarnation_of_its_own() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "x").await.unwrap();
    let incarnation = "SELECT value FROM bus_meta WHERE key = 'incarnation'";
    let before = text(&place.sql(), incarnation);
    let target = place.join("copy.db");
    let backup = bus.backup(&target).await.unwrap();
    assert_ne!(backup.incarnation, before);
    assert_eq!(backup.bytes, std::fs::metadata(&target).unwrap().len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let copies: Vec<_> = files(&place).into_iter().filter(|name| name.starts_with("copy")).collect();
    assert_eq!(copies, ["copy.db"]);
    assert_eq!(text(&Connection::open(&target).unwrap(), incarnation), backup.incarnation);
    assert_eq!(text(&place.sql(), incarnation), before);
}

#[tokio::test]
async fn a_file_that_exists_is_not_overwritten_and_neither_is_a_log_beside_it_taken_over() {
    let place = Place::new();
    let bus = place.open().await;
    for name in ["precious.db", "other.db-wal"] {
        std::fs::write(place.join(name), "precious").unwrap();
    }
    for target in [place.join("precious.db"), place.join("other.db"), place.path()] {
        assert_eq!(bus.backup(&target).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(std::fs::read(place.join("precious.db")).unwrap(), b"precious");
    let error = bus.backup(place.join("no-folder/copy.db")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidPath);
    assert!(!files(&place).iter().any(|name| name.contains("unfinished")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_nobody_waits_for_leaves_nothing() {
    let place = Place::new();
    let bus = place.open().await;
    let batch = vec![Publish::new("a", vec![1; 1 << 19]).relaxed(); 64];
    bus.send_all(batch).await.unwrap();
    let begun = Arc::new(tokio::sync::Notify::new());
    let (tell, target) = (Arc::clone(&begun), place.join("copy.db"));
    let mut copying = Box::pin(bus.backup_with(&target, move |_, _| {
        tell.notify_one();
        std::thread::sleep(Duration::from_millis(50));
    }));
    tokio::select! {
        done = &mut copying => panic!("{done:?}"),
        () = begun.notified() => {}
    }
    drop(copying);
    let start = Instant::now();
    while files(&place).iter().any(|name| name.contains("copy")) {
        assert!(start.elapsed() < crate::PATIENCE, "{:?}", files(&place));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A backup that has begun, and goes on when it is told to.
struct Held {
    copying: tokio::task::JoinHandle<rowbus::Result<rowbus::sqlite::Backup>>,
    go_on: std::sync::mpsc::Sender<()>,
}

async fn held(bus: &SqliteBus, target: std::path::PathBuf) -> Held {
    let begun = Arc::new(tokio::sync::Notify::new());
    let ((go_on, may_go_on), tell, bus) = (std::sync::mpsc::channel(), Arc::clone(&begun), bus.clone());
    let copying = tokio::spawn(async move {
        let progress = move |_, _| {
            tell.notify_one();
            let _ = may_go_on.recv();
        };
        bus.backup_with(target, progress).await
    });
    begun.notified().await;
    Held { copying, go_on }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_backups_at_once_leave_the_readers_their_connections() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "x").await.unwrap();
    let mut all = Vec::new();
    for n in 0..6 {
        all.push(held(&bus, place.join(&format!("copy-{n}.db"))).await);
    }
    let last = tokio::time::timeout(crate::PATIENCE, bus.last("a".try_into().unwrap())).await.unwrap();
    assert_eq!(last.unwrap().unwrap().text(), Some("x"));
    for Held { copying, go_on } in all {
        drop(go_on);
        assert_eq!(copying.await.unwrap().unwrap().events, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_ends_with_the_bus_and_leaves_nothing() {
    let place = Place::new();
    let bus = place.open().await;
    let batch = vec![Publish::new("a", vec![1; 1 << 19]).relaxed(); 64];
    bus.send_all(batch).await.unwrap();
    let Held { copying, go_on } = held(&bus, place.join("copy.db")).await;
    let closing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.close().await }
    });
    // From then on none begins any more, and what goes on ends.
    let start = Instant::now();
    while bus.backup(place.join("late.db")).await.map_err(|error| error.kind()) != Err(ErrorKind::Closed) {
        assert!(start.elapsed() < crate::PATIENCE);
        let _ = std::fs::remove_file(place.join("late.db"));
    }
    assert!(!closing.is_finished(), "it waits until nothing is left");
    drop(go_on);
    closing.await.unwrap().unwrap();
    assert_eq!(copying.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(
        !files(&place).iter().any(|name| name.contains("copy") || name.contains("late")),
        "{:?}",
        files(&place)
    );
}

#[tokio::test]
async fn files_of_older_versions_are_copied_as_they_are_and_open_as_copies() {
    for version in [1, 2, 3] {
        let place = Place::new();
        let fixture = format!("{}/tests/fixtures/schema-{version}.db", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(&fixture, place.path()).unwrap();
        let target = place.join("copy.db");
        let archive = Archive::open(place.path()).unwrap();
        let backup = archive.backup(&target, |_, _| ControlFlow::Continue(())).unwrap();
        drop(archive);
        assert_eq!(files(&place), ["bus.db", "copy.db"]);
        assert_eq!(std::fs::read(place.path()).unwrap(), std::fs::read(&fixture).unwrap());
        let newest = "SELECT max(version) FROM bus_schema_history";
        assert_eq!(number(&Connection::open(&target).unwrap(), newest), version);
        let copy = SqliteBus::open(&target).await.unwrap();
        let mut all = copy.subscribe(Subscribe::to(">").from(StartAt::Oldest)).await.unwrap();
        for _ in 0..backup.events {
            crate::next(&mut all).await.unwrap();
        }
        assert!(backup.events > 0 && copy.publish("a", "x").await.unwrap().sequence == backup.newest + 1);
    }
}

#[tokio::test]
async fn a_backup_of_a_file_that_is_told_to_end_leaves_nothing() {
    let place = Place::new();
    let bus = place.open().await;
    bus.send_all(vec![Publish::new("a", vec![1; 1 << 19]).relaxed(); 32]).await.unwrap();
    bus.close().await.unwrap();
    let archive = Archive::open(place.path()).unwrap();
    let error = archive.backup(place.join("copy.db"), |_, _| ControlFlow::Break(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    drop(archive);
    assert!(!files(&place).iter().any(|name| name.contains("copy")), "{:?}", files(&place));
}

#[tokio::test]
async fn a_file_that_somebody_begins_to_use_is_not_read_on_as_one_that_nobody_has() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "x").await.unwrap();
    bus.close().await.unwrap();
    let archive = Archive::open(place.path()).unwrap();
    assert_eq!(archive.events(&[], StartAt::Oldest).unwrap().count(), 1);
    let events = archive.events(&[], StartAt::Oldest).unwrap();
    let bus = place.open().await;
    bus.publish("a", "y").await.unwrap();
    let kinds: Vec<_> = events.map(|event| event.map(|_| ()).map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Err(ErrorKind::Busy)]);
    let archive = Archive::open(place.path()).unwrap();
    assert_eq!(archive.events(&[], StartAt::Oldest).unwrap().filter_map(rowbus::Result::ok).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_opened_beside_its_original_believes_nothing_of_its_processes() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "x").await.unwrap();
    let _inbox = bus.consumer(Consumer::durable("indexer").filter("a")).await.unwrap();
    let job = bus.enqueue(Job::new("mail.send", "1")).await.unwrap();
    // It never ends by itself.
    let begun = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&begun);
    let service = bus.serve("mail.send", move |_: Call| {
        tell.notify_one();
        async { std::future::pending::<rowbus::Result<String, rowbus::HandlerError>>().await }
    });
    let _service = service.await.unwrap();
    begun.notified().await;
    let (asking, request) = (bus.clone(), Request::to("nobody.serves", "").timeout(crate::PATIENCE));
    let asking = tokio::spawn(async move { asking.call(request).await });
    let requests = "SELECT count(*) FROM bus_requests WHERE kind = 'request'";
    while number(&place.sql(), requests) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let target = place.join("copy.db");
    bus.backup(&target).await.unwrap();
    {
        let conn = Connection::open(&target).unwrap();
        for table in ["bus_peers", "bus_members", "bus_requests WHERE kind = 'request'"] {
            assert_eq!(number(&conn, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
        }
        assert_eq!(number(&conn, "SELECT count(*) FROM bus_requests WHERE lease_peer IS NOT NULL"), 0);
    }
    let copy = SqliteBus::open(&target).await.unwrap();
    let served = copy.serve("mail.send", |_: Call| async { Ok::<_, rowbus::HandlerError>("sent") });
    let _served = served.await.unwrap();
    let reply = tokio::time::timeout(crate::PATIENCE, copy.reply(job.id().clone())).await.unwrap();
    assert_eq!(reply.unwrap().text(), Some("sent"));
    // The original has it still.
    assert_eq!(bus.as_durable().unwrap().job(job.id().clone()).await.unwrap().state, JobState::Leased);
    asking.abort();
}

#[tokio::test]
async fn a_position_of_before_the_restored_file_is_told() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish_all((0..10).map(|n| Publish::new("a", format!("{n}")))).await.unwrap();
    let copy = place.join("copy.db");
    bus.backup(&copy).await.unwrap();
    bus.publish_all((10..20).map(|n| Publish::new("a", format!("{n}")))).await.unwrap();
    bus.close().await.unwrap();
    // As docs/backup.md says.
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(place.join(&format!("bus.db{end}")));
    }
    std::fs::rename(&copy, place.path()).unwrap();
    // The copy knows no boot, so that it is as if the machine had been restarted before the first of the two.
    for _ in 0..2 {
        let bus = place.open().await;
        let from = |sequence| Subscribe::to("a").from(StartAt::Sequence(sequence));
        let error = bus.subscribe(from(16)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::CursorAhead { newest: 10, .. }), "{error:?}");
        let consumer = Consumer::durable("late").filter("a").from(StartAt::Sequence(16));
        let error = bus.as_durable().unwrap().consumer(consumer).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::CursorAhead { newest: 10, .. }), "{error:?}");
        let mut all = bus.subscribe(Subscribe::to("a").from(StartAt::Oldest)).await.unwrap();
        for n in 0..10 {
            assert_eq!(all.next().await.unwrap().unwrap().text(), Some(&*format!("{n}")));
        }
        bus.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_position_of_before_the_restored_file_is_told_however_far_that_has_grown() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish_all((0..10).map(|n| Publish::new("a", format!("{n}")))).await.unwrap();
    let (kept, target) = (bus.incarnation().await.unwrap(), place.join("copy.db"));
    let backup = bus.backup(&target).await.unwrap();
    let from = || Subscribe::to("a").from(StartAt::Sequence(5));
    drop(bus.subscribe(from().of_incarnation(&*kept)).await.unwrap());
    let copy = SqliteBus::open(&target).await.unwrap();
    assert_eq!(copy.incarnation().await.unwrap(), backup.incarnation);
    let error = copy.subscribe(from().of_incarnation(&*kept)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OtherIncarnation, "{error}");
    drop(copy.subscribe(from().of_incarnation(&*backup.incarnation)).await.unwrap());
    drop(copy.subscribe(from()).await.unwrap());
}

/// `cargo test --test sqlite what_a_backup_costs -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and takes half a minute"]
async fn what_a_backup_costs_a_publisher() {
    let place = Place::new();
    let bus = place.open().await;
    for _ in 0..200 {
        bus.send_all(vec![Publish::new("a", vec![7; 1000]).relaxed(); 1000]).await.unwrap();
    }
    let measure = |what: &'static str, full: bool, stop: Arc<AtomicBool>| {
        let bus = bus.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let publish = Publish::new("b", vec![7; 128]);
                let start = Instant::now();
                bus.send(if full { publish.durability(rowbus::Durability::Full) } else { publish.relaxed() })
                    .await
                    .unwrap();
                times.push(start.elapsed());
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            times.sort();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            println!(
                "{what}, full {full}: {} publishes, p50 {:?}, p99 {:?}, max {:?}",
                times.len(),
                at(0.5),
                at(0.99),
                at(1.0)
            );
        })
    };
    for full in [false, true] {
        let stop = Arc::new(AtomicBool::new(false));
        let quiet = measure("nothing else", full, Arc::clone(&stop));
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop.store(true, Ordering::Relaxed);
        quiet.await.unwrap();
        for round in 0..2 {
            let stop = Arc::new(AtomicBool::new(false));
            let beside = measure("during a backup", full, Arc::clone(&stop));
            let start = Instant::now();
            let backup = bus.backup(place.join(&format!("copy-{full}-{round}.db"))).await.unwrap();
            println!("backup of {} MB: {:?}", backup.bytes >> 20, start.elapsed());
            stop.store(true, Ordering::Relaxed);
            beside.await.unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let beside = measure("during VACUUM INTO", full, Arc::clone(&stop));
            let (sql, target) = (place.sql(), place.join(&format!("vacuum-{full}-{round}.db")));
            let start = Instant::now();
            let vacuum = tokio::task::spawn_blocking(move || {
                sql.execute("VACUUM INTO ?1", [target.to_str().unwrap()]).unwrap();
            });
            vacuum.await.unwrap();
            println!("VACUUM INTO: {:?}", start.elapsed());
            stop.store(true, Ordering::Relaxed);
            beside.await.unwrap();
        }
    }
}
