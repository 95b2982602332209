//! `rowbus stats`: on files of any kind, which it leaves as they are.

use std::fs;

use serde_json::Value;

use crate::support::Folder;

fn json(folder: &Folder) -> Value {
    let finished = folder.run(&["stats", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_slice(&finished.stdout).unwrap()
}

#[test]
fn what_is_in_the_file_is_shown_to_people_and_programs() {
    let folder = Folder::new();
    for _ in 0..3 {
        folder.publish("a", b"x");
    }
    assert_eq!(folder.run(&["enqueue", "work", "later", "--delay", "1h"]).code, Some(0));
    assert_eq!(folder.run(&["sub", ">", "--durable", "mailer", "--count", "1"]).code, Some(0));
    let stats = json(&folder);
    assert_eq!((stats["events"].as_u64(), stats["events_is_exact"].as_bool()), (Some(3), Some(true)));
    assert_eq!((&stats["oldest"]["sequence"], &stats["newest"]["sequence"]), (&1.into(), &3.into()));
    assert_eq!((&stats["requests"]["scheduled"], &stats["requests"]["ready"]), (&1.into(), &0.into()));
    assert_eq!(stats["consumers"][0]["name"], "mailer");
    assert!(stats["file_bytes"].as_u64().unwrap() >= 4096 && stats["incarnation"].is_string());
    let table = folder.run(&["stats"]);
    assert!(table.text().contains("events          3, from 1 of "), "{table:?}");
    assert!(table.text().contains("\nNAME    POLICY") && table.text().contains("1 scheduled"), "{table:?}");
}

#[test]
fn a_file_that_others_write_is_looked_at_while_they_do() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    let stream = folder.stream(&[">"]);
    let stats = json(&folder);
    #[cfg(target_os = "linux")]
    {
        // It says that it is there a moment after it has begun.
        let start = std::time::Instant::now();
        let mut peers = stats["peers"].clone();
        while peers.as_array().unwrap().is_empty() && start.elapsed() < crate::support::PATIENCE {
            peers = json(&folder)["peers"].clone();
        }
        assert_eq!(peers[0]["pid"], stream.id());
    }
    folder.publish("a", b"y");
    assert_eq!((&stats["last_sequence"], &json(&folder)["last_sequence"]), (&1.into(), &2.into()));
    drop(stream);
}

#[test]
fn files_of_every_schema_are_looked_at_read_only_and_stay_as_they_are() {
    for version in [1, 2, 3, 4] {
        let folder = Folder::new();
        let fixture = format!("{}/../tests/fixtures/schema-{version}.db", env!("CARGO_MANIFEST_DIR"));
        fs::copy(fixture, folder.db()).unwrap();
        let mut permissions = fs::metadata(folder.db()).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(folder.db(), permissions).unwrap();
        let before = (fs::read(folder.db()).unwrap(), fs::metadata(folder.db()).unwrap().modified().unwrap());
        let stats = json(&folder);
        assert_eq!(stats["schema_version"], version);
        assert_eq!((stats["requests"].is_null(), stats["consumers"].is_null()), (version < 2, version < 3));
        assert_eq!(folder.run(&["stats"]).code, Some(0));
        let after = (fs::read(folder.db()).unwrap(), fs::metadata(folder.db()).unwrap().modified().unwrap());
        assert!(before == after, "it was changed");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside it");
    }
}

#[test]
fn what_is_no_bus_is_refused_and_nothing_is_made() {
    let folder = Folder::new();
    assert!(folder.run(&["stats"]).refusal(1).contains("there is no such file"));
    fs::write(folder.db(), "rubbish".repeat(1000)).unwrap();
    assert!(folder.run(&["stats"]).refusal(1).contains("it is no SQLite database"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn watching_writes_a_line_for_each_look_into_a_pipe_until_it_is_told_to_end() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    // The first look is shown at once, however long it is to the next one.
    let mut patient = folder.start(&["stats", "--watch", "--interval", "1d"]);
    let first = patient.line().unwrap();
    assert!(first.contains("  events 1  published -  file "), "{first}");
    patient.signal("INT");
    assert_eq!(patient.finish().code, Some(0));
    let mut watching = folder.start(&["stats", "--watch", "--interval", "100ms"]);
    assert!(watching.stderr_line().starts_with("watching "));
    assert!(watching.line().unwrap().contains("  published -  file "));
    let second = watching.line().unwrap();
    assert!(second.contains("  events 1  published 0/s  file "), "{second}");
    for _ in 0..10 {
        folder.publish("a", b"x");
    }
    while !watching.line().unwrap().contains("  events 11  ") {}
    watching.signal("INT");
    assert_eq!(watching.finish().code, Some(0));
    let mut watching = folder.start(&["stats", "--watch", "--json"]);
    let line: Value = serde_json::from_str(&watching.line().unwrap()).unwrap();
    assert_eq!(line["events"], 11);
    // Its reader goes.
    drop(watching);
}

#[cfg(unix)]
#[test]
fn watching_draws_in_place_on_a_terminal_that_can() {
    use crate::terminal::Terminal;
    let folder = Folder::new();
    folder.publish("a", b"x");
    let watching = |term| {
        let args = ["stats", "--watch", "--interval", "100ms"];
        Terminal::start_with(&folder, &args, 200, 36, &[("TERM", term)])
    };
    let table = watching("xterm-256color").until_it_has(&["published       0 a second", "SQLite"]);
    assert!(!table.contains("watching "), "{table}");
    let lines = watching("dumb").until_it_has(&["watching ", "  published -  ", "  published 0/s  "]);
    assert!(!lines.contains("SQLite"), "{lines}");
}

#[test]
fn an_interval_is_one_of_watching() {
    let folder = Folder::new();
    for args in [&["stats", "--watch", "--interval", "0s"][..], &["stats", "--watch", "--interval", "10ms"]] {
        folder.run(args).refusal(2);
    }
    assert!(folder.run(&["stats", "--interval", "1s"]).refusal(2).contains("--watch"));
}
