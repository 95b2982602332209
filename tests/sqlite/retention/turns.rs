//! One process prunes, and another takes over when it dies.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rowbus::{Messenger, Retention, SqliteBus};

use super::{publish, there};
use crate::child::{Process, hear, say};
use crate::{Place, until};

/// The byte of the sidecar that the pruner has locked.
const BYTE: i64 = (1 << 40) - 1;

pub(super) async fn open(path: &str) {
    let _bus = SqliteBus::open(path).await.unwrap();
    say("ready");
    tokio::task::spawn_blocking(hear).await.unwrap();
}

/// Whether somebody has the pruner's lock; the kernel gives it to no second one.
fn is_pruned(place: &Place) -> bool {
    let sidecar = File::options().read(true).write(true).open(place.join("bus.db-bell")).unwrap();
    // SAFETY: plain numbers, of which zero is one.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = libc::F_WRLCK as libc::c_short;
    wanted.l_whence = libc::SEEK_SET as libc::c_short;
    wanted.l_start = BYTE;
    wanted.l_len = 1;
    // SAFETY: an open file, and a lock to describe it in.
    assert_eq!(unsafe { libc::fcntl(sidecar.as_raw_fd(), libc::F_OFD_GETLK, &mut wanted) }, 0);
    wanted.l_type != libc::F_UNLCK as libc::c_short
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
        assert!(is_pruned(&place));
        child.kill();
    }
    assert!(!is_pruned(&place));
}

#[tokio::test]
async fn a_bus_that_is_idle_writes_nothing_and_one_that_is_closed_has_let_go() {
    let place = Place::without_disk();
    let bus = place.open().await;
    publish(&bus, "a", 5).await;
    until("it takes its turn", || is_pruned(&place)).await;
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
    assert!(!is_pruned(&place));
}

/// As scripts and hooks do, where no program stays.
#[tokio::test]
async fn a_file_that_only_short_processes_open_is_pruned_as_well() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(100)).await.unwrap();
    bus.close().await.unwrap();
    for _ in 0..8 {
        let bus = place.open().await;
        publish(&bus, "a", 600).await;
        bus.close().await.unwrap();
    }
    let left = there(&place.sql()).len();
    assert!(left < 2_000, "{left} of 4,800");
}
