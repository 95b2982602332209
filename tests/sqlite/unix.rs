//! Facts that take a Unix: forks, and other users.

use futures_util::FutureExt;
use rowbus::{Durability, ErrorKind, Messenger, MessengerExt, SqliteBus};

use crate::Place;
use crate::child::{Process, say};

/// What a fork is told; a role.
pub(crate) async fn fork(path: &str) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    // Enough for every thread of a bus to run.
    let _stream = bus.stream("a").await.unwrap();
    for _ in 0..8 {
        bus.publish("a", vec![b'x'; 1 << 20].split_off(16)).await.unwrap();
    }
    // SAFETY: the child only runs what it inherited on this thread, and leaves without running destructors.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let kind = |error: Option<rowbus::Error>| error.map(|error| error.kind());
        let refused = [
            kind(bus.publish("a", "child").now_or_never().and_then(Result::err)),
            kind(bus.stream("a").now_or_never().and_then(Result::err)),
            kind(bus.last("a".try_into().unwrap()).now_or_never().and_then(Result::err)),
            kind(bus.close().now_or_never().and_then(Result::err)),
        ];
        drop(bus);
        let as_it_should = refused.iter().all(|kind| *kind == Some(ErrorKind::Forked));
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(if as_it_should { 7 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    bus.publish("a", "after").await.unwrap();
    say(libc::WEXITSTATUS(status));
}

/// Opens as a user who may read but not write; a role.
pub(crate) async fn unprivileged(path: &str) {
    // SAFETY: gives up rights for good, in a process of its own.
    assert_eq!(unsafe { libc::setgid(65534) }, 0);
    // SAFETY: the same.
    assert_eq!(unsafe { libc::setuid(65534) }, 0);
    match SqliteBus::open(path).await {
        Ok(_) => say("opened"),
        Err(error) => say(format!("{:?}: {error}", error.kind())),
    }
}

#[test]
fn a_file_that_may_only_be_read_is_refused_as_such() {
    use std::os::unix::fs::PermissionsExt;
    // SAFETY: asks who we are.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: giving up rights takes having them (root)");
        return;
    }
    let place = Place::new();
    place.sql().execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE mine (x)").unwrap();
    std::fs::set_permissions(place.join(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut child = Process::start("unprivileged", &[place.path().to_str().unwrap()]);
    let said = child.hear();
    assert!(said.starts_with("ReadOnly: "), "{said}");
    // And where the folder cannot be written, a new file is not made.
    let mut child = Process::start("unprivileged", &[place.join("new.db").to_str().unwrap()]);
    let said = child.hear();
    assert!(said.starts_with("ReadOnly: "), "{said}");
}

#[test]
fn a_fork_is_refused_and_its_parent_goes_on() {
    let place = Place::new();
    let mut child = Process::start("fork", &[place.path().to_str().unwrap()]);
    assert_eq!(child.hear(), "7");
    child.ends_well();
}
