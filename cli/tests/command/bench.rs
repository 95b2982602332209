//! `rowbus bench`: what it leaves alone, and what it says. How fast it is, is not for a test to judge.

use std::path::Path;

use serde_json::Value;

#[cfg(target_os = "linux")]
use crate::support::until;
use crate::support::{Finished, Folder, Running};
#[cfg(unix)]
use crate::terminal::Terminal;

/// Each benchmark, as small as it can be told from nothing.
const EACH: [&[&str]; 5] = [
    &["bench", "pub", "--messages", "20", "--publishers", "3"],
    &["bench", "sub", "--messages", "2500", "--size", "10"],
    &["bench", "latency", "--messages", "3", "--pause", "1ms"],
    &["bench", "rpc", "--messages", "20", "--callers", "3"],
    &["bench", "queue", "--messages", "700", "--workers", "2", "--size", "10"],
];

const RAW: [&str; 2] = ["--compare", "raw"];

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
        for compared in [&[][..], &RAW] {
            let finished = folder.run(&[benchmark, compared].concat());
            assert_eq!(finished.code, Some(0), "{finished:?}");
            assert!(is_empty(folder.path()), "{benchmark:?}");
        }
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
    let [publish, replay, latency, rpc, queue] = EACH.map(|benchmark| json(&folder, benchmark, &[]));
    let percentiles = ["p50_us", "p90_us", "p99_us", "max_us"];
    let rates = ["seconds", "per_s", "mb_per_s"];
    let how = ["work", "messages", "size"];
    let of_publish = [&how[..], &["publishers", "synchronous"], &rates, &percentiles].concat();
    assert_eq!(fields(publish.text()), of_publish);
    assert_eq!(fields(replay.text()), [&how[..], &["synchronous"], &rates].concat());
    let of_latency = [&how[..], &["synchronous", "pause_ms", "clock"], &percentiles].concat();
    assert_eq!(fields(latency.text()), of_latency);
    let of_rpc = [&how[..], &["callers", "synchronous"], &rates, &percentiles].concat();
    assert_eq!(fields(rpc.text()), of_rpc);
    assert_eq!(fields(queue.text()), [&how[..], &["workers", "synchronous"], &rates].concat());
}

#[test]
fn what_is_compared_has_the_same_fields_and_a_ratio() {
    let folder = Folder::new();
    for benchmark in EACH {
        let finished = json(&folder, benchmark, &RAW);
        let result: Value = serde_json::from_str(finished.text()).unwrap();
        let raw = result["raw"].as_object().unwrap();
        assert!(!raw.is_empty(), "{result}");
        for (name, value) in raw {
            assert!(
                value.as_f64().unwrap() > 0.0 && result[name].as_f64().unwrap() > 0.0,
                "{name}: {result}"
            );
        }
        let ratio = result["ratio"].as_f64().unwrap();
        let expected = match raw.get("per_s") {
            Some(rate) => result["per_s"].as_f64().unwrap() / rate.as_f64().unwrap(),
            None => raw["p50_us"].as_f64().unwrap() / result["p50_us"].as_f64().unwrap(),
        };
        assert!((ratio - expected).abs() <= 0.01 * expected + 0.001, "{ratio} {expected}");
        let told = folder.run(&[benchmark, &RAW, &["--quiet"]].concat());
        assert!(told.text().contains("raw SQLite  ") && told.text().contains("ratio        "), "{told:?}");
    }
}

#[test]
fn a_benchmark_that_makes_no_sense_is_refused() {
    let folder = Folder::new();
    for wrong in [
        "bench",
        "bench walk",
        "bench rpc --callers 0",
        "bench rpc --messages 0",
        "bench rpc --relaxed",
        "bench queue --workers 5000",
        "bench queue --size 1048577",
        "bench queue --compare nats",
        "bench latency --size 7",
        "bench latency --pause 0s",
    ] {
        let finished = folder.run(&wrong.split(' ').collect::<Vec<_>>());
        assert_eq!(finished.code, Some(2), "{wrong}: {finished:?}");
        assert!(finished.stdout.is_empty(), "{wrong}: {finished:?}");
    }
    assert!(is_empty(folder.path()));
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
    for verb in ["pub", "sub", "latency", "rpc", "queue"] {
        let smallest = if verb == "latency" { "8" } else { "0" };
        for size in [smallest, "1048576"] {
            let finished = json(&folder, &["bench", verb, "--messages", "2", "--size", size], &RAW);
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
    let endless: [&[&str]; 5] = [
        &["bench", "pub", "--messages", "10000000"],
        &["bench", "sub", "--messages", "10000000"],
        &["bench", "latency", "--messages", "10000000"],
        &["bench", "rpc", "--messages", "10000000"],
        &["bench", "queue", "--messages", "10000000"],
    ];
    for benchmark in endless {
        for signal in ["INT", "TERM", "HUP"] {
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
    for (verb, part) in [("latency", "receive"), ("rpc", "answer")] {
        let mut first = Running::start(folder.command(&["bench", verb, "--messages", "10000000"]));
        assert!(first.stderr_line().starts_with("measuring in "));
        until("the second process", || is_anybody_in(folder.path(), part));
        // It has no chance to say anything.
        first.kill();
        until("its end", || !is_anybody_in(folder.path(), part));
    }
}

/// Whether a process does this part in this folder.
#[cfg(target_os = "linux")]
fn is_anybody_in(folder: &Path, part: &str) -> bool {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().any(|process| {
        let read = |name: &str| std::fs::read(process.path().join(name)).unwrap_or_default();
        let (command, variables) = (read("cmdline"), read("environ"));
        String::from_utf8_lossy(&variables).contains(folder)
            && String::from_utf8_lossy(&command).contains(&format!("\0{part}\0"))
    })
}

#[test]
#[cfg(unix)]
fn comparing_that_is_told_to_stop_removes_its_files_as_well() {
    for (verb, messages) in
        [("pub", 1000), ("sub", 30_000), ("latency", 200), ("rpc", 1000), ("queue", 1000_u64)]
    {
        // Few for the bus, and enough to be stopped in the middle of what comes behind it: more where it was faster.
        let mut tries = (0..5).map(|doublings| (messages << doublings).to_string());
        assert!(tries.any(|messages| is_stopped_comparing(verb, &messages)), "{verb} was always through");
    }
}

/// Stops it while bare SQLite is measured; `false` if it was through before the signal came.
#[cfg(unix)]
fn is_stopped_comparing(verb: &str, messages: &str) -> bool {
    let folder = Folder::new();
    let args = ["bench", verb, "--messages", messages, "--compare", "raw"];
    let mut running = Running::start(folder.command(&args));
    assert!(running.stderr_line().starts_with("measuring in "));
    crate::support::until("the comparison", || {
        let folders = std::fs::read_dir(folder.path()).unwrap().flatten();
        folders.into_iter().any(|folder| folder.path().join("raw.db").exists()) || running.has_ended()
    });
    if !running.has_ended() {
        running.signal("INT");
    }
    let finished = running.finish();
    assert!(is_empty(folder.path()), "{verb}");
    if finished.code == Some(0) {
        return false;
    }
    assert_eq!(finished.refusal(1), "told to stop before there was a result");
    true
}

#[test]
#[cfg(unix)]
fn a_terminal_gets_a_bar_while_it_lasts_and_a_histogram_at_the_end() {
    let folder = Folder::new();
    let args = ["bench", "latency", "--messages", "100", "--pause", "5ms"];
    let mut terminal = Terminal::start(&folder, &args, 100, 40);
    terminal.until_it_has(&["delivering", "of 100", "left"]);
    assert_eq!(terminal.finish(), 0);
    let text = terminal.until_it_has(&["latency      p50", "≤ ", "█"]);
    assert!(!text.contains("delivering"), "{text}");
    let counts = text.lines().filter(|line| line.trim_start().starts_with("≤ "));
    let sum: u64 = counts.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 100, "{text}");
}
