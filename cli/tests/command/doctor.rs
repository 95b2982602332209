//! `rowbus doctor`: one file with something wrong for each check, and none of them is touched.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rowbus::rusqlite::Connection;
use serde_json::Value;

use crate::support::{Folder, skip};

/// A bus with a message, which nobody has open.
fn bus() -> Folder {
    let folder = Folder::new();
    folder.publish("a", b"x");
    folder
}

/// The same, on which this SQL was run.
fn broken_by(sql: &str) -> Folder {
    let folder = bus();
    Connection::open(folder.db()).unwrap().execute_batch(sql).unwrap();
    folder
}

/// All files of a folder: bytes, and when they were written. The index of a WAL that is in use is SQLite's scratch.
fn files(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let bytes = if name.ends_with("-shm") { Vec::new() } else { fs::read(entry.path()).unwrap() };
            let written = entry.metadata().unwrap().modified().unwrap();
            let written = if name.ends_with("-shm") { SystemTime::UNIX_EPOCH } else { written };
            (name, (bytes, written))
        })
        .collect()
}

/// What is not well, as check, severity and message.
type Bad = Vec<(String, String, String)>;

/// What the command finds, which must leave all as it is.
fn examine(folder: &Folder, args: &[&str]) -> (Option<i32>, Bad) {
    let before = files(folder.path());
    let found = examine_open(folder, args);
    assert!(files(folder.path()) == before, "it has changed something");
    found
}

/// The same beside a process that has the file open, and may write at any time.
fn examine_open(folder: &Folder, args: &[&str]) -> (Option<i32>, Bad) {
    let finished = folder.run(&[&["doctor", "--json"], args].concat());
    let found: Value = serde_json::from_slice(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = found["findings"].as_array().unwrap().iter();
    let bad = findings.filter(|finding| finding["severity"] != "ok").inspect(|finding| {
        assert!(finding["remedy"].is_string(), "no remedy: {finding}");
        assert!(!text(&finding["message"]).contains('\n'));
    });
    let bad: Vec<_> = bad
        .map(|finding| (text(&finding["check"]), text(&finding["severity"]), text(&finding["message"])))
        // Where tests have their folders is not theirs to choose.
        .filter(|(check, ..)| check != "mount" && check != "disk")
        .collect();
    (finished.code, bad)
}

#[track_caller]
fn finds(folder: &Folder, check: &str, severity: &str, message: &str) {
    let (code, bad) = examine(folder, &[]);
    let found = bad.iter().any(|(a, b, c)| a == check && b == severity && c.contains(message));
    assert!(found, "{check}, {severity}, {message} is not among {bad:?}");
    assert_eq!(code, Some(i32::from(severity != "notice")), "{bad:?}");
}

#[test]
fn a_file_that_is_well_has_nothing_wrong_closed_open_or_killed() {
    let folder = bus();
    assert_eq!(examine(&folder, &[]).1, []);
    assert_eq!(examine(&folder, &["--full"]).1, []);
    let mut stream = folder.stream(&[">"]);
    assert_eq!(examine_open(&folder, &[]).1, []);
    stream.kill();
    stream.wait();
    // The dead one is listed still.
    assert!(
        examine(&folder, &[]).1.iter().all(|(check, severity, _)| check == "peers" && severity == "notice")
    );
    let table = folder.run(&["doctor"]);
    assert!(table.text().contains("ok       integrity     all pages can be read"), "{table:?}");
}

#[test]
fn what_is_no_bus_is_told_of() {
    let folder = Folder::new();
    let missing = folder.run(&["doctor"]);
    assert!(missing.refusal(1).contains("there is no such file") && !folder.db().exists());
    fs::write(folder.db(), "not a database, ".repeat(1000)).unwrap();
    finds(&folder, "database", "error", "it is no SQLite database");
    let other = Folder::new();
    Connection::open(other.db()).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    finds(&other, "schema", "error", "there is no bus in this file");
    let taken = Folder::new();
    Connection::open(taken.db()).unwrap().execute_batch("CREATE TABLE bus_events (x)").unwrap();
    finds(&taken, "schema", "error", "\"bus_events\"");
}

#[test]
fn damaged_pages_are_found() {
    let folder = broken_by(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
         INSERT INTO bus_events (subject, data) SELECT 'a.' || x, zeroblob(200) FROM n",
    );
    let length = fs::metadata(folder.db()).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(folder.db()).unwrap();
    file.write_all_at(&[0xa5; 4096], length / 2 / 4096 * 4096).unwrap();
    drop(file);
    let (code, bad) = examine(&folder, &[]);
    assert!(bad.iter().any(|(check, severity, _)| check == "integrity" && severity == "error"), "{bad:?}");
    assert_eq!(code, Some(1));
}

#[test]
fn an_index_that_does_not_fit_its_table_takes_a_full_look() {
    // Its rows were written by another index than it is now, and was before.
    let folder = broken_by(
        "CREATE TEMP TABLE true AS SELECT sql FROM sqlite_schema WHERE name = 'bus_events_by_subject';
         PRAGMA writable_schema = 1;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX bus_events_by_subject ON bus_events (headers, id)'
         WHERE name = 'bus_events_by_subject';
         PRAGMA writable_schema = RESET;
         INSERT INTO bus_events (subject) VALUES ('b'), ('c');
         PRAGMA writable_schema = 1;
         UPDATE sqlite_schema SET sql = (SELECT sql FROM temp.true) WHERE name = 'bus_events_by_subject'",
    );
    assert_eq!(examine(&folder, &[]).1, []);
    let (_, bad) = examine(&folder, &["--full"]);
    assert!(
        bad.iter().any(|(check, _, message)| check == "integrity" && message.contains("index")),
        "{bad:?}"
    );
}

#[test]
fn schemas_that_were_changed_or_are_old_are_told_apart() {
    let changed = broken_by("UPDATE bus_schema_history SET checksum = '7' WHERE version = 1");
    finds(&changed, "schema", "error", "was changed after it was applied");
    let newer = broken_by("UPDATE bus_meta SET value = '99' WHERE key = 'min_writer'");
    finds(&newer, "schema", "error", "a library must know migration 99");
    let no_index = broken_by("DROP INDEX bus_events_by_subject");
    finds(&no_index, "schema", "error", "bus_events_by_subject is missing");
    for version in [1, 2, 3] {
        let old = Folder::new();
        let fixture = format!("{}/../tests/fixtures/schema-{version}.db", env!("CARGO_MANIFEST_DIR"));
        fs::copy(fixture, old.db()).unwrap();
        fs::set_permissions(old.db(), Permissions::from_mode(0o600)).unwrap();
        let (_, bad) = examine(&old, &[]);
        let schema: Vec<_> = bad.iter().filter(|(check, ..)| check == "schema").collect();
        assert!(
            matches!(schema[..], [(_, severity, message)] if severity == "notice" && message.contains("older"))
        );
    }
}

#[test]
fn a_file_in_rollback_journal_mode_and_a_journal_that_was_left_are_errors() {
    let folder = broken_by("PRAGMA journal_mode = DELETE");
    finds(&folder, "journal", "error", "rollback-journal mode");
    let hot = bus();
    fs::write(hot.path().join("bus.db-journal"), "a transaction").unwrap();
    finds(&hot, "journal", "error", "died in a transaction");
}

#[test]
fn a_wal_that_was_left_without_its_index_is_looked_at_as_a_copy_and_a_long_one_is_told_of() {
    let (live, folder) = (bus(), Folder::new());
    let conn = Connection::open(live.db()).unwrap();
    conn.execute("INSERT INTO bus_events (subject, created_at) VALUES ('b', 1)", []).unwrap();
    fs::copy(live.db(), folder.db()).unwrap();
    fs::copy(live.path().join("bus.db-wal"), folder.path().join("bus.db-wal")).unwrap();
    fs::set_permissions(folder.path().join("bus.db-wal"), Permissions::from_mode(0o600)).unwrap();
    let (_, bad) = examine(&folder, &[]);
    assert!(bad.iter().any(|(check, severity, _)| check == "wal" && severity == "notice"), "{bad:?}");
    let stats = folder.run(&["stats", "--json"]);
    let stats: Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert_eq!(stats["events"], 2, "what is in the WAL alone counts");
    let long = bus();
    let wal = fs::File::create(long.path().join("bus.db-wal")).unwrap();
    wal.set_len(130 << 20).unwrap();
    fs::set_permissions(long.path().join("bus.db-wal"), Permissions::from_mode(0o600)).unwrap();
    finds(&long, "wal", "warning", "checkpoints should keep it");
}

#[test]
fn files_that_others_may_read_are_told_of_each() {
    for (suffix, mode, word) in [("", 0o644, "read"), ("-bell", 0o666, "written")] {
        let folder = bus();
        let file = folder.path().join(format!("bus.db{suffix}"));
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        finds(&folder, "permissions", "warning", &format!("bus.db{suffix} can be {word} by other users"));
    }
    let folder = bus();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    finds(&folder, "permissions", "warning", "everybody may replace files");
}

#[test]
fn much_free_room_is_a_notice() {
    let sql = "INSERT INTO bus_events (subject, data) VALUES ('b', zeroblob(20000000)); DELETE FROM bus_events WHERE id > 1";
    finds(&broken_by(sql), "space", "notice", "pages are free");
}

#[test]
fn what_is_wrong_with_rows_is_told_of() {
    const PEER: &str = "INSERT INTO bus_peers (slot, name, pid, version, started_at) VALUES (1099511627999, 'tray', 1, '1', 1);";
    let cases = [
        ("quarantine", "warning", "row 7 of bus_events", "INSERT INTO bus_quarantine VALUES ('bus_events', 7, 'no\ntext', 1)"),
        (
            "dead letters",
            "warning",
            "1 jobs or events",
            "INSERT INTO bus_dead_letters (source, source_id, subject, data, reason, attempts, created_at, died_at)
             VALUES ('job', 'x', 'a', '', 'no', 1, 1, 1)",
        ),
        ("clock", "warning", "in the future", "INSERT INTO bus_events (subject, created_at) VALUES ('a', 9999999999999)"),
        ("requests", "warning", "expired", "INSERT INTO bus_requests (subject, expires_at) VALUES ('j', 5)"),
        ("requests", "notice", "given up", "INSERT INTO bus_requests (subject, kind, deadline) VALUES ('j', 'request', -999999999)"),
        ("retention", "warning", "an event is ", "UPDATE bus_events SET created_at = 5"),
        ("retention", "warning", "1 are to be kept", "UPDATE bus_retention SET max_messages = 1; INSERT INTO bus_events (subject) VALUES ('a'), ('b')"),
        #[cfg(target_os = "linux")]
        ("peers", "notice", "\"tray\" (process 1) has died", PEER),
        #[cfg(target_os = "linux")]
        (
            "leases",
            "warning",
            "a process that has died",
            "INSERT INTO bus_requests (subject, ready, lease_peer, lease_until) VALUES ('j', NULL, 1099511627999, 5)",
        ),
        #[cfg(target_os = "linux")]
        (
            "leases",
            "warning",
            "deliveries of consumer 3",
            "INSERT INTO bus_deliveries (consumer, sequence, attempt, lease_peer, lease_until) VALUES (3, 1, 1, 1099511627999, 5)",
        ),
        #[cfg(target_os = "linux")]
        (
            "leases",
            "warning",
            "whose lease ended",
            "INSERT INTO bus_requests (subject, ready, lease_until) VALUES ('j', NULL, -999999999)",
        ),
    ];
    for (check, severity, message, sql) in cases {
        finds(&broken_by(sql), check, severity, message);
    }
}

#[test]
fn consumers_that_do_not_get_on_are_told_of() {
    let consumer = |set: &str| {
        let folder = bus();
        assert_eq!(folder.run(&["sub", ">", "--durable", "mailer", "--count", "1"]).code, Some(0));
        let conn = Connection::open(folder.db()).unwrap();
        conn.execute_batch(&format!(
            "DELETE FROM bus_deliveries; UPDATE bus_consumers SET position = 0, {set}"
        ))
        .unwrap();
        folder
    };
    finds(&consumer("stopped = 'no route'"), "consumers", "error", "which could not be handled: no route");
    finds(&consumer("paused_at = 1"), "consumers", "notice", "is paused");
    #[cfg(target_os = "linux")]
    finds(&consumer("full = 0"), "consumers", "notice", "has no members, and 1 events wait");
    let behind = consumer("full = 0");
    let many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 11000)
        INSERT INTO bus_events (subject) SELECT 'a' FROM n";
    Connection::open(behind.db()).unwrap().execute_batch(many).unwrap();
    finds(&behind, "consumers", "warning", "is 11001 sequences behind");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_in_memory_and_a_disk_that_is_nearly_full_are_told_of() {
    let folder = Folder::new();
    let mount = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(folder.path()).status();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"])
        .is_ok_and(|status| status.success())
    {
        return skip("a disk that is nearly full: mounting a small tmpfs takes root");
    }
    folder.publish("a", b"x");
    fs::write(folder.path().join("ballast"), vec![0; 3 << 20]).unwrap();
    let _ = fs::write(folder.path().join("more"), vec![0; 600 << 10]);
    let finished = folder.run(&["doctor"]);
    assert!(mount(&["umount", "-l"]).unwrap().success());
    assert_eq!(finished.code, Some(1));
    assert!(finished.text().contains("warning  mount         the file is in memory (tmpfs)"), "{finished:?}");
    assert!(finished.text().contains("error    disk "), "{finished:?}");
}
