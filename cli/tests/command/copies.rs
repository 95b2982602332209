//! `backup`, `export`, `import` and `salvage`.

use std::path::Path;

use crate::migrating::newest;
use crate::support::{Finished, Folder, Running};

#[track_caller]
fn done(finished: Finished) -> Finished {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

/// The lines of an export, without their sequences.
fn lines(finished: &Finished) -> Vec<String> {
    let without = |line: &str| line[line.find(",\"subject\"").unwrap()..].to_owned();
    finished.text().lines().map(without).collect()
}

fn on(folder: &Folder, db: &str, args: &[&str]) -> Finished {
    let mut running = Running::start(folder.bare(&[&["--db", db], args].concat()));
    running.write(b"");
    running.finish()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything that is hard to carry.
fn fill(folder: &Folder) {
    let big: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let all: Vec<u8> = (0..=255).collect();
    for (args, body) in [
        (
            &[
                "pub",
                "a.b",
                "-H",
                "A: 1",
                "-H",
                "B: \u{7}\u{e4} \"",
                "-H",
                "A:  2",
                "--message-id",
                "id \"\\",
            ][..],
            &b"text"[..],
        ),
        (&["pub", "a.b", "-H", "Empty: "], b""),
        (&["pub", "bin.all"], &all),
        (&["pub", "big"], &big),
        (&["pub", "control"], b"\0\x01\x1b[2J\r\n\"\\\x7f\xe2\x80\xa8"),
        (&["pub", "a.c", "--count", "1500", "x", "--relaxed"], b""),
    ] {
        done(folder.run_with(args, body));
    }
}

#[test]
fn export_import_export_is_the_same_but_for_sequences() {
    let folder = Folder::new();
    fill(&folder);
    let first = done(folder.run(&["export"]));
    assert_eq!(first.text().lines().count(), 1505);
    assert!(
        first.text().contains("\"data_base64\":")
            && first.text().contains("[\"A\",\"1\"],[\"B\",\"\\u0007ä \\\"\"],[\"A\",\" 2\"]")
    );
    done(folder.run(&["export", "--output", "log.jsonl"]));
    assert_eq!(std::fs::read(folder.path().join("log.jsonl")).unwrap(), first.stdout);
    // Where sequences are others.
    done(on(&folder, "new.db", &["pub", "z", "before"]));
    let mut running = Running::start(folder.bare(&["import", "-", "--db", "new.db"]));
    running.write(&first.stdout);
    let imported = done(running.finish());
    assert!(imported.stderr.contains("imported 1505 events"), "{imported:?}");
    let second = done(on(&folder, "new.db", &["export", "--from", "2"]));
    assert_eq!(lines(&second), lines(&first));
    assert!(second.text().starts_with("{\"sequence\":2,"));
    // Again: what has an id is known.
    let again = done(on(&folder, "new.db", &["import", "log.jsonl"]));
    assert!(again.stderr.contains("imported 1504 events into new.db; 1 were there already"), "{again:?}");
    assert!(!names(folder.path()).iter().any(|name| name.contains("unfinished")));
}

/// A new file in which events of any age stay.
fn keeping(folder: &Folder) {
    done(folder.run(&["import", "/dev/null"]));
    done(folder.run(&["retention", "set", ">", "--keep-everything"]));
}

#[test]
fn what_would_be_removed_at_once_is_not_imported_and_the_remedy_is_named() {
    let folder = Folder::new();
    let line = "{\"subject\":\"a\",\"time\":\"2001-11-23T07:05:00.000Z\",\"data\":\"x\"}\n";
    let refused = folder.run_with(&["import", "-"], line.as_bytes());
    let said = refused.refusal(1);
    assert!(said.contains("\">\"") && said.contains("rowbus retention set"), "{said}");
    assert_eq!(folder.run(&["export"]).code, Some(3));
    done(folder.run(&["retention", "set", ">", "--keep-everything"]));
    done(folder.run_with(&["import", "-"], line.as_bytes()));
    done(folder.run(&["retention", "set", "a", "--max-messages", "5"]));
    let warned = done(folder.run_with(&["import", "-"], line.as_bytes()));
    assert!(
        warned.stderr.contains("the policy of a in ") && warned.stderr.contains("limits how much is kept"),
        "{warned:?}"
    );
}

#[test]
fn a_redacted_export_of_dead_letters_shows_no_content() {
    let folder = Folder::new();
    done(folder.run(&["pub", "a", "x"]));
    folder.sql(
        "INSERT INTO bus_dead_letters (source, source_id, consumer, subject, data, headers, reason, errors, attempts,
            created_at, died_at)
         VALUES ('event', '1', 'indexer', 'a', 'secret-body', 'Auth: secret-value' || char(10), 'secret-reason',
                '1 5 secret-message' || char(10), 1, 0, 0),
            ('job', 'b1', NULL, 'a', 'secret-body', NULL, 'exhausted', NULL, 1, 0, 0)",
    );
    let open = done(folder.run(&["export", "--dead"]));
    for secret in ["secret-body", "secret-value", "secret-reason", "secret-message"] {
        assert!(open.text().contains(secret), "{secret}: {open:?}");
    }
    let redacted = done(folder.run(&["export", "--dead", "--redact"]));
    let text = redacted.text();
    assert!(!text.contains("secret"), "{text}");
    assert!(
        text.contains("\"exhausted\"") && text.contains("\"Auth\"") && text.contains("\"indexer\""),
        "{text}"
    );
}

#[test]
fn what_cannot_be_read_is_named_and_counted_wherever_it_is() {
    let folder = Folder::new();
    done(folder.run(&["pub", "a", "x"]));
    folder.sql(
        "INSERT INTO bus_dead_letters (source, source_id, subject, data, reason, attempts, created_at, died_at)
            VALUES ('job', 'b1', 'a..b', 'x', 'failed', 1, 0, 0), ('job', 'b2', 'a', 5, 'failed', 1, 0, 0),
                ('job', 'b3', 'a', 'x', 'failed', 1, 0, 0);
         INSERT INTO bus_events (subject, headers) VALUES ('b', 'no header')",
    );
    let dead = folder.run(&["export", "--dead"]);
    assert_eq!((dead.code, dead.text().lines().count()), (Some(1), 1), "{dead:?}");
    assert!(dead.stderr.contains("dead letter 1 ") && dead.stderr.contains("dead letter 2 "), "{dead:?}");
    assert!(dead.stderr.contains("2 dead letters could not be read"), "{dead:?}");
    for from in ["oldest", "last"] {
        let events = folder.run(&["export", "--from", from]);
        assert_eq!((events.code, events.text().lines().count()), (Some(1), 1), "{from}: {events:?}");
        assert!(events.stderr.contains("event 2 ") && events.stderr.contains("1 events could"), "{events:?}");
    }
}

#[test]
fn an_export_leaves_a_file_that_was_not_closed_as_it_is() {
    let folder = Folder::new();
    let mut publisher =
        Running::start(folder.command(&["pub", "a", "x", "--count", "1000000000", "--relaxed"]));
    crate::support::until("something is in the log", || {
        std::fs::metadata(folder.path().join("bus.db-wal")).is_ok_and(|found| found.len() > 1_000_000)
    });
    publisher.kill();
    drop(publisher);
    let contents = |folder: &Folder| -> Vec<_> {
        ["bus.db", "bus.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap()).to_vec()
    };
    for has_index in [true, false] {
        if !has_index {
            std::fs::remove_file(folder.path().join("bus.db-shm")).unwrap();
        }
        let (before, there) = (contents(&folder), names(folder.path()));
        assert!(done(folder.run(&["export"])).text().lines().count() > 100);
        assert!(contents(&folder) == before && names(folder.path()) == there, "index: {has_index}");
    }
}

#[test]
#[cfg(unix)]
fn salvage_and_an_export_to_a_file_that_are_told_to_stop_leave_nothing() {
    let folder = Folder::new();
    done(folder.run_with(&["pub", "a", "--count", "300", "--relaxed"], &[b'x'; 500_000]));
    for args in [&["export", "--output", "new.jsonl"][..], &["salvage", "bus.db", "new.db"]] {
        let mut stopped = 0;
        for _ in 0..4 {
            let running = Running::start(folder.command(args));
            crate::support::until("a file in the making", || {
                names(folder.path()).iter().any(|name| name.starts_with("new."))
            });
            running.signal("TERM");
            let finished = running.finish();
            let left = names(folder.path()).into_iter().filter(|name| name.starts_with("new."));
            let left: Vec<_> = left.collect();
            if finished.code == Some(0) {
                left.iter().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());
                continue;
            }
            stopped += 1;
            assert!(finished.stderr.contains("told to stop") && left.is_empty(), "{finished:?}, {left:?}");
        }
        assert!(stopped > 0, "{args:?} is never slow enough");
    }
}

#[test]
fn an_id_that_the_log_rightly_has_twice_is_imported_twice_and_once_only() {
    let folder = Folder::new();
    let line = |time: u32| {
        format!(
            "{{\"subject\":\"a\",\"time\":\"2026-11-2{time}T07:05:00.000Z\",\"message_id\":\"daily\",\"data\":\"{time}\"}}\n"
        )
    };
    let input = [line(1), line(2), line(3)].concat();
    keeping(&folder);
    for (run, said) in [(1, "imported 3 events"), (2, "imported 0 events"), (3, "imported 0 events")] {
        let finished = done(folder.run_with(&["import", "-"], input.as_bytes()));
        assert!(finished.stderr.contains(said), "run {run}: {finished:?}");
    }
    let exported = done(folder.run(&["export", "--from", "2026-11-22T00:00:00Z"]));
    assert_eq!(exported.text().lines().count(), 2, "times count for where to begin");
}

#[test]
fn a_bad_line_is_named_and_nothing_of_its_batch_is_written() {
    let folder = Folder::new();
    let good = "{\"subject\":\"a\",\"time\":\"2026-11-23T07:05:00.000Z\",\"data\":\"x\"}\n";
    let input = format!("{}{{\"subject\":\"a..b\"}}\n{good}", good.repeat(600));
    keeping(&folder);
    let finished = folder.run_with(&["import", "-"], input.as_bytes());
    let line = finished.refusal(1);
    assert!(line.starts_with("line 601: invalid subject") && line.contains("up to line 512"), "{line}");
    assert_eq!(done(folder.run(&["export"])).text().lines().count(), 512);
    let dry = folder.run_with(&["import", "-", "--dry-run"], input.as_bytes());
    assert!(dry.refusal(1).starts_with("line 601: "));
    let dry = done(on(&folder, "none.db", &["import", "/dev/null", "--dry-run"]));
    assert!(dry.stderr.contains("0 lines could be imported") && !folder.path().join("none.db").exists());
}

#[test]
fn a_first_line_that_is_none_makes_no_file_and_is_told_by_its_column() {
    let folder = Folder::new();
    let good = "{\"subject\":\"a\",\"time\":\"2026-11-23T07:05:00.000Z\",\"data\":\"x\"}\n";
    for (input, line) in [("no\n".to_owned(), 1), (format!("{}no\n", good.repeat(3)), 4)] {
        let finished = folder.run_with(&["import", "-"], input.as_bytes());
        assert_eq!(finished.refusal(1), format!("line {line}: it is no JSON: expected ident, in column 2"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_redacted_export_shows_no_content_and_cannot_be_imported() {
    let folder = Folder::new();
    done(folder.run(&["pub", "a", "secret-body", "-H", "Auth: secret-value", "--message-id", "secret-id"]));
    let redacted = done(folder.run(&["export", "--redact"]));
    let text = redacted.text();
    assert!(!text.contains("secret") && text.contains("\"Auth\"") && text.contains("\"bytes\":11"), "{text}");
    let refused = folder.run_with(&["import", "-"], text.as_bytes());
    assert!(refused.refusal(1).contains("line 1: it is redacted"));
}

#[test]
fn files_of_every_version_are_exported_and_left_as_they_are() {
    for version in [1, 2, 3, 4] {
        let folder = Folder::new();
        let fixture = format!("{}/../tests/fixtures/schema-{version}.db", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(&fixture, folder.db()).unwrap();
        let exported = done(folder.run(&["export"]));
        assert!(exported.text().contains("\"fixture.made\""), "{exported:?}");
        assert_eq!(folder.run(&["export", "--dead"]).code, Some(3));
        assert!(std::fs::read(folder.db()).unwrap() == std::fs::read(&fixture).unwrap());
        done(folder.run(&["backup", "copy.db"]));
        let copied = done(on(&folder, "copy.db", &["export"]));
        assert_eq!(copied.stdout, exported.stdout);
        std::fs::remove_file(folder.path().join("copy.db")).unwrap();
        // One of the newest is backed up by a bus.
        if version < newest() {
            assert!(std::fs::read(folder.db()).unwrap() == std::fs::read(&fixture).unwrap());
            assert_eq!(names(folder.path()), ["bus.db"]);
        }
    }
}

#[test]
fn an_export_makes_no_file_and_nothing_to_write_is_exit_code_3() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["export"]).code, Some(1), "no file is made");
    folder.publish("a", b"x");
    assert_eq!(folder.run(&["export", "b"]).code, Some(3));
    assert_eq!(folder.run(&["export", "a..b"]).code, Some(2));
}

#[test]
fn a_backup_is_made_while_another_process_writes() {
    let folder = Folder::new();
    done(folder.run(&["pub", "a", "first"]));
    let mut publisher =
        Running::start(folder.command(&["pub", "a", "x", "--count", "1000000000", "--relaxed"]));
    let backup = done(folder.run(&["backup", "copy.db", "--json"]));
    assert!(
        backup.text().starts_with("{\"file\":\"") && backup.text().contains("\"incarnation\":\""),
        "{backup:?}"
    );
    assert!(backup.stderr.starts_with("copied ") && backup.stderr.lines().count() == 1, "{backup:?}");
    let again = folder.run(&["backup", "copy.db"]);
    assert!(again.refusal(1).contains("not overwritten"));
    publisher.kill();
    drop(publisher);
    assert!(done(on(&folder, "copy.db", &["export"])).text().contains("\"first\""));
    assert_eq!(folder.run(&["backup"]).code, Some(2));
    assert_eq!(on(&folder, "none.db", &["backup", "x.db"]).code, Some(1));
}

#[test]
#[cfg(unix)]
fn a_backup_that_is_killed_leaves_no_file_with_its_name() {
    let folder = Folder::new();
    done(folder.run_with(&["pub", "a", "--count", "200", "--relaxed"], &[b'x'; 500_000]));
    let mut left = 0;
    for signal in ["KILL", "TERM", "KILL", "TERM"] {
        let running = Running::start(folder.command(&["backup", "copy.db"]));
        crate::support::until("a file in the making", || {
            names(folder.path()).iter().any(|name| name.starts_with("copy.db"))
        });
        running.signal(signal);
        let finished = running.finish();
        if finished.code == Some(0) {
            std::fs::remove_file(folder.path().join("copy.db")).unwrap();
            continue;
        }
        assert!(!folder.path().join("copy.db").exists(), "{finished:?}");
        let unfinished: Vec<_> =
            names(folder.path()).into_iter().filter(|name| name.starts_with("copy.db")).collect();
        assert!(unfinished.iter().all(|name| name.contains(".unfinished")), "{unfinished:?}");
        left += usize::from(signal == "TERM" && !unfinished.is_empty());
        for name in unfinished {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
    assert_eq!(left, 0, "who is asked to stop tidies up");
}

#[test]
fn salvage_says_what_it_could_not_read() {
    let folder = Folder::new();
    fill(&folder);
    let whole = done(folder.run(&["salvage", "bus.db", "whole.db"]));
    assert!(whole.text().starts_with("TABLE ") && whole.stderr.contains("0 of "), "{whole:?}");
    assert_eq!(done(on(&folder, "whole.db", &["export"])).stdout, done(folder.run(&["export"])).stdout);
    let mut bytes = std::fs::read(folder.db()).unwrap();
    // Within the large event.
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(folder.path().join("damaged.db"), &bytes).unwrap();
    let salvaged = folder.run(&["salvage", "damaged.db", "new.db", "--json"]);
    assert_eq!(salvaged.code, Some(1), "{salvaged:?}");
    assert!(
        salvaged.text().contains("\"is_whole\":false") && salvaged.text().contains("\"lost_ids\":[[4,4]]"),
        "{salvaged:?}"
    );
    assert!(salvaged.stderr.contains("not everything came out"));
    assert_eq!(done(on(&folder, "new.db", &["export"])).text().lines().count(), 1504);
    let there = folder.run(&["salvage", "damaged.db", "new.db"]);
    assert!(there.refusal(1).contains("not overwritten"));
    assert_eq!(folder.run(&["salvage", "none.db", "other.db"]).code, Some(1));
}
