//! One process prunes, and another takes over when it dies.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rowbus::{Messenger, Retention, SqliteBus};

use super::{publish, there};
use crate::child::{Process, hear, say};
use crate::{Place, until};

/// The byte of the sidecar that the pruner has locked.
const BYTE: &str = "1099511627775";

pub(super) async fn open(path: &str) {
    let _bus = SqliteBus::open(path).await.unwrap();
    say("ready");
    tokio::task::spawn_blocking(hear).await.unwrap();
}

/// Processes that have the pruner's lock.
fn pruners(place: &Place) -> usize {
    let inode = std::fs::metadata(place.join("bus.db-bell")).unwrap().ino();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let is_it = |line: &&str| line.contains(&format!(":{inode} {BYTE} {BYTE}")) && !line.contains("->");
    locks.lines().filter(is_it).count()
}

#[tokio::test]
async fn of_four_processes_one_prunes_and_another_goes_on_when_it_is_killed() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let retention = Retention::new().max_messages(10).max_age(Duration::from_secs(3600));
    bus.set_retention(">", retention).await.unwrap();
    bus.close().await.unwrap();
    let path = place.path();
    let mut children: Vec<_> =
        (0..4).map(|_| Process::start("retention-open", &[path.to_str().unwrap()])).collect();
    children.iter_mut().for_each(|child| assert_eq!(child.hear(), "ready"));
    let sql = place.sql();
    while let Some(mut child) = children.pop() {
        for _ in 0..100 {
            sql.execute_batch("INSERT INTO bus_events (subject) VALUES ('a')").unwrap();
        }
        until("somebody prunes", || there(&sql).len() == 10).await;
        assert_eq!(pruners(&place), 1);
        child.kill();
    }
    assert_eq!(pruners(&place), 0);
}

#[tokio::test]
async fn a_bus_that_is_idle_writes_nothing_and_one_that_is_closed_has_let_go() {
    let place = Place::without_disk();
    let bus = place.open().await;
    publish(&bus, "a", 5).await;
    until("it takes its turn", || pruners(&place) == 1).await;
    let sql = place.sql();
    let version = || sql.query_row::<i64, _, _>("PRAGMA data_version", [], |row| row.get(0)).unwrap();
    until("it has counted", || {
        sql.query_row::<i64, _, _>("SELECT messages FROM bus_retention", [], |row| row.get(0)).unwrap() == 5
    })
    .await;
    bus.prune().await.unwrap();
    let before = version();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(version(), before);
    bus.close().await.unwrap();
    assert_eq!(pruners(&place), 0);
}
