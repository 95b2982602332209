//! `rowbus migrate`, and what the other verbs do with a file of another version.

use std::fs;
use std::path::Path;

use rowbus::rusqlite::Connection;
use rowbus::sqlite::migrations;
use serde_json::Value;

use crate::support::{Finished, Folder, Running};

/// The newest schema of this version.
pub fn newest() -> i64 {
    i64::try_from(migrations().len()).unwrap()
}

fn names() -> String {
    migrations().iter().map(|migration| format!("{migration}\n")).collect()
}

/// A folder with a file that a released version has made.
pub fn fixture(schema: i64) -> Folder {
    let folder = Folder::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    fs::copy(fixtures.join(format!("schema-{schema}.db")), folder.db()).unwrap();
    folder
}

/// A file as a later version might leave it, with these floors.
pub fn newer(min_reader: i64, min_writer: i64) -> Folder {
    let folder = Folder::new();
    folder.publish("fixture.event", b"kept");
    let conn = Connection::open(folder.db()).unwrap();
    conn.execute("INSERT INTO bus_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '5')", [])
        .unwrap();
    for (key, floor) in [("min_reader", min_reader), ("min_writer", min_writer)] {
        conn.execute("UPDATE bus_meta SET value = ?2 WHERE key = ?1", (key, floor.to_string())).unwrap();
    }
    folder
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(finished.text()).unwrap_or_else(|_| panic!("{finished:?}"))
}

#[test]
fn status_tells_what_is_there_and_what_is_missing() {
    let folder = fixture(2);
    let shown = folder.run(&["migrate", "status"]);
    assert_eq!((shown.code, &*shown.stderr), (Some(0), ""));
    let lines: Vec<_> = shown.text().lines().collect();
    assert!(lines[0].ends_with(&format!("bus.db: schema 2; this command knows {}", newest())), "{lines:?}");
    assert_eq!(lines[1], "read by versions that know 1, written by those that know 1");
    assert!(lines[4].starts_with("      2  requests      applied  20"), "{lines:?}");
    assert_eq!(lines[5], "      3  consumers     pending  -");
    let told = json(&folder.run(&["migrate", "status", "--json"]));
    assert_eq!(
        (&told["schema"], &told["newest_known"], &told["pending"]),
        (&2.into(), &newest().into(), &(newest() - 2).into())
    );
    let fields: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        ["file", "migrations", "min_reader", "min_writer", "newest_known", "pending", "refusal", "schema"]
    );
    assert_eq!(
        (&told["migrations"][2]["state"], &told["migrations"][2]["applied_on"]),
        (&"pending".into(), &Value::Null)
    );
}

#[test]
fn a_host_file_is_migrated_when_it_is_told_to_be_and_rehearsed_before() {
    let folder = Folder::new();
    let host = Connection::open(folder.db()).unwrap();
    host.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE customers (name TEXT); INSERT INTO customers VALUES ('ada')",
    )
    .unwrap();
    let objects =
        || host.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap();
    let all = names();
    let rehearsed = folder.run(&["migrate", "up", "--dry-run"]);
    assert_eq!((rehearsed.code, rehearsed.text()), (Some(0), &*all));
    assert!(
        rehearsed.stderr.starts_with(&format!("would apply {} migrations to ", newest())),
        "{rehearsed:?}"
    );
    assert_eq!(objects(), 1);
    let done = folder.run(&["migrate", "up"]);
    assert_eq!((done.code, done.text()), (Some(0), &*all));
    let again = folder.run(&["migrate", "up", "--json"]);
    assert_eq!(
        (again.code, &json(&again)["applied"], &json(&again)["dry_run"]),
        (Some(0), &Value::Array(vec![]), &false.into())
    );
    assert!(again.stderr.starts_with("there is nothing to migrate"), "{again:?}");
    folder.publish("a", b"x");
    assert_eq!(
        host.query_row("SELECT name FROM customers", [], |row| row.get::<_, String>(0)).unwrap(),
        "ada"
    );
}

#[test]
fn a_file_in_rollback_journal_mode_is_refused_by_status_as_by_up() {
    let folder = Folder::new();
    let host = Connection::open(folder.db()).unwrap();
    host.execute_batch("CREATE TABLE customers (name TEXT)").unwrap();
    // While a program has it open, and while none has.
    let refused = |args: &[&str]| {
        let finished = folder.run(args);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("sqlite3 FILE 'PRAGMA journal_mode=WAL'"), "{finished:?}");
        finished
    };
    let all = || {
        refused(&["migrate", "up"]);
        refused(&["migrate", "up", "--dry-run"]);
        refused(&["pub", "a", "x"]);
        let told = json(&refused(&["migrate", "status", "--json"]));
        assert!(told["refusal"].as_str().unwrap().contains("rollback-journal mode"), "{told}");
    };
    all();
    drop(host);
    all();
    let host = Connection::open(folder.db()).unwrap();
    host.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert_eq!(json(&folder.run(&["migrate", "status", "--json"]))["refusal"], Value::Null);
    drop(host);
    assert_eq!(json(&folder.run(&["migrate", "status", "--json"]))["refusal"], Value::Null);
    assert_eq!(folder.run(&["migrate", "up"]).code, Some(0));
}

#[test]
fn verify_says_how_far_it_knows_a_newer_file() {
    let (folder, known) = (newer(1, 1), newest());
    let fine = folder.run(&["migrate", "verify"]);
    assert_eq!(fine.code, Some(0), "{fine:?}");
    let said = format!("as far as this version knows: {known} of {} migrations, and no table", known + 1);
    assert!(fine.stderr.contains(&said), "{fine:?}");
    assert_eq!(json(&folder.run(&["migrate", "verify", "--json"]))["newer"], 1);
}

#[test]
fn verify_is_for_scripts() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    let fine = folder.run(&["migrate", "verify"]);
    assert_eq!((fine.code, fine.text()), (Some(0), ""));
    assert!(
        fine.stderr.ends_with(&format!(" is as its migrations made it: schema {}\n", newest())),
        "{fine:?}"
    );
    Connection::open(folder.db()).unwrap().execute_batch("DROP INDEX bus_deliveries_due").unwrap();
    let line = folder.run(&["migrate", "verify"]);
    assert!(line.refusal(1).contains("bus_deliveries_due is missing"), "{line:?}");
    let told = folder.run(&["migrate", "verify", "--json"]);
    assert_eq!((told.code, &json(&told)["ok"]), (Some(1), &false.into()));
    assert!(json(&told)["newer"].is_null());
    assert!(json(&told)["problem"].as_str().unwrap().contains("bus_deliveries_due"));
    assert!(fixture(1).run(&["migrate", "verify"]).refusal(1).contains("rowbus migrate up"));
}

#[test]
fn the_sql_makes_a_bus_that_is_accepted() {
    let folder = Folder::new();
    let sql = folder.run(&["migrate", "sql", "-q"]);
    assert_eq!((sql.code, &*sql.stderr), (Some(0), ""));
    assert!(!folder.db().exists(), "no file is looked at");
    let host = Connection::open(folder.db()).unwrap();
    host.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE mine (x)").unwrap();
    host.execute_batch(&format!("BEGIN; {} COMMIT", sql.text())).unwrap();
    assert_eq!(folder.run(&["migrate", "verify"]).code, Some(0));
    folder.publish("a", b"x");
    let last = newest().to_string();
    let nothing = folder.run(&["migrate", "sql", "--from", &last]);
    assert_eq!(nothing.refusal(3), format!("there is no migration behind {last}"));
    assert!(folder.run(&["migrate", "sql", "--from", "99"]).refusal(2).contains("there is no migration 99"));
}

/// Verbs that write to the file, or need it to be this version's.
const WORKING: [&[&str]; 18] = [
    &["pub", "a", "x"],
    &["sub", "a", "--wait", "1s"],
    &["sub", "a", "--durable", "m", "--wait", "1s"],
    &["request", "a", "x", "--timeout", "1s"],
    &["serve", "a", "--echo"],
    &["enqueue", "a", "x"],
    &["job", "show", "id"],
    &["job", "cancel", "id"],
    &["job", "reply", "id"],
    &["dead", "ls"],
    &["dead", "requeue", "1"],
    &["consumer", "ls"],
    &["consumer", "info", "m"],
    &["consumer", "rm", "m"],
    &["retention", "show"],
    &["retention", "prune"],
    &["peers"],
    &["import", "-"],
];

/// Nothing of the folder but its file, which is as it was.
#[track_caller]
fn untouched(folder: &Folder, before: &[u8], args: &[&str]) {
    assert!(fs::read(folder.db()).unwrap() == before, "{args:?} has written");
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // The sidecar of turns stays, as it does anywhere.
    left.retain(|name| name != "bus.db-bell");
    assert_eq!(left, ["bus.db"], "{args:?}");
}

#[test]
fn no_other_verb_migrates_an_older_file() {
    for schema in 1..newest() {
        let folder = fixture(schema);
        let before = fs::read(folder.db()).unwrap();
        for args in WORKING {
            let finished = folder
                .run_with(args, b"{\"subject\":\"a\",\"time\":\"2026-11-23T07:05:00Z\",\"data\":\"x\"}\n");
            let line = finished.refusal(1);
            assert!(
                line.contains("lacks migration V") && line.contains("rowbus migrate up"),
                "{args:?}: {line}"
            );
            untouched(&folder, &before, args);
        }
    }
}

#[test]
fn no_verb_writes_a_file_that_is_too_new_for_it() {
    let folder = newer(1, 99);
    let before = fs::read(folder.db()).unwrap();
    let up = [&["migrate", "up"][..], &["migrate", "up", "--dry-run"], &["migrate", "verify"]];
    for args in WORKING.into_iter().chain(up) {
        let finished =
            folder.run_with(args, b"{\"subject\":\"a\",\"time\":\"2026-11-23T07:05:00Z\",\"data\":\"x\"}\n");
        let line = finished.refusal(1);
        assert!(line.contains("to write it a library must know migration 99"), "{args:?}: {line}");
        untouched(&folder, &before, args);
    }
    let shown = folder.run(&["migrate", "status"]);
    assert_eq!(shown.code, Some(1));
    assert!(shown.text().contains("     99  later         newer    2030-01-01T00:00:00Z"), "{shown:?}");
}

#[test]
fn files_of_other_versions_can_be_looked_at() {
    let older = (1..=newest()).map(fixture);
    for folder in older.chain([newer(1, 1), newer(1, 99)]) {
        let before = fs::read(folder.db()).unwrap();
        let stats = folder.run(&["stats", "--json"]);
        assert_eq!(stats.code, Some(0), "{stats:?}");
        assert!(json(&stats)["events"].as_u64().unwrap() > 0, "{stats:?}");
        let doctor = folder.run(&["doctor", "--json"]);
        let findings = json(&doctor);
        let bad = |finding: &Value| finding["severity"] == "error" && finding["check"] != "schema";
        assert!(!findings["findings"].as_array().unwrap().iter().any(bad), "{doctor:?}");
        let export = folder.run(&["export", "fixture.>"]);
        assert_eq!(export.code, Some(0), "{export:?}");
        assert!(export.text().contains("\"kept\""), "{export:?}");
        untouched(&folder, &before, &["stats, doctor, export"]);
    }
}

#[test]
fn a_file_that_this_version_cannot_read_is_refused_by_those_that_look_as_well() {
    let folder = newer(99, 99);
    let before = fs::read(folder.db()).unwrap();
    for args in [&["stats"][..], &["export"], &["stats", "--json"]] {
        let finished = folder.run(args);
        assert!(finished.refusal(1).contains("to read it a library must know migration 99"), "{finished:?}");
    }
    let doctor = folder.run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.text().contains("update this command"), "{doctor:?}");
    untouched(&folder, &before, &["stats, export, doctor"]);
}

#[test]
fn a_locked_file_is_migrated_by_nobody_and_still_looked_at() {
    let folder = fixture(1);
    let host = Connection::open(folder.db()).unwrap();
    host.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commands = [&["migrate", "up"][..], &["migrate", "up", "--dry-run"]];
    let waiting = commands.map(|args| {
        let mut running = Running::start(folder.command(args));
        running.write(b"");
        running
    });
    assert_eq!(json(&folder.run(&["migrate", "status", "--json"]))["pending"], newest() - 1);
    for running in waiting {
        let finished = running.finish();
        assert!(finished.refusal(1).contains("locked"), "{finished:?}");
    }
    host.execute_batch("ROLLBACK").unwrap();
    assert_eq!(folder.run(&["migrate", "up"]).code, Some(0));
    assert_eq!(folder.run(&["migrate", "verify"]).code, Some(0));
}
