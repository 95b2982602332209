//! Facts that take a Unix: forks, other users, disks that fail or are full.

use std::path::PathBuf;
use std::process::Command;

use futures_util::FutureExt;
use rowbus::{Durability, ErrorKind, Messenger, MessengerExt, SqliteBus};

use crate::child::{Process, say};
use crate::{Place, from_oldest, next, texts};

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

#[cfg(target_os = "linux")]
/// A library that fails to flush as long as a file exists, to be preloaded into a child.
fn failing_sync(place: &Place) -> PathBuf {
    let (source, library) = (place.join("fail.c"), place.join("fail.so"));
    let text = "#include <errno.h>\n#include <stdlib.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
                static int fails(void) { const char *f = getenv(\"FAIL_WHILE\"); return f && access(f, F_OK) == 0; }\n\
                int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }\n\
                int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }\n";
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.expect("a C compiler, which building SQLite needs as well").success());
    library
}

#[cfg(target_os = "linux")]
#[test]
fn a_commit_whose_flush_fails_is_indeterminate_and_safe_to_repeat_with_its_message_id() {
    let place = Place::new();
    let (library, switch) = (failing_sync(&place), place.join("switch"));
    let (path, switch_arg) = (place.path(), switch.to_str().unwrap().to_owned());
    let mut child = Process::start_with(
        "fail-sync",
        &[path.to_str().unwrap(), &switch_arg],
        &[("LD_PRELOAD", &library), ("FAIL_WHILE", &switch)],
    );
    assert_eq!(child.hear(), "Indeterminate");
    // Whether the first attempt came through or not: each event is there once.
    assert_eq!(child.hear(), "1 2 3");
    assert_eq!(child.hear(), "2");
    child.ends_well();
}

#[test]
fn a_fork_is_refused_and_its_parent_goes_on() {
    let place = Place::new();
    let mut child = Process::start("fork", &[place.path().to_str().unwrap()]);
    assert_eq!(child.hear(), "7");
    child.ends_well();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_keeps_what_was_acknowledged_and_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(folder.path()).status();
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs"]);
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting a small tmpfs takes root");
        return;
    }
    let outcome = std::panic::AssertUnwindSafe(fill_up(folder.path().join("bus.db"))).catch_unwind().await;
    assert!(mount(&["umount", "-l"]).unwrap().success());
    outcome.unwrap();
}

#[cfg(target_os = "linux")]
async fn fill_up(path: PathBuf) {
    let ballast = path.with_file_name("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let bus = SqliteBus::open(&path).await.unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match bus.publish("a", vec![b'x'; 20_000]).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1_000);
    };
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(error.is_transient());
    std::fs::remove_file(ballast).unwrap();
    bus.publish("a", "room again").await.unwrap();
    let mut stream = from_oldest(&bus, "a").await;
    for _ in 0..acknowledged {
        assert_eq!(next(&mut stream).await.unwrap().payload().len(), 20_000);
    }
    assert_eq!(texts(&mut stream, 1).await, ["room again"]);
}
