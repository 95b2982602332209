//! `rowbus bench`: what it leaves alone, and what it says. How fast it is, is not for a test to judge.

use std::path::Path;

use serde_json::Value;

use crate::support::{Finished, Folder, Running};

/// Each benchmark, as small as it can be told from nothing.
const EACH: [&[&str]; 3] = [
    &["bench", "pub", "--messages", "20", "--publishers", "3"],
    &["bench", "sub", "--messages", "2500", "--size", "10"],
    &["bench", "latency", "--messages", "3", "--pause", "1ms"],
];

fn json(folder: &Folder, benchmark: &[&str], more: &[&str]) -> Finished {
    let finished = folder.run(&[benchmark, more, &["--json", "--quiet"]].concat());
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{finished:?}");
    finished
}

/// The names of the fields, as they are written.
fn fields(text: &str) -> Vec<&str> {
    let fields = text.trim_start_matches('{').split(',');
    fields.map(|field| field.split(':').next().unwrap().trim_matches('"')).collect()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn a_benchmark_leaves_no_file_behind() {
    let folder = Folder::new();
    for benchmark in EACH {
        let finished = folder.run(benchmark);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(is_empty(folder.path()), "{benchmark:?}");
    }
}

#[test]
fn a_benchmark_never_touches_the_bus_that_is_there() {
    let folder = Folder::new();
    folder.publish("a", b"precious");
    let before = std::fs::read(folder.db()).unwrap();
    for benchmark in EACH {
        assert_eq!(folder.run(benchmark).code, Some(0));
    }
    assert_eq!(std::fs::read(folder.db()).unwrap(), before);
    let stored = folder.run(&["sub", ">", "--from", "oldest", "--raw", "--wait", "500ms", "-q"]);
    assert_eq!(stored.text(), "precious\n");
}

#[test]
fn a_benchmark_runs_beside_the_file_or_in_the_folder_that_is_named() {
    let folder = Folder::new();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    for (db, place) in [(None, ""), (Some("disk/any.db"), "disk"), (Some("disk"), "disk")] {
        let mut command = folder.bare(&["bench", "pub", "--messages", "5"]);
        command.args(db.map(|db| ["--db", db]).into_iter().flatten());
        let finished = Running::start(command).finish();
        let place = folder.path().join(place).join("rowbus-bench-");
        assert!(finished.stderr.contains(place.to_str().unwrap()), "{db:?}: {finished:?}");
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    assert!(is_empty(&disk));
}

#[test]
fn the_result_as_json_has_its_fields_in_one_order() {
    let folder = Folder::new();
    let [publish, replay, latency] = EACH.map(|benchmark| json(&folder, benchmark, &[]));
    let percentiles = ["p50_us", "p90_us", "p99_us", "max_us"];
    let rates = ["seconds", "per_s", "mb_per_s"];
    let how = ["work", "messages", "size"];
    let of_publish = [&how[..], &["publishers", "synchronous"], &rates, &percentiles].concat();
    assert_eq!(fields(publish.text()), of_publish);
    assert_eq!(fields(replay.text()), [&how[..], &["synchronous"], &rates].concat());
    let of_latency = [&how[..], &["synchronous", "pause_ms", "clock"], &percentiles].concat();
    assert_eq!(fields(latency.text()), of_latency);
}

#[test]
fn the_result_says_what_was_measured() {
    let folder = Folder::new();
    let value = |benchmark, more: &[&str]| -> Value {
        serde_json::from_str(json(&folder, benchmark, more).text()).unwrap()
    };
    let publish = value(EACH[0], &[]);
    assert_eq!((&publish["work"], &publish["synchronous"]), (&"pub".into(), &"FULL".into()));
    assert_eq!((&publish["messages"], &publish["publishers"]), (&20.into(), &3.into()));
    let replay = value(EACH[1], &[]);
    assert_eq!((&replay["work"], &replay["size"]), (&"sub".into(), &10.into()));
    let latency = value(EACH[2], &["--relaxed"]);
    assert_eq!((&latency["work"], &latency["synchronous"]), (&"latency".into(), &"NORMAL".into()));
    for result in [publish, latency] {
        let times = ["p50_us", "p90_us", "p99_us", "max_us"].map(|name| result[name].as_f64().unwrap());
        assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
    }
}

#[test]
fn a_bar_is_for_terminals_only_and_status_for_those_who_want_it() {
    let folder = Folder::new();
    for benchmark in EACH {
        let finished = folder.run(benchmark);
        assert!(finished.stderr.starts_with("measuring in "), "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
        assert!(finished.text().starts_with("work "), "{finished:?}");
        let quiet = folder.run(&[benchmark, &["--quiet"]].concat());
        assert_eq!((quiet.code, &*quiet.stderr), (Some(0), ""));
    }
}

#[test]
fn payloads_may_be_empty_or_as_large_as_a_message_may_be() {
    let folder = Folder::new();
    for verb in ["pub", "sub", "latency"] {
        let smallest = if verb == "latency" { "8" } else { "0" };
        for size in [smallest, "1048576"] {
            let finished = json(&folder, &["bench", verb, "--messages", "2", "--size", size], &[]);
            assert!(finished.text().contains(&format!("\"size\":{size},")), "{finished:?}");
        }
    }
}

#[test]
fn a_place_that_can_hold_no_benchmark_is_told() {
    let folder = Folder::new();
    let finished =
        |db: &str| Running::start(folder.bare(&["--db", db, "bench", "pub", "--messages", "1"])).finish();
    assert!(finished("missing/bus.db").refusal(1).contains("missing: "));
    assert!(finished(":memory:").refusal(1).contains("a bus is a file"));
}

#[test]
#[cfg(unix)]
fn a_benchmark_that_is_told_to_stop_removes_its_files_and_has_no_result() {
    let endless: [&[&str]; 3] = [
        &["bench", "pub", "--messages", "10000000"],
        &["bench", "sub", "--messages", "10000000"],
        &["bench", "latency", "--messages", "10000000"],
    ];
    for benchmark in endless {
        for signal in ["INT", "TERM"] {
            let folder = Folder::new();
            let mut running = Running::start(folder.command(benchmark));
            assert!(running.stderr_line().starts_with("measuring in "));
            running.signal(signal);
            let finished = running.finish();
            assert_eq!(finished.refusal(1), "told to stop before there was a result");
            assert!(is_empty(folder.path()), "{benchmark:?} {signal}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_second_process_of_a_benchmark_ends_with_the_first() {
    let folder = Folder::new();
    let mut first = Running::start(folder.command(&["bench", "latency", "--messages", "10000000"]));
    assert!(first.stderr_line().starts_with("measuring in "));
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let wait_until = |there: bool| {
        while is_anybody_in(folder.path()) != there {
            assert!(std::time::Instant::now() < deadline, "waited in vain: {there}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    wait_until(true);
    // It has no chance to say anything.
    first.kill();
    wait_until(false);
}

/// Whether a process receives in this folder.
#[cfg(target_os = "linux")]
fn is_anybody_in(folder: &Path) -> bool {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().any(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains(folder) && command.contains("\0receive\0")
    })
}
