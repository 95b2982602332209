//! Who has the file open.

use rowbus::sqlite::Peer;
use rowbus::{ErrorKind, Messenger, SqliteBus};

use crate::child::{Process, hear, say};
use crate::{Place, listed, until};

/// Has the file open until it is told to end; a role.
pub(crate) async fn peer(path: &str, name: &str) {
    let bus = SqliteBus::builder(path).name(name).open().await.unwrap();
    listed(&bus).await;
    say("ready");
    hear();
    bus.close().await.unwrap();
    say("done");
}

/// The same with a stream; a role.
pub(crate) async fn streaming_peer(path: &str, name: &str) {
    let bus = SqliteBus::builder(path).name(name).open().await.unwrap();
    let mut stream = rowbus::MessengerExt::stream(&bus, "nothing").await.unwrap();
    listed(&bus).await;
    say("ready");
    let _ = stream.next().await;
}

async fn names(bus: &SqliteBus) -> Vec<String> {
    bus.peers().await.unwrap().into_iter().map(|peer| peer.name).collect()
}

fn rows(place: &Place) -> i64 {
    place.sql().query_row("SELECT count(*) FROM bus_peers", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn peers_are_told_with_name_process_and_version_and_leave_with_close() {
    let place = Place::new();
    let bus = SqliteBus::builder(place.path()).name("tray").open().await.unwrap();
    listed(&bus).await;
    let mut helper = Process::start("peer", &[place.path().to_str().unwrap(), "helper"]);
    assert_eq!(helper.hear(), "ready");
    let peers = bus.peers().await.unwrap();
    let facts = |peer: &Peer| (peer.name.clone(), peer.pid, peer.version.clone(), peer.is_self);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(facts(&peers[0]), ("tray".to_owned(), std::process::id(), version.clone(), true));
    assert_eq!(facts(&peers[1]), ("helper".to_owned(), helper.id(), version, false));
    assert!(peers[0].since <= peers[1].since && peers[0].serves.is_empty());
    helper.tell("end");
    assert_eq!(helper.hear(), "done");
    assert_eq!(names(&bus).await, ["tray"]);
    until("the row of the one that left is gone", || rows(&place) == 1).await;
    bus.close().await.unwrap();
    assert_eq!(rows(&place), 0);
    assert_eq!(bus.peers().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_process_that_is_killed_is_missing_at_once_and_who_sees_it_removes_its_row() {
    let place = Place::new();
    let bus = SqliteBus::builder(place.path()).name("tray").open().await.unwrap();
    listed(&bus).await;
    let mut victims: Vec<_> =
        (0..3).map(|_| Process::start("peer", &[place.path().to_str().unwrap(), "victim"])).collect();
    victims.iter_mut().for_each(|victim| assert_eq!(victim.hear(), "ready"));
    assert_eq!(names(&bus).await.len(), 4);
    victims[1].kill();
    assert_eq!(names(&bus).await.len(), 3);
    until("the row of the dead is removed", || rows(&place) == 3).await;
    // Without anybody asking, the next one to come removes it.
    victims[0].kill();
    let other = SqliteBus::builder(place.path()).name("other").open().await.unwrap();
    listed(&other).await;
    assert_eq!(rows(&place), 3);
    assert_eq!(names(&bus).await, ["tray", "victim", "other"]);
}

#[tokio::test]
async fn rows_that_a_hand_wrote_are_no_peers() {
    let place = Place::new();
    let bus = SqliteBus::builder(place.path()).name("tray").open().await.unwrap();
    listed(&bus).await;
    place
        .sql()
        .execute_batch(
            "INSERT INTO bus_peers (slot, name, pid, version, started_at) VALUES
               (-5, 'a', 1, 'x', 0), (0, 'b', -1, 'x', 0), (9223372036854775807, 'c', 1, 'x', 0),
               (7, x'ff', 'pid', 1.5, 'never')",
        )
        .unwrap();
    assert_eq!(names(&bus).await, ["tray"]);
}

#[tokio::test]
async fn a_name_has_a_length_and_no_control_characters() {
    let place = Place::new();
    for name in ["", "a\nb", &"x".repeat(256)] {
        let error = SqliteBus::builder(place.path()).name(name).open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
    assert!(!place.path().exists());
}

#[tokio::test]
async fn peers_find_each_other_again_after_the_sidecar_was_deleted() {
    let place = Place::new();
    let bus = SqliteBus::builder(place.path()).name("tray").open().await.unwrap();
    listed(&bus).await;
    // One that streams sees to its sidecar by itself.
    let mut helper = Process::start("streaming-peer", &[place.path().to_str().unwrap(), "helper"]);
    assert_eq!(helper.hear(), "ready");
    std::fs::remove_file(place.join("bus.db-bell")).unwrap();
    let start = std::time::Instant::now();
    loop {
        let mut found = names(&bus).await;
        found.sort();
        if found == ["helper", "tray"] && place.join("bus.db-bell").exists() {
            break;
        }
        assert!(start.elapsed() < crate::PATIENCE, "{found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    helper.kill();
    assert_eq!(names(&bus).await, ["tray"]);
}

#[tokio::test]
async fn a_bus_that_could_not_say_that_it_is_there_says_it_later() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let mut holder = Process::start("hold", &[place.path().to_str().unwrap()]);
    assert_eq!(holder.hear(), "held");
    let bus = place.open().await;
    let _stream = rowbus::MessengerExt::stream(&bus, "a").await.unwrap();
    // Longer than it tries for behind the opening.
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_millis(1_200) {
        assert_eq!(names(&bus).await.len(), 0);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    holder.tell("let go");
    until("the row is written", || rows(&place) == 1).await;
    assert_eq!(names(&bus).await.len(), 1);
}
