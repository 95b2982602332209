//! Facts that take a Linux: disks that fail or are full, and what a process takes of the memory.

use std::path::PathBuf;
use std::process::Command;

use futures_util::FutureExt;
use rowbus::{ErrorKind, Messenger, MessengerExt, Publish, SqliteBus};

use crate::child::{Process, hear, say};
use crate::{Place, from_oldest, next, texts};

/// Never reads until it is told to; says how much memory it took, and then how many it was given; a role.
pub(crate) async fn stuck(path: &str, count: usize) {
    let bus = SqliteBus::open(path).await.unwrap();
    let mut stream = bus.stream("load.>").await.unwrap();
    let mut reader = bus.stream("load.>").await.unwrap();
    say("ready");
    for _ in 0..count {
        next(&mut reader).await.unwrap();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    say(peak.trim().trim_end_matches(" kB"));
    hear();
    for at in 0..count {
        let message = next(&mut stream).await.unwrap();
        assert_eq!(message.payload()[..8], (at as u64).to_le_bytes());
    }
    say(count);
}

#[tokio::test]
async fn a_reader_that_never_reads_takes_little_memory_and_loses_nothing() {
    const COUNT: usize = 50_000;
    let place = Place::new();
    let bus = place.open().await;
    let path = place.path();
    let mut stuck = Process::start("stuck", &[path.to_str().unwrap(), &COUNT.to_string()]);
    assert_eq!(stuck.hear(), "ready");
    for chunk in 0..COUNT / 100 {
        let batch = (chunk * 100..(chunk + 1) * 100).map(|at| {
            let mut payload = vec![0; 4096];
            payload[..8].copy_from_slice(&(at as u64).to_le_bytes());
            Publish::new("load.big", payload)
        });
        bus.publish_all(batch).await.unwrap();
    }
    let peak: u64 = stuck.hear().parse().unwrap();
    eprintln!("peak memory with 200 MB unread: {peak} KiB");
    assert!(peak <= 64 * 1024, "{peak} KiB");
    stuck.tell("read");
    assert_eq!(stuck.hear(), COUNT.to_string());
}

/// Publishes with a disk that cannot flush while the file `switch` exists (see [`failing_sync`]); a role.
pub(crate) async fn fail_sync(path: &str, switch: &str) {
    let bus = SqliteBus::open(path).await.unwrap();
    bus.publish("a", "1").await.unwrap();
    std::fs::write(switch, "").unwrap();
    let publish = || Publish::new("a", "2").message_id("two");
    let error = bus.send(publish()).await.unwrap_err();
    say(format!("{:?}", error.kind()));
    std::fs::remove_file(switch).unwrap();
    let again = bus.send(publish()).await.unwrap();
    bus.publish("a", "3").await.unwrap();
    let mut stream = from_oldest(&bus, ">").await;
    say(texts(&mut stream, 3).await.join(" "));
    say(again.sequence);
}

/// A library that fails to flush as long as a file exists, to be preloaded into a child. Each failure is a byte in a file beside it.
pub(crate) fn failing_sync(place: &Place) -> PathBuf {
    let (source, library) = (place.join("fail.c"), place.join("fail.so"));
    let text = "#include <errno.h>\n#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
                #include <sys/syscall.h>\n\
                static int fails(void) {\n\
                    const char *f = getenv(\"FAIL_WHILE\"); char failed[4096]; int fd;\n\
                    if (!f || access(f, F_OK) != 0) return 0;\n\
                    snprintf(failed, sizeof failed, \"%s.failed\", f);\n\
                    fd = open(failed, O_CREAT | O_APPEND | O_WRONLY, 0600);\n\
                    if (fd >= 0) { if (write(fd, \"x\", 1) < 0) {} close(fd); }\n\
                    return 1;\n\
                }\n\
                int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }\n\
                int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }\n";
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.expect("a C compiler, which building SQLite needs as well").success());
    library
}

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

/// Makes a backup of which the first flush fails, and no later one; a role.
pub(crate) async fn fail_backup(path: &str, switch: &str) {
    let bus = SqliteBus::open(path).await.unwrap();
    bus.publish_all((0..40).map(|_| Publish::new("a", vec![0; 500_000]).relaxed())).await.unwrap();
    let (fails, mut steps) = (switch.to_owned(), 0);
    let progress = move |_, _| {
        steps += 1;
        match steps {
            1 => std::fs::write(&fails, "").unwrap(),
            2 => std::fs::remove_file(&fails).unwrap(),
            _ => {}
        }
    };
    let target = format!("{path}.copy");
    let copied = bus.backup_with(&target, progress).await;
    let _ = std::fs::remove_file(switch);
    say(format!("{:?}", copied.map(|_| ()).map_err(|error| error.kind())));
    say(std::fs::exists(&target).unwrap());
}

/// Says whether a bus that is to prune, and then one that is not, has a thread for it; a role.
pub(crate) async fn pruner(path: &str) {
    for prune in [true, false] {
        let bus = SqliteBus::builder(path).prune(prune).open().await.unwrap();
        let is_there = || {
            let threads = std::fs::read_dir("/proc/self/task").unwrap();
            let mut names =
                threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
            names.any(|name| name.trim() == "rowbus-pruner")
        };
        if prune {
            // A thread gives itself its name.
            crate::until("a thread that prunes", is_there).await;
        }
        bus.publish("a", "x").await.unwrap();
        say(is_there());
        bus.close().await.unwrap();
    }
}

#[test]
fn a_bus_that_is_not_to_prune_has_nothing_that_does() {
    let place = Place::new();
    let mut child = Process::start("pruner", &[place.path().to_str().unwrap()]);
    assert_eq!((child.hear(), child.hear()), ("true".to_owned(), "false".to_owned()));
    child.ends_well();
}

#[test]
fn a_backup_of_which_one_flush_has_failed_is_none_whatever_later_ones_say() {
    let place = Place::new();
    let (library, switch) = (failing_sync(&place), place.join("switch"));
    let (path, switch_arg) = (place.path(), switch.to_str().unwrap().to_owned());
    let mut child = Process::start_with(
        "fail-backup",
        &[path.to_str().unwrap(), &switch_arg],
        &[("LD_PRELOAD", &library), ("FAIL_WHILE", &switch)],
    );
    assert_eq!(child.hear(), "Err(Io)");
    assert_eq!(child.hear(), "false");
    child.ends_well();
}

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
    // Where the doorbell finds no room either, there is none; a mapped page without a block would end the process.
    std::fs::remove_file(path.with_file_name("bus.db-bell")).unwrap();
    assert!(std::fs::write(path.with_file_name("more"), vec![0; 1 << 20]).is_err());
    let other = SqliteBus::open(&path).await.unwrap();
    let mut all = from_oldest(&other, "a").await;
    assert_eq!(next(&mut all).await.unwrap().payload().len(), 20_000);
    bus.nudge();
    drop((other, all));
    std::fs::remove_file(path.with_file_name("more")).unwrap();
    std::fs::remove_file(ballast).unwrap();
    bus.publish("a", "room again").await.unwrap();
    let mut stream = from_oldest(&bus, "a").await;
    for _ in 0..acknowledged {
        assert_eq!(next(&mut stream).await.unwrap().payload().len(), 20_000);
    }
    assert_eq!(texts(&mut stream, 1).await, ["room again"]);
}
