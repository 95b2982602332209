//! `rowbus request`, and who answers it in another process.

use serde_json::{Value, json};

use crate::support::{Folder, until};

const MIB: usize = 1 << 20;

#[test]
fn a_request_is_answered_by_a_command_in_another_process() {
    let folder = Folder::new();
    let _server = folder.serve(&["text.*", "--command", "tr a-z A-Z"]);
    let given = folder.run(&["request", "text.upper", "one pizza"]);
    assert_eq!((given.code, given.text(), &*given.stderr), (Some(0), "ONE PIZZA\n", ""));
    let read = folder.run_with(&["request", "text.upper", "--raw"], b"two\npizzas\n");
    assert_eq!((read.code, read.text(), &*read.stderr), (Some(0), "TWO\nPIZZAS\n", ""));
}

#[test]
fn a_raw_reply_is_its_bytes_and_nothing_else() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--command", "cat"]);
    let every: Vec<u8> = (0..=255).cycle().take(MIB).collect();
    for body in [&every[..], b"", b"no line end", b"\n"] {
        let finished = folder.run_with(&["request", "a", "--raw"], body);
        assert!(finished.code == Some(0) && finished.stdout == body, "{} bytes", body.len());
    }
}

#[test]
fn a_reply_is_shown_without_what_a_terminal_would_act_on() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--echo"]);
    let args = ["request", "a", "-H", "Trace: \x1b[31m", "-H", "Note: plain"];
    let shown = folder.run_with(&args, b"\x1b[2J red\r\n\xff\n");
    let expected = "\\u{1b}[2J red\\r\n\\xff\n    Trace: \\u{1b}[31m\n    Note: plain\n";
    assert_eq!((shown.code, shown.text()), (Some(0), expected));
}

#[test]
fn a_reply_as_json_has_its_headers_and_its_data() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--echo"]);
    let text = folder.run(&["request", "a", "text\n", "-H", "N: 2", "-H", "N: 1", "--json"]);
    let expected =
        "{\"attempt\":1,\"final\":true,\"headers\":[[\"N\",\"2\"],[\"N\",\"1\"]],\"data\":\"text\\n\"}\n";
    assert_eq!((text.code, text.text()), (Some(0), expected));
    let bytes = folder.run_with(&["request", "a", "--json"], b"\0\xff");
    assert_eq!(bytes.text(), "{\"attempt\":1,\"final\":true,\"data_base64\":\"AP8=\"}\n");
}

#[test]
fn the_failing_exit_of_a_command_is_told_with_its_code() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--command", "echo partly; echo 'no \x1b stock' >&2; exit 3"]);
    assert_eq!(folder.run(&["request", "a", "x"]).refusal(1), "no \\u{1b} stock (exit 3)");
    let json = folder.run(&["request", "a", "x", "--json"]);
    let object: Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(object, json!({"error": "no \u{1b} stock", "code": "exit 3"}));
    assert_eq!((json.code, &*json.stderr), (Some(1), "rowbus: no \\u{1b} stock (exit 3)\n"));
}

#[test]
fn an_answer_that_is_too_large_is_an_error() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--command", "yes"]);
    let line = folder.run(&["request", "a", "x"]);
    assert_eq!(line.refusal(1), "it wrote more than 1048576 bytes (payload_too_large)");
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_asked() {
    let folder = Folder::new();
    let finished = folder.run_with(&["request", "a"], &vec![b'x'; MIB + 1]);
    assert!(finished.refusal(1).contains("larger than a message may be, 1048576 bytes"), "{finished:?}");
    let finished = folder.run_with(&["request", "a", "-H", "A: 1"], &vec![b'x'; MIB]);
    assert!(finished.refusal(1).contains("1048581 bytes with its headers"), "{finished:?}");
}

#[test]
fn no_reply_in_time_is_exit_code_3() {
    let folder = Folder::new();
    let finished = folder.run(&["request", "a", "x", "--timeout", "50ms"]);
    finished.refusal(3);
    // Nobody is to do it later on.
    assert_eq!(folder.number("SELECT count(*) FROM bus_requests WHERE state IN ('ready', 'leased')"), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_request_that_waits_for_no_server_is_exit_code_3_at_once() {
    let folder = Folder::new();
    let args = ["request", "a.b", "x", "--if-served", "--timeout", "24h"];
    folder.run(&args).refusal(3);
    let _server = folder.serve(&["a.*", "--echo"]);
    assert_eq!(folder.run(&args).text(), "x\n");
}

#[test]
fn a_server_that_starts_late_still_answers() {
    let folder = Folder::new();
    let request = folder.start(&["request", "a", "x", "--timeout", "1h"]);
    until("the request is there", || {
        folder.db().exists()
            && rowbus::rusqlite::Connection::open(folder.db())
                .and_then(|conn| conn.query_row("SELECT count(*) FROM bus_requests", [], |row| row.get(0)))
                .is_ok_and(|count: i64| count == 1)
    });
    let _server = folder.serve(&["a", "--command", "echo late"]);
    let finished = request.finish();
    assert_eq!((finished.code, finished.text()), (Some(0), "late\n"));
}

#[test]
fn a_command_finds_subject_id_attempt_and_headers_in_its_environment() {
    let folder = Folder::new();
    let mut command = folder.command(&["serve", "a.*", "--command", "env | grep ^ROWBUS_ | sort"]);
    command.env("ROWBUS_HEADER_STALE", "of another call").env("ROWBUS_SUBJECT", "other");
    let mut server = crate::support::Running::start(command);
    assert!(server.stderr_line().starts_with("serving a.* ("));
    let headers = ["-H", "Content-Type: text/plain", "-H", "n: 1", "-H", "N: 2"];
    let finished = folder.run(&[&["request", "a.b", "x"], &headers[..]].concat());
    let lines: Vec<_> = finished.text().lines().collect();
    let db = folder.db().canonicalize().unwrap();
    let id = lines.iter().find_map(|line| line.strip_prefix("ROWBUS_ID=")).expect("an id");
    assert_eq!(id.len(), 36, "{id}");
    for expected in [
        "ROWBUS_ATTEMPT=1",
        &format!("ROWBUS_DB={}", db.display()),
        "ROWBUS_HEADERS=Content-Type: text/plain",
        "ROWBUS_HEADER_CONTENT_TYPE=text/plain",
        "ROWBUS_HEADER_N=1",
        "ROWBUS_SUBJECT=a.b",
    ] {
        assert!(lines.contains(&expected), "{expected} is not in {lines:?}");
    }
    assert!(!finished.text().contains("STALE"), "{lines:?}");
}

#[test]
fn parts_are_printed_when_they_come() {
    let folder = Folder::new();
    let go = folder.pipe("go");
    let _server =
        folder.serve(&["a", "--parts", "--command", "echo one; read line < go; printf 'two\n\nthree'"]);
    let mut request = folder.start(&["request", "a", "x", "--parts"]);
    assert_eq!(request.line().as_deref(), Some("one"));
    std::fs::write(&go, "\n").unwrap();
    let finished = request.finish();
    assert_eq!((finished.code, finished.text(), &*finished.stderr), (Some(0), "two\n\nthree\n", ""));
}

#[test]
fn parts_as_json_say_which_is_the_final_one() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--parts", "--command", "echo one; echo two"]);
    let finished = folder.run(&["request", "a", "x", "--parts", "--json"]);
    let expected = "{\"attempt\":1,\"final\":false,\"data\":\"one\"}\n\
                    {\"attempt\":1,\"final\":false,\"data\":\"two\"}\n\
                    {\"attempt\":1,\"final\":true,\"data\":\"\"}\n";
    assert_eq!((finished.code, finished.text()), (Some(0), expected));
    // Who does not ask for the parts gets the final reply.
    assert_eq!(folder.run(&["request", "a", "x"]).text(), "\n");
}

#[test]
fn a_failure_behind_parts_is_told_behind_them() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--parts", "--command", "echo one; exit 4"]);
    let finished = folder.run(&["request", "a", "x", "--parts"]);
    assert_eq!((finished.code, finished.text()), (Some(1), "one\n"));
    assert_eq!(finished.stderr, "rowbus: exited with status 4 (exit 4)\n");
}

#[test]
fn a_request_that_is_stopped_kills_its_command_and_what_that_has_started() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = Folder::new();
        let held = folder.held("held");
        let command = "exec 3>held; sleep 600 & echo up; wait";
        let mut server = folder.serve(&["a", "--parts", "--command", command]);
        let mut request = folder.start(&["request", "a", "x", "--parts", "--timeout", "1h"]);
        assert_eq!(request.line().as_deref(), Some("up"));
        request.signal(signal);
        let finished = request.finish();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert_eq!(finished.stderr, "rowbus: told to stop before the reply had come\n");
        held();
        assert!(server.stderr_line().ends_with("attempt 1: nobody wants the answer any more (cancelled)"));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_request_whose_parts_nobody_reads_any_more_is_cancelled() {
    let folder = Folder::new();
    let held = folder.held("held");
    let command = "exec 3>held; echo up > up; sleep 600";
    let _server = folder.serve(&["a", "--parts", "--command", command]);
    let mut request = folder.start(&["request", "a", "x", "--parts", "--timeout", "1h"]);
    until("the command runs", || folder.path().join("up").exists());
    drop(request.stdout());
    let finished = request.finish();
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
    held();
}

#[test]
fn a_closed_pipe_does_not_keep_a_request_from_being_done() {
    let folder = Folder::new();
    let go = folder.pipe("go");
    let _server = folder.serve(&["a", "--command", "echo up > up; read line < go; echo done > done"]);
    let mut request = folder.start(&["request", "a", "x", "--timeout", "1h"]);
    drop(request.stdout());
    until("the command runs", || folder.path().join("up").exists());
    std::fs::write(&go, "\n").unwrap();
    let finished = request.finish();
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
    assert!(folder.path().join("done").exists());
}
