//! Ctrl-C, SIGTERM, and the SIGHUP of a terminal that goes: what is done is told, what was held is given back, and nothing is left behind.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Folder, Running, until};

const SIGNALS: [&str; 3] = ["INT", "TERM", "HUP"];

fn count(folder: &Folder, sql: &str) -> i64 {
    if folder.db().exists() { folder.number(sql) } else { 0 }
}

#[test]
fn what_reads_lines_says_how_far_it_has_come() {
    let line = "{\"subject\":\"a\",\"time\":\"2026-11-23T07:05:00Z\",\"data\":\"x\"}\n";
    // As many as it takes at once.
    let lines = line.repeat(rowbus::defaults::BATCH);
    let imported = format!("imported {} events into ", rowbus::defaults::BATCH);
    for (verb, input, table, said) in [
        (
            &["pub", "a", "--send-on", "newline"][..],
            "x\n",
            "bus_events",
            "published 1 message to a (sequence 1)",
        ),
        (&["enqueue", "a", "--send-on", "newline"], "x\n", "bus_requests", "enqueued 1 job on a"),
        (&["import", "-"], &lines, "bus_events", &imported),
    ] {
        for signal in SIGNALS {
            let folder = Folder::new();
            folder.publish("other", b"so that the file is there");
            let before = count(&folder, &format!("SELECT count(*) FROM {table}"));
            let mut running = Running::start(folder.command(verb));
            let mut stdin = running.stdin();
            stdin.write_all(input.as_bytes()).unwrap();
            let rows = input.lines().count() as i64;
            until("the lines are in the file", || {
                count(&folder, &format!("SELECT count(*) FROM {table}")) == before + rows
            });
            running.signal(signal);
            let finished = running.finish();
            drop(stdin);
            assert_eq!(finished.code, Some(1), "{verb:?} {signal}: {finished:?}");
            let told = finished.stderr.strip_prefix("rowbus: told to stop (before it");
            let told = told.unwrap_or_else(|| panic!("{verb:?} {signal}: {finished:?}"));
            assert!(told.lines().count() == 1, "{finished:?}");
            assert!(told.contains(&said.replace("sequence 1", "sequence 2")), "{verb:?}: {finished:?}");
        }
    }
}

/// Has this done until it was stopped before it was through: with more events each time, so that it takes longer.
fn until_it_is_stopped(folder: &Folder, stopped: impl Fn() -> bool) {
    for _ in 0..8 {
        folder.run_with(&["pub", "a", "--count", "20000", "--relaxed"], &[b'x'; 500]);
        if stopped() {
            return;
        }
    }
    panic!("it was always through before it was stopped");
}

#[test]
fn an_export_ends_with_a_whole_line_and_says_that_it_is_not_whole() {
    let folder = Folder::new();
    until_it_is_stopped(&folder, || export_is_stopped(&folder));
}

fn export_is_stopped(folder: &Folder) -> bool {
    let mut running = folder.start(&["export"]);
    let mut pipe = running.stdout();
    let mut read = vec![0; 1];
    pipe.read_exact(&mut read).unwrap();
    // It waits for the pipe by now.
    running.signal("INT");
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece) {
        read.extend_from_slice(&piece[..count]);
        // Slowly, so that the signal is most likely noticed long before the end.
        std::thread::sleep(Duration::from_millis(1));
    }
    let finished = running.finish();
    if finished.code == Some(0) {
        return false;
    }
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stderr, "rowbus: told to stop before everything was exported\n");
    let text = String::from_utf8(read).unwrap();
    let all = folder.number("SELECT count(*) FROM bus_events");
    assert!(text.ends_with("}\n") && (text.lines().count() as i64) < all);
    true
}

#[test]
fn an_export_to_a_file_leaves_nothing_of_it() {
    let folder = Folder::new();
    let names = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("events.jsonl")).collect::<Vec<_>>()
    };
    for signal in SIGNALS {
        until_it_is_stopped(&folder, || {
            let running = folder.start(&["export", "--output", "events.jsonl"]);
            until("a file in the making", || !names().is_empty());
            running.signal(signal);
            let finished = running.finish();
            if finished.code == Some(0) {
                std::fs::remove_file(folder.path().join("events.jsonl")).unwrap();
                return false;
            }
            assert_eq!(finished.refusal(1), "told to stop before everything was exported");
            assert!(names().is_empty(), "{:?}", names());
            true
        });
    }
}

#[test]
fn what_was_only_looked_at_is_given_back() {
    for signal in SIGNALS {
        let folder = Folder::new();
        folder.publish("a", b"1");
        let mut looking = folder.stream(&["a", "--durable", "m", "--raw"]);
        assert_eq!(looking.line().as_deref(), Some("1"));
        looking.signal(signal);
        assert_eq!(looking.finish().code, Some(0));
        // At once, and not after the 30 seconds of its --ack-wait.
        let worked =
            folder.run(&["sub", "--durable", "m", "--ack", "--json", "--count", "1", "--wait", "20s", "-q"]);
        let worked: Value = serde_json::from_str(worked.text()).unwrap();
        assert_eq!((&worked["data"], &worked["attempt"]), (&"1".into(), &1.into()), "{signal}");
    }
}

#[test]
fn a_request_for_which_nobody_waits_any_more_is_withdrawn() {
    for signal in SIGNALS {
        let folder = Folder::new();
        let request = folder.start(&["request", "a", "x", "--timeout", "1h"]);
        until("it is asked", || {
            count(&folder, "SELECT count(*) FROM sqlite_schema WHERE name = 'bus_requests'") == 1
                && count(&folder, "SELECT count(*) FROM bus_requests") == 1
        });
        request.signal(signal);
        let finished = request.finish();
        assert_eq!(finished.refusal(1), "told to stop before the reply had come");
        assert_eq!(
            count(&folder, "SELECT count(*) FROM bus_requests WHERE ready IS NOT NULL"),
            0,
            "{signal}"
        );
    }
}

/// Returns when a signal does not end this process without a word.
#[cfg(target_os = "linux")]
fn until_it_listens(running: &Running, bit: u32) {
    until("it listens for signals", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
        u64::from_str_radix(caught, 16).unwrap() & (1 << (bit - 1)) != 0
    });
}

/// Whether it has a thread of this name.
#[cfg(target_os = "linux")]
fn has_thread(running: &Running, name: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", running.id())).into_iter().flatten().flatten();
    let mut names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.any(|comm| comm.trim() == name)
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_locked_keeps_nobody_who_was_told_to_stop() {
    const UNKNOWN: &str = "told to stop before it was known whether what was under way is";
    let folder = Folder::new();
    folder.publish("a", b"1");
    let args = ["sub", "--durable", "m", "--count", "1", "--wait", "20s", "-q"];
    assert_eq!(folder.run(&args).code, Some(0));
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    host.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (published, enqueued) = (format!("{UNKNOWN} published"), format!("{UNKNOWN} enqueued"));
    let verbs = [
        (&["pub", "a", "x"][..], &*published),
        (&["pub", "a", "x", "--count", "3"], &published),
        (&["enqueue", "a", "x"], &enqueued),
        (&["sub", "--durable", "new", "--ack"], "told to stop before consumer new was open"),
        (&["consumer", "rm", "m"], "told to stop"),
        (&["dead", "purge", "1"], "told to stop"),
        (&["job", "cancel", "an-id"], "told to stop"),
        (&["retention", "rm", "b"], "told to stop"),
    ];
    let start = |verb: &[&str]| {
        // Nothing but the signal ends it while this test has patience.
        let mut command = folder.bare(&["--url", "sqlite:bus.db?busy_deadline=10m"]);
        command.args(verb);
        let mut running = Running::start(command);
        running.write(b"");
        running
    };
    let stop = |verb: &[&str], running: Running| {
        until_it_listens(&running, 2);
        // Who waits for the file has left that to a thread.
        until("it waits for the file", || has_thread(&running, "rowbus-writer"));
        let told = std::time::Instant::now();
        running.signal("INT");
        let finished = running.finish();
        // By itself, and not by the end of the 10 seconds that a signal leaves it.
        assert!(told.elapsed() < Duration::from_secs(9), "{verb:?}");
        finished.refusal(1).to_owned()
    };
    let all: Vec<_> = verbs.into_iter().map(|(verb, said)| (verb, said, start(verb))).collect();
    for (verb, said, running) in all {
        let mut refusal = stop(verb, running);
        // The thread may have been for what is written as the bus is opened, and nothing was under way yet.
        until("it is told in the middle", || {
            let is_early = refusal == "told to stop" && said != refusal;
            if is_early {
                refusal = stop(verb, start(verb));
            }
            !is_early
        });
        assert_eq!(refusal, said, "{verb:?}");
    }
    host.execute_batch("COMMIT").unwrap();
    assert_eq!(folder.number("SELECT count(*) FROM bus_events"), 1);
    assert_eq!(folder.number("SELECT count(*) FROM bus_requests"), 0);
    assert_eq!(folder.number("SELECT count(*) FROM bus_consumers"), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_goes_means_nothing_to_what_was_told_to_ignore_it() {
    let folder = Folder::new();
    let mut command = std::process::Command::new("sh");
    // As `nohup` does it, which would write to a file in place of the pipe.
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_rowbus"), "--db", "bus.db"]);
    command.args(["sub", "a", "--raw", "--count", "1"]).current_dir(folder.path());
    let mut stream = Running::start(command);
    assert!(stream.stderr_line().starts_with("streaming "));
    stream.signal("HUP");
    folder.publish("a", b"still there");
    let finished = stream.finish();
    assert_eq!((finished.code, finished.text()), (Some(0), "still there\n"));
}

#[test]
fn a_job_goes_on_without_those_who_waited_for_it() {
    let folder = Folder::new();
    let mut waiting = folder.start(&["enqueue", "a", "x", "--wait"]);
    let id = waiting.line().unwrap();
    assert_eq!(waiting.stderr_line(), "enqueued 1 job on a");
    waiting.signal("INT");
    let finished = waiting.finish();
    assert_eq!(finished.refusal(1), "told to stop before the reply had come; the job goes on");
    assert!(folder.run(&["job", "show", &id]).text().contains("\nstate     ready\n"));
}
