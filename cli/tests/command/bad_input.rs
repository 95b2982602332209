//! What is refused: in one line, with the exit code that says whose fault it is.

use std::ffi::OsStr;

use crate::support::{Folder, Running};

const MIB: usize = 1 << 20;

#[test]
fn wrong_usage_is_told_in_one_line_and_makes_no_file() {
    let folder = Folder::new();
    let long = "x".repeat(256);
    let cases: &[(&[&str], &str)] = &[
        (&["pub", "orders..created", "x"], "token 2 is empty"),
        (&["pub", "", "x"], "it is empty"),
        (&["pub", "orders.*", "x"], "token 2 is a wildcard"),
        (&["pub", "a b", "x"], "token 1 \"a b\" contains ' '"),
        (&["pub", "a\n.b", "x"], "token 1"),
        (&["pub", &long, "x"], "256 bytes"),
        (&["pub", "a", "x", "-H", "no colon"], "has no colon"),
        (&["pub", "a", "x", "-H", "bad name: x"], "\"bad name\" contains ' '"),
        (&["pub", "a", "x", "-H", ": x"], "an empty name"),
        (&["pub", "a", "x", "-H", "A: x\ny"], "contains '\\n'"),
        (&["pub", "a", "x", "--message-id", ""], "1 to 255 bytes"),
        (&["pub", "a", "x", "--message-id", &long], "1 to 255 bytes"),
        (&["pub", "a", "x", "--message-id", "k", "--count", "2"], "cannot be used with"),
        (&["pub", "a", "--message-id", "k", "--send-on", "newline"], "cannot be used with"),
        (&["pub", "a", "x", "--send-on", "newline"], "cannot be used with"),
        (&["pub", "a", "--send-on", "dusk"], "dusk"),
        (&["pub", "a", "x", "--count", "0"], "'0'"),
        (&["sub", "a.>.b"], "token 2 is \">\""),
        (&["sub", ""], "it is empty"),
        (&["sub", "a", "--from", "yesterday"], "expected new, oldest, last, a sequence"),
        (&["sub", "a", "--from", "-1"], "-1"),
        (&["sub", "a", "--from", "2026-11-23"], "expected new, oldest, last, a sequence"),
        (&["sub", "a", "--from", "\x1b[2J\n"], "expected new, oldest, last, a sequence"),
        (&["sub", "a", "--wait", "5"], "numbers with units"),
        (&["sub", "a", "--wait", "0s"], "numbers with units"),
        (&["sub", "a", "--count", "0"], "'0'"),
        (&["sub", "a", "--count", "many"], "many"),
        (&["sub", "a", "--raw", "--json"], "cannot be used with"),
        (&["sub"], "<FILTER>"),
        (&["sub", "a", "b"], "several filters are for consumers: see --durable"),
        (&["sub", "a", "--ack"], "--durable <NAME>"),
        (&["sub", "a", "--max-deliver", "3"], "--durable <NAME>"),
        (&["sub", "a", "--durable", "a b"], "\"a b\" has ' '"),
        (&["sub", "a", "--durable", ""], "1 to 255 bytes"),
        (&["sub", "a.>", "a.b", "--durable", "m"], "overlap"),
        (&["sub", "a.>.b", "--durable", "m"], "token 2 is \">\""),
        (&["sub", "--durable", "m", "--policy", "none"], "explicit, cumulative"),
        (&["sub", "--durable", "m", "--on-failure", "weep"], "stop, dead-letter"),
        (&["sub", "--durable", "m", "--ack-wait", "5"], "numbers with units"),
        (&["sub", "--durable", "m", "--ack-wait", "1ms"], "ack_wait is at least 100ms"),
        (&["sub", "--durable", "m", "--max-deliver", "0"], "max_deliver is at least 1"),
        (&["sub", "--durable", "m", "--max-ack-pending", "0"], "max_ack_pending is at least 1"),
        (&["sub", "--durable", "m", "--policy", "cumulative", "--ack-wait", "1s"], "no use for an ack_wait"),
        (
            &["sub", "--durable", "m", "--policy", "explicit", "--on-failure", "stop"],
            "no use for OnFailure::Stop",
        ),
        (&["sub", "--durable", "m", "--from", "yesterday"], "expected new, oldest, last, a sequence"),
        (&["consumer", "ifno", "m"], "ifno"),
        (&["consumer", "info"], "<NAME>"),
        (&["consumer", "rm"], "<NAME>"),
        (&["consumer", "seek", "m"], "<START>"),
        (&["consumer", "seek", "m", "yesterday"], "expected new, oldest, last, a sequence"),
        (&["sub", "a", "--jsno"], "'--json'"),
        (&["request", "a..b", "x"], "token 2 is empty"),
        (&["request", "a.*", "x"], "token 2 is a wildcard"),
        (&["request", "a", "x", "-H", "no colon"], "has no colon"),
        (&["request", "a", "x", "--timeout", "5"], "numbers with units"),
        (&["request", "a", "x", "--timeout", "25h"], "1 ms to 24 h"),
        (&["request", "a", "x", "--raw", "--json"], "cannot be used with"),
        (&["request"], "<SUBJECT>"),
        (&["serve", "a"], "--command"),
        (&["serve", "a", "--echo", "--command", "cat"], "cannot be used with"),
        (&["serve", "a.>.b", "--echo"], "token 2 is \">\""),
        (&["serve", "a", "--echo", "--parts"], "cannot be used with"),
        (&["serve", "a", "--echo", "--concurrency", "0"], "concurrency is 1 to 100000"),
        (&["serve", "a", "--echo", "--count", "0"], "'0'"),
        (&["serve", "a", "--echo", "--max-run", "0s"], "numbers with units"),
        (&["serve", "a", "--echo", "--max-run", "400d"], "max_run"),
        (&["enqueue", "a b", "x"], "contains ' '"),
        (&["enqueue", "a", "x", "-H", ": x"], "an empty name"),
        (&["enqueue", "a", "x", "--delay", "soon"], "numbers with units"),
        (&["enqueue", "a", "x", "--delay", "6000w"], "delay is at most 100 years"),
        (&["enqueue", "a", "x", "--run-at", "2026-11-23"], "a time with its zone"),
        (&["enqueue", "a", "x", "--run-at", "2026-11-23T07:05:00Z", "--delay", "1s"], "cannot be used with"),
        (&["enqueue", "a", "x", "--priority", "high"], "high"),
        (&["enqueue", "a", "x", "--priority", "3000000000"], "3000000000"),
        (&["enqueue", "a", "x", "--unique", ""], "a unique is 1 to 255 bytes"),
        (&["enqueue", "a", "x", "--unique", "k", "--unique-for", "ever"], "expected forever or a duration"),
        (&["enqueue", "a", "x", "--unique-for", "1h"], "--unique <KEY>"),
        (&["enqueue", "a", "x", "--key", &long], "a key is 1 to 255 bytes"),
        (&["enqueue", "a", "x", "--expires-in", "0ms"], "numbers with units"),
        (&["enqueue", "a", "x", "--max-attempts", "0"], "at least 1"),
        (&["enqueue", "a", "x", "--backoff", "1"], "numbers with units"),
        (&["enqueue", "a", "x", "--keep-reply", "6000w"], "keep_reply is at most 100 years"),
        (&["enqueue", "a", "x", "--send-on", "newline"], "cannot be used with"),
        (&["enqueue", "a", "--send-on", "newline", "--wait"], "cannot be used with"),
        (&["enqueue", "a", "--send-on", "newline", "--unique", "k"], "cannot be used with"),
        (&["enqueue", "a", "x", "--wait", "ever"], "numbers with units"),
        (&["job", "shwo", "id"], "shwo"),
        (&["job", "show"], "<ID>"),
        (&["job", "reply", "id", "--raw", "--json"], "cannot be used with"),
        (&["dead", "ls", "a.>.b"], "token 2 is \">\""),
        (&["dead", "ls", "--limit", "0"], "'0'"),
        (&["dead", "show", "seventeen"], "seventeen"),
        (&["dead", "show", "1", "--raw", "--json"], "cannot be used with"),
        (&["dead", "requeue"], "<ID|--all <FILTER>>"),
        (&["dead", "requeue", "1", "--all", "a"], "cannot be used with"),
        (&["dead", "requeue", "--all", ""], "it is empty"),
        (
            &["dead", "purge", "--all", "mail.>"],
            "all dead letters on mail.> would be gone for good; say --yes",
        ),
        (&["dead", "purge", "-1"], "-1"),
        (&["bench", "dig"], "dig"),
        (&["bench", "pub", "--messages", "0"], "0 is not in 1.."),
        (&["bench", "pub", "--messages", "10000001"], "is not in 1.."),
        (&["bench", "pub", "--publishers", "0"], "0 is not in 1.."),
        (&["bench", "pub", "--size", "1048577"], "is not in 0..=1048576"),
        (&["bench", "sub", "--size", "-1"], "-1"),
        (&["bench", "sub", "--relaxed"], "--relaxed"),
        (&["bench", "latency", "--size", "7"], "7 is not in 8..=1048576"),
        (&["bench", "latency", "--pause", "5"], "numbers with units"),
        (&["bench", "latency", "--pause", "0s"], "numbers with units"),
        (&["job", "cancel"], "<ID>"),
        (&["retention", "set", "a.>.b", "--max-age", "1d"], "token 2 is \">\""),
        (&["retention", "set", "a"], "say what is kept"),
        (&["retention", "set", "a", "--max-age", "soon"], "numbers with units"),
        (&["retention", "rm", "a..b"], "token 2 is empty"),
        (&["retention", "rm"], "<FILTER>"),
        (&["retention", "dead-letters", "long"], "numbers with units"),
        (&["retention", "dead-letters"], "required"),
        (&["dead", "requeue", "--all", "a..b"], "token 2 is empty"),
        (&["export", "a..b"], "token 2 is empty"),
        (&["export", "--dead", "--raw"], "cannot be used with"),
        (&["export", "--from", "yesterday"], "expected"),
        (&["import"], "<FILE>"),
        (&["import", "-", "--remember", "5"], "numbers with units"),
        (&["backup"], "<FILE>"),
        (&["salvage", "bus.db"], "<NEW>"),
        (&["stats", "--jsno"], "'--json'"),
        (&["doctor", "a"], "unexpected argument 'a'"),
        (&["peers", "a"], "unexpected argument 'a'"),
        (&["migrate", "down"], "down"),
        (&["migrate", "sql", "--from", "-1"], "-1"),
        (&["migrate", "sql", "--from", "99"], "there is no migration 99"),
        (&["migrate", "verify", "--dry-run"], "--dry-run"),
        (&["completions"], "<SHELL>"),
        (&["completions", "tcsh"], "tcsh"),
        (&["gossip"], "gossip"),
    ];
    for (args, reason) in cases {
        let finished = folder.run(args);
        let line = finished.refusal(2);
        assert!(line.contains(reason), "{args:?}: {line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "a file was made");
}

#[test]
fn a_place_that_can_hold_no_bus_is_told_with_its_path() {
    let folder = Folder::new();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "these are notes, and they are longer than nothing at all\n".repeat(20)).unwrap();
    let missing = folder.path().join("missing").join("bus.db");
    for (db, reason) in [
        (folder.path().as_os_str(), "not a regular file"),
        (text.as_os_str(), "no SQLite database"),
        (missing.as_os_str(), "missing"),
        (OsStr::new(":memory:"), "a bus is a file"),
    ] {
        for verb in ["pub", "sub"] {
            let mut command = folder.bare(&[verb, "a", "--db"]);
            command.arg(db);
            let mut running = Running::start(command);
            running.write(b"");
            let finished = running.finish();
            let line = finished.refusal(1);
            assert!(line.contains(reason), "{db:?}: {line}");
        }
    }
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("these are notes"));
}

#[test]
fn an_ordinary_database_in_rollback_mode_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    host.execute_batch("CREATE TABLE customers (name TEXT)").unwrap();
    let finished = folder.run(&["pub", "a", "x"]);
    assert!(finished.refusal(1).contains("rollback-journal mode"), "{finished:?}");
    let tables: i64 = host.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn another_programs_database_is_not_made_a_bus_in_passing() {
    let folder = Folder::new();
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    host.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE customers (name TEXT)").unwrap();
    for verb in [&["pub", "a", "x"][..], &["sub", "a", "--wait", "1s"]] {
        let finished = folder.run(verb);
        assert!(finished.refusal(1).contains("lacks migration V1__bus"), "{finished:?}");
    }
    let tables: i64 = host.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_message_of_one_mebibyte_is_published_and_a_larger_one_refused() {
    let folder = Folder::new();
    folder.publish("big", &vec![b'x'; MIB]);
    let finished = folder.run_with(&["pub", "big"], &vec![b'x'; MIB + 1]);
    assert!(finished.refusal(1).contains("larger than a message may be, 1048576 bytes"), "{finished:?}");
    let finished = folder.run_with(&["pub", "big", "-H", "A: 1"], &vec![b'x'; MIB]);
    assert!(finished.refusal(1).contains("1048581 bytes with its headers"), "{finished:?}");
    let stored = folder.run(&["sub", "big", "--from", "oldest", "--raw", "--wait", "500ms", "-q"]);
    assert_eq!((stored.code, stored.stdout.len()), (Some(0), MIB + 1));
}

#[test]
fn a_line_that_is_too_large_is_named_and_those_before_it_are_published() {
    let folder = Folder::new();
    let mut input = b"one\ntwo\n".to_vec();
    input.extend(vec![b'x'; MIB + 1]);
    input.extend(b"\nfour\n");
    let finished = folder.run_with(&["pub", "lines", "--send-on", "newline"], &input);
    let line = finished.refusal(1);
    assert!(line.contains("line 3 "), "{line}");
    assert!(line.contains("published 2 messages to lines (sequence 1 to 2)"), "{line}");
    let stored = folder.run(&["sub", "lines", "--from", "oldest", "--raw", "--wait", "500ms", "-q"]);
    assert_eq!(stored.text(), "one\ntwo\n");
}
