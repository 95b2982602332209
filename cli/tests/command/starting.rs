//! Where `rowbus sub` begins.

use crate::support::{Folder, Running};

/// The bodies that a stream from here begins with.
fn from(folder: &Folder, start: &str, count: &str) -> Vec<String> {
    let finished = folder.run(&["sub", "a.>", "--from", start, "--count", count, "--raw", "--wait", "20s"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.text().lines().map(str::to_owned).collect()
}

fn filled() -> Folder {
    let folder = Folder::new();
    for (subject, body) in [("a.x", "1"), ("b", "2"), ("a.y", "3"), ("a.x", "4")] {
        folder.publish(subject, body.as_bytes());
    }
    folder
}

#[test]
fn a_stream_begins_where_it_was_told() {
    let folder = filled();
    assert_eq!(from(&folder, "oldest", "3"), ["1", "3", "4"]);
    assert_eq!(from(&folder, "2", "2"), ["3", "4"]);
    assert_eq!(from(&folder, "last", "2"), ["3", "4"]);
    assert_eq!(from(&folder, "1h", "3"), ["1", "3", "4"]);
    assert_eq!(from(&folder, "2020-01-01T00:00:00+01:00", "3"), ["1", "3", "4"]);
}

#[test]
fn a_time_is_that_of_the_messages() {
    let folder = filled();
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    host.execute("UPDATE bus_events SET created_at = 1000 * 1600000000 + id", []).unwrap();
    // 1600000000.003
    assert_eq!(from(&folder, "2020-09-13T12:26:40.003Z", "2"), ["3", "4"]);
    assert_eq!(from(&folder, "2020-09-13T14:26:40.004+02:00", "1"), ["4"]);
}

#[test]
fn the_status_says_what_is_streamed_from_where() {
    let folder = filled();
    for (start, said) in [
        ("new", "new"),
        ("oldest", "oldest"),
        ("3", "sequence 3"),
        ("2026-11-23T08:05:00+01:00", "2026-11-23T07:05:00.000Z"),
    ] {
        let line =
            Running::start(folder.bare(&["sub", "a.>", "--db", "bus.db", "--from", start])).stderr_line();
        assert_eq!(line, format!("streaming a.> from {said} (bus.db)"));
    }
}

#[test]
fn a_sequence_beyond_the_log_is_an_error() {
    let folder = filled();
    let finished = folder.run(&["sub", "a.>", "--from", "99"]);
    assert!(finished.refusal(1).contains("99"), "{finished:?}");
}

#[test]
fn a_start_at_new_passes_over_what_is_there() {
    let folder = filled();
    let mut stream = folder.stream(&["a.>", "--raw"]);
    folder.publish("b", b"5");
    folder.publish("a.z", b"6");
    assert_eq!(stream.line().as_deref(), Some("6"));
}
