//! `rowbus serve`: how much it takes, and how it ends.

use std::process::{Command, Stdio};

use crate::support::{Folder, Running, until};

#[test]
fn an_echo_has_the_body_and_the_headers_of_the_request() {
    let folder = Folder::new();
    let server = folder.serve(&["ping.>", "--echo", "--count", "1"]);
    let finished = folder.run(&["request", "ping.a.b", "hello", "-H", "Trace: 7"]);
    assert_eq!((finished.code, finished.text()), (Some(0), "hello\n    Trace: 7\n"));
    let served = server.finish();
    assert_eq!((served.code, served.text(), &*served.stderr), (Some(0), "", "served 1 request\n"));
}

#[test]
fn a_quiet_server_tells_of_failures_only() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "x", "--max-attempts", "1"]);
    let command = "echo progress >&2; echo worse >&2; exit 2";
    let finished = folder.run(&["serve", "a", "-q", "--count", "1", "--command", command]);
    assert_eq!((finished.code, finished.text()), (Some(0), ""));
    assert_eq!(finished.stderr, format!("rowbus: a {id}, attempt 1: worse (exit 2)\n"));
}

#[test]
fn what_a_command_says_on_standard_error_is_passed_on_without_what_a_terminal_would_act_on() {
    let folder = Folder::new();
    folder.enqueue(&["a", "x"]);
    let command = "printf 'one\\n\\033[2Jtwo' >&2";
    let mut server = folder.serve(&["a", "--count", "1", "--command", command]);
    assert_eq!(server.stderr_line(), "one");
    assert_eq!(server.stderr_line(), "\\u{1b}[2Jtwo");
    assert_eq!(server.stderr_line(), "served 1 request");
}

#[test]
fn so_many_requests_are_answered_at_the_same_time() {
    let folder = Folder::new();
    folder.pipe("meet");
    // Each side of the pipe waits for the other one.
    let command = "case $(cat) in left) echo met > meet ;; right) read line < meet; echo $line ;; esac";
    let _server = folder.serve(&["a", "--concurrency", "2", "--command", command]);
    let left = folder.start(&["request", "a", "left", "--timeout", "1h"]);
    let right = folder.start(&["request", "a", "right", "--timeout", "1h"]);
    assert_eq!(right.finish().text(), "met\n");
    assert_eq!(left.finish().code, Some(0));
}

#[test]
fn no_more_requests_are_answered_at_the_same_time_than_was_said() {
    let folder = Folder::new();
    folder.run_with(&["enqueue", "a", "--send-on", "newline", "--relaxed"], &b"x\n".repeat(30));
    let command = "mkdir alone && rmdir alone";
    let server = folder.serve(&["a", "--concurrency", "1", "--count", "30", "--command", command]);
    let finished = server.finish();
    assert_eq!((finished.code, &*finished.stderr), (Some(0), "served 30 requests\n"));
}

#[test]
fn a_count_is_exactly_so_many() {
    let folder = Folder::new();
    folder.run_with(&["enqueue", "a", "--send-on", "newline", "--relaxed"], &b"x\n".repeat(40));
    let done = "SELECT count(*) FROM bus_requests WHERE state = 'done'";
    let untouched = "SELECT count(*) FROM bus_requests WHERE state = 'ready' AND attempt = 0";
    for (count, concurrency, so_far) in [("3", "16", 3), ("20", "4", 23), ("1", "1", 24)] {
        let args = ["a", "--echo", "--count", count, "--concurrency", concurrency];
        let finished = folder.serve(&args).finish();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stderr.starts_with(&format!("served {count} request")), "{finished:?}");
        assert_eq!((folder.number(done), folder.number(untouched)), (so_far, 40 - so_far));
    }
}

#[test]
fn a_command_that_takes_too_long_is_killed() {
    let folder = Folder::new();
    let held = folder.held("held");
    let command = "exec 3>held; sleep 600";
    let _server = folder.serve(&["a", "--max-run", "1s", "--command", command]);
    let finished = folder.run(&["request", "a", "x", "--timeout", "1h"]);
    assert_eq!(finished.refusal(1), "killed, since it ran longer than 1s (max_run)");
    held();
}

#[test]
fn a_server_that_is_told_to_stop_finishes_what_it_holds() {
    for (signal, count) in
        [("INT", &[][..]), ("TERM", &[]), ("HUP", &[]), ("TERM", &["--concurrency", "1", "--count", "1"])]
    {
        let folder = Folder::new();
        let go = folder.pipe("go");
        let command = "echo up > up; read line < go; echo finished";
        let mut server = folder.serve(&[&["a", "--command", command], count].concat());
        let request = folder.start(&["request", "a", "x", "--timeout", "1h"]);
        until("the command runs", || folder.path().join("up").exists());
        server.signal(signal);
        assert_eq!(server.stderr_line(), "stopping: finishing what was taken");
        // It takes nothing any more.
        folder.enqueue(&["a", "later"]);
        std::fs::write(&go, "\n").unwrap();
        let answered = request.finish();
        assert_eq!((answered.code, answered.text()), (Some(0), "finished\n"), "{signal}");
        assert_eq!(server.stderr_line(), "served 1 request");
        assert_eq!(server.wait(), Some(0));
        assert_eq!(folder.number("SELECT count(*) FROM bus_requests WHERE state = 'ready'"), 1);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_second_signal_kills_what_runs_and_another_server_does_it() {
    let folder = Folder::new();
    let held = folder.held("held");
    let command = "exec 3>held; echo up > up; sleep 600";
    let mut server = folder.serve(&["a", "--command", command]);
    let request = folder.start(&["request", "a", "x", "--timeout", "1h", "--json"]);
    until("the command runs", || folder.path().join("up").exists());
    // Signals of a kind that come together are one.
    until("it has ended", || {
        server.signal("TERM");
        server.has_ended()
    });
    assert_eq!(server.wait(), Some(1));
    held();
    let _other = folder.serve(&["a", "--echo"]);
    assert_eq!(request.finish().text(), "{\"attempt\":2,\"final\":true,\"data\":\"x\"}\n");
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_goes_takes_the_command_along_before_another_server_does_it() {
    let folder = Folder::new();
    let held = folder.held("held");
    let mut server = folder.serve(&["a", "--command", "exec 3>held; echo up > up; sleep 600"]);
    let request = folder.start(&["request", "a", "x", "--timeout", "1h", "--json"]);
    until("the command runs", || folder.path().join("up").exists());
    server.signal("HUP");
    // It has 10 seconds to finish.
    assert!(server.wait().is_some());
    held();
    let _other = folder.serve(&["a", "--echo"]);
    assert!(request.finish().text().contains("\"data\":\"x\""));
}

#[test]
fn a_server_whose_standard_error_nobody_reads_ends_at_the_second_signal() {
    let folder = Folder::new();
    let held = folder.held("held");
    folder.enqueue(&["a", "x"]);
    let mut command = folder.command(&["serve", "a", "--command", "exec 3>held; echo up > up; yes >&2"]);
    let mut server = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let unread = server.stderr.take();
    until("the command runs", || folder.path().join("up").exists());
    until("it has ended", || {
        let sent = Command::new("kill").arg(server.id().to_string()).status().unwrap();
        assert!(sent.success());
        server.try_wait().unwrap().is_some()
    });
    held();
    assert_eq!(server.wait().unwrap().code(), Some(1));
    drop(unread);
}

#[test]
fn servers_of_a_subject_share_its_load() {
    let folder = Folder::new();
    folder.pipe("meet");
    // As above, but each server answers one at a time.
    let command = "case $(cat) in left) echo met > meet ;; right) read line < meet; echo $line ;; esac";
    let args = ["a", "--concurrency", "1", "--count", "1", "--command", command];
    let servers = [folder.serve(&args), folder.serve(&args)];
    folder.enqueue(&["a", "left"]);
    folder.enqueue(&["a", "right"]);
    for server in servers {
        assert_eq!(server.finish().stderr, "served 1 request\n");
    }
}

#[test]
fn a_command_speaks_to_the_same_bus() {
    let folder = Folder::new();
    let mut stream = folder.stream(&["told", "--raw"]);
    let mut command = folder.command(&["serve", "a", "--count", "1", "--command"]);
    command.arg(format!("'{}' pub told", env!("CARGO_BIN_EXE_rowbus")));
    let mut server = Running::start(command);
    assert!(server.stderr_line().starts_with("serving "));
    folder.enqueue(&["a", "news"]);
    assert_eq!(stream.line().as_deref(), Some("news"));
    assert_eq!(server.finish().code, Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_is_listed_with_what_it_serves() {
    let folder = Folder::new();
    let _server = folder.serve(&["mail.>", "--echo"]);
    until("it is listed", || folder.run(&["peers", "--json"]).text().contains("\"serves\":[\"mail.>\"]"));
}

#[test]
fn a_file_that_is_replaced_ends_its_servers() {
    let folder = Folder::new();
    let server = folder.serve(&["a", "--echo"]);
    for suffix in ["", "-wal", "-shm"] {
        let name = folder.path().join(format!("bus.db{suffix}"));
        if name.exists() {
            std::fs::remove_file(name).unwrap();
        }
    }
    let finished = server.finish();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("bus.db"), "{finished:?}");
}
