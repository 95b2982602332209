//! The doorbell between processes: wakes with the floor switched off, and a sidecar that cannot be trusted.

use std::os::unix::fs::PermissionsExt;

use rowbus::{Durability, Messenger, MessengerExt, SqliteBus, Subscription};

use crate::child::{Process, say};
use crate::{Place, listed, next};

async fn open(path: &str, floor: bool) -> SqliteBus {
    SqliteBus::builder(path).durability(Durability::Relaxed).floor(floor).open().await.unwrap()
}

/// Answers each ping; a role.
pub(crate) async fn echo(path: &str, floor: bool) {
    let bus = open(path, floor).await;
    let mut pings = bus.stream("ping.x").await.unwrap();
    say("ready");
    loop {
        let ping = next(&mut pings).await.unwrap();
        bus.publish("pong.x", ping.payload().clone()).await.unwrap();
    }
}

async fn exchange(bus: &SqliteBus, pongs: &mut Subscription, count: u64) {
    for at in 0..count {
        bus.publish("ping.x", at.to_le_bytes().to_vec()).await.unwrap();
        // A wake that is lost keeps this waiting for ever.
        assert_eq!(next(pongs).await.unwrap().payload()[..], at.to_le_bytes());
    }
}

/// `ROWBUS_WAKES=1000000` makes it the long run.
#[tokio::test]
async fn no_wake_between_processes_is_missed_with_the_floor_switched_off() {
    let wakes: u64 = std::env::var("ROWBUS_WAKES").map_or(10_000, |wakes| wakes.parse().unwrap());
    let place = Place::without_disk();
    let path = place.path();
    let path = path.to_str().unwrap();
    let bus = open(path, false).await;
    let mut pongs = bus.stream("pong.x").await.unwrap();
    let mut echo = Process::start("echo", &[path, "without-floor"]);
    assert_eq!(echo.hear(), "ready");
    // One wake there and one back.
    exchange(&bus, &mut pongs, wakes / 2).await;
}

#[tokio::test]
async fn a_bell_that_is_deleted_cut_replaced_or_filled_with_rubbish_costs_no_message() {
    let place = Place::without_disk();
    let (path, bell) = (place.path(), place.join("bus.db-bell"));
    let bus = open(path.to_str().unwrap(), true).await;
    let mut pongs = bus.stream("pong.x").await.unwrap();
    let mut echo = Process::start("echo", &[path.to_str().unwrap(), "with-floor"]);
    assert_eq!(echo.hear(), "ready");
    exchange(&bus, &mut pongs, 50).await;
    let length = std::fs::metadata(&bell).unwrap().len();
    for rubbish in [0xff, 0x5a] {
        std::fs::write(place.join("rubbish"), vec![rubbish; length as usize]).unwrap();
        let mut from = std::fs::File::open(place.join("rubbish")).unwrap();
        let mut to = std::fs::File::options().write(true).open(&bell).unwrap();
        std::io::copy(&mut from, &mut to).unwrap();
        exchange(&bus, &mut pongs, 50).await;
    }
    for length in [0, 100] {
        std::fs::File::options().write(true).open(&bell).unwrap().set_len(length).unwrap();
        exchange(&bus, &mut pongs, 50).await;
    }
    std::fs::remove_file(&bell).unwrap();
    exchange(&bus, &mut pongs, 50).await;
    std::fs::write(&bell, "another").unwrap();
    exchange(&bus, &mut pongs, 50).await;
    let _ = std::fs::remove_file(&bell);
    std::os::unix::fs::symlink(place.join("rubbish"), &bell).unwrap();
    exchange(&bus, &mut pongs, 50).await;
    assert_eq!(std::fs::read(place.join("rubbish")).unwrap()[..3], [0x5a; 3], "a link was followed");
}

#[tokio::test]
async fn a_bus_whose_bell_was_cut_while_nobody_streamed_streams_again_and_closes() {
    let place = Place::without_disk();
    let bus = place.open().await;
    drop(bus.stream("a").await.unwrap());
    for length in [0, 100] {
        std::fs::File::options()
            .write(true)
            .open(place.join("bus.db-bell"))
            .unwrap()
            .set_len(length)
            .unwrap();
        let mut stream = bus.stream("a").await.unwrap();
        place.sql().execute("INSERT INTO bus_events (subject, data) VALUES ('a', 'x')", []).unwrap();
        assert_eq!(next(&mut stream).await.unwrap().text(), Some("x"));
    }
    tokio::time::timeout(crate::PATIENCE, bus.close()).await.unwrap().unwrap();
}

#[tokio::test]
async fn where_no_bell_can_be_made_messages_arrive_all_the_same() {
    let place = Place::without_disk();
    std::fs::create_dir(place.join("bus.db-bell")).unwrap();
    let path = place.path();
    let bus = open(path.to_str().unwrap(), true).await;
    let mut pongs = bus.stream("pong.x").await.unwrap();
    let mut echo = Process::start("echo", &[path.to_str().unwrap(), "with-floor"]);
    assert_eq!(echo.hear(), "ready");
    exchange(&bus, &mut pongs, 20).await;
}

#[tokio::test]
async fn the_bell_is_private_and_stays_as_long_as_it_is() {
    let place = Place::new();
    let bus = place.open().await;
    let bell = || std::fs::metadata(place.join("bus.db-bell")).unwrap();
    let length = bell().len();
    assert_eq!((bell().permissions().mode() & 0o777, length), (0o600, 32_768));
    std::fs::File::options()
        .write(true)
        .open(place.join("bus.db-bell"))
        .unwrap()
        .set_len(2 * length)
        .unwrap();
    place.open().await.close().await.unwrap();
    bus.close().await.unwrap();
    assert_eq!(bell().len(), 2 * length);
}

#[tokio::test]
async fn a_commit_of_an_attached_connection_wakes_readers_here_and_elsewhere_and_so_does_a_nudge() {
    let place = Place::without_disk();
    let path = place.path();
    let path = path.to_str().unwrap();
    let bus = open(path, false).await;
    let mut pongs = bus.stream("pong.x").await.unwrap();
    let mut pings = bus.stream("ping.x").await.unwrap();
    let mut echo = Process::start("echo", &[path, "without-floor"]);
    assert_eq!(echo.hear(), "ready");
    let mut conn = place.sql();
    let attachment = bus.attach(&conn).unwrap();
    let insert = "INSERT INTO bus_events (subject, data) VALUES ('ping.x', ?1)";
    conn.execute(insert, ["1"]).unwrap();
    assert_eq!(next(&mut pings).await.unwrap().text(), Some("1"));
    assert_eq!(next(&mut pongs).await.unwrap().text(), Some("1"));
    let tx = conn.transaction().unwrap();
    tx.execute(insert, ["lost"]).unwrap();
    tx.rollback().unwrap();
    let tx = conn.transaction().unwrap();
    tx.execute(insert, ["2"]).unwrap();
    tx.commit().unwrap();
    assert_eq!(next(&mut pings).await.unwrap().text(), Some("2"));
    assert_eq!(next(&mut pongs).await.unwrap().text(), Some("2"));
    // Without an attachment a nudge does it.
    attachment.detach(&conn).unwrap();
    conn.execute(insert, ["3"]).unwrap();
    bus.nudge();
    assert_eq!(next(&mut pings).await.unwrap().text(), Some("3"));
    assert_eq!(next(&mut pongs).await.unwrap().text(), Some("3"));
}

#[tokio::test]
async fn an_attached_connection_goes_on_to_checkpoint_unless_it_did_not_before() {
    let place = Place::without_disk();
    let bus = place.open().await;
    listed(&bus).await;
    let wal = || std::fs::metadata(place.join("bus.db-wal")).unwrap().len();
    let write = |conn: &rowbus::rusqlite::Connection| {
        for _ in 0..1_000 {
            conn.execute("INSERT INTO bus_events (subject, data) VALUES ('a', zeroblob(16000))", []).unwrap();
        }
    };
    let setting = |conn: &rowbus::rusqlite::Connection| -> i64 {
        conn.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap()
    };
    let conn = place.sql();
    let attachment = bus.attach(&conn).unwrap();
    write(&conn);
    // 16 MB were written, and the WAL began anew every 4.
    assert!(wal() < 12 << 20, "{}", wal());
    attachment.detach(&conn).unwrap();
    assert_eq!(setting(&conn), 1_000);
    conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    let attachment = bus.attach(&conn).unwrap();
    write(&conn);
    assert!(wal() > 12 << 20, "{}", wal());
    attachment.detach(&conn).unwrap();
    assert_eq!(setting(&conn), 0);
}

#[tokio::test]
async fn a_connection_of_another_file_is_not_attached() {
    let (place, other) = (Place::new(), Place::new());
    let (bus, _other) = (place.open().await, other.open().await);
    for conn in [other.sql(), rowbus::rusqlite::Connection::open_in_memory().unwrap()] {
        let error = bus.attach(&conn).unwrap_err();
        assert_eq!(error.kind(), rowbus::ErrorKind::InvalidOption);
        assert!(error.to_string().contains("bus's own file"), "{error}");
    }
}
