//! `rowbus enqueue` and `rowbus job`.

use std::collections::HashSet;
use std::io::Write;

use serde_json::Value;

use crate::support::{Folder, Running, until};

fn show(folder: &Folder, id: &str) -> Value {
    let finished = folder.run(&["job", "show", id, "--json"]);
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
    serde_json::from_str(finished.text()).unwrap()
}

fn state(folder: &Folder, id: &str) -> String {
    show(folder, id)["state"].as_str().unwrap().to_owned()
}

/// Serves so many with a command, which must go well.
fn serve(folder: &Folder, count: &str, command: &str) {
    let finished =
        folder.serve(&[">", "--concurrency", "1", "--count", count, "--command", command]).finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn a_job_is_done_by_a_server_that_comes_later() {
    let folder = Folder::new();
    let id = folder.enqueue(&["text.upper", "one"]);
    assert_eq!(state(&folder, &id), "ready");
    let early = folder.run(&["job", "reply", &id]);
    assert_eq!(early.refusal(3), format!("no reply yet: job {id} is ready; see --wait"));
    serve(&folder, "1", "tr a-z A-Z");
    // As often as it is asked for.
    for _ in 0..2 {
        let reply = folder.run(&["job", "reply", &id]);
        assert_eq!((reply.code, reply.text(), &*reply.stderr), (Some(0), "ONE\n", ""));
    }
    assert_eq!(folder.run(&["job", "reply", &id, "--raw"]).text(), "ONE");
    let json = folder.run(&["job", "reply", &id, "--json", "--wait", "1h"]);
    assert_eq!(json.text(), "{\"attempt\":1,\"final\":true,\"data\":\"ONE\"}\n");
    let shown = show(&folder, &id);
    assert_eq!((&shown["state"], &shown["attempt"]), (&"done".into(), &1.into()));
    assert!(shown["finished_at"].is_string() && shown["failures"].as_array().unwrap().is_empty());
}

#[test]
fn the_id_is_on_standard_output_and_status_is_not() {
    let folder = Folder::new();
    let one = folder.run(&["enqueue", "mail.send", "x"]);
    let id = one.text().strip_suffix('\n').unwrap();
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
    assert_eq!((one.code, &*one.stderr), (Some(0), "enqueued 1 job on mail.send\n"));
    let json = folder.run(&["enqueue", "mail.send", "x", "--json", "-q"]);
    let object: Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(object["duplicate"], false);
    assert_eq!((object["id"].as_str().unwrap().len(), &*json.stderr), (36, ""));
    let none = folder.run_with(&["enqueue", "mail.send", "--send-on", "newline"], b"");
    assert_eq!((none.code, none.text(), &*none.stderr), (Some(0), "", "enqueued 0 jobs on mail.send\n"));
}

#[test]
fn a_job_whose_unique_key_is_taken_is_the_one_there_is() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "one", "--unique", "k"]);
    let again = folder.run(&["enqueue", "a", "two", "--unique", "k"]);
    assert_eq!((again.code, again.text()), (Some(0), &*format!("{id}\n")));
    assert_eq!(again.stderr, format!("enqueued 0 jobs on a (duplicate of {id})\n"));
    let json = folder.run(&["enqueue", "a", "two", "--unique", "k", "--json"]);
    assert_eq!(json.text(), format!("{{\"id\":\"{id}\",\"duplicate\":true}}\n"));
    assert_ne!(folder.enqueue(&["b", "of another subject", "--unique", "k"]), id);
    serve(&folder, "2", "cat");
    assert_ne!(folder.enqueue(&["a", "three", "--unique", "k"]), id);
}

#[test]
fn a_unique_key_may_stand_in_the_way_beyond_the_end_of_its_job() {
    let folder = Folder::new();
    let forever = folder.enqueue(&["a", "x", "--unique", "k", "--unique-for", "forever"]);
    let for_a_time = folder.enqueue(&["a", "x", "--unique", "l", "--unique-for", "1h"]);
    serve(&folder, "2", "cat");
    assert_eq!(folder.enqueue(&["a", "x", "--unique", "k"]), forever);
    assert_eq!(folder.enqueue(&["a", "x", "--unique", "l"]), for_a_time);
}

#[test]
fn a_job_is_shown_with_when_it_is_to_run() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "x", "--run-at", "2126-11-23T08:05:00.25+01:00", "--priority", "-5"]);
    let shown = show(&folder, &id);
    assert_eq!(shown["run_at"], "2126-11-23T07:05:00.250Z");
    assert_eq!((&shown["state"], &shown["priority"]), (&"scheduled".into(), &(-5).into()));
    let people = folder.run(&["job", "show", &id]);
    let text = people.text();
    assert!(text.starts_with(&format!("id        {id}\nsubject   a\nstate     scheduled\n")), "{text}");
    assert!(text.contains("\nattempts  0 of 20\npriority  -5\n"), "{text}");
    let delayed = folder.enqueue(&["a", "x", "--delay", "1h", "--max-attempts", "3"]);
    let shown = show(&folder, &delayed);
    assert_eq!((&shown["state"], &shown["max_attempts"]), (&"scheduled".into(), &3.into()));
}

#[test]
fn a_delayed_job_is_done_when_its_time_has_come() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--echo"]);
    let done = folder.run(&["enqueue", "a", "in time", "--delay", "30ms", "--wait", "1h"]);
    assert_eq!((done.code, done.text().lines().nth(1)), (Some(0), Some("in time")));
}

#[test]
fn a_higher_priority_is_done_first_and_a_key_keeps_its_order() {
    let folder = Folder::new();
    for (body, priority) in [("1", "0"), ("2", "-1"), ("3", "7")] {
        folder.enqueue(&["a", body, "--priority", priority]);
    }
    serve(&folder, "3", "cat >> order");
    assert_eq!(std::fs::read_to_string(folder.path().join("order")).unwrap(), "312");
    for body in ["4", "5", "6"] {
        folder.enqueue(&["b", body, "--key", "k"]);
    }
    let finished =
        folder.serve(&["b", "--count", "3", "--command", "mkdir alone && cat >> order && rmdir alone"]);
    assert_eq!(finished.finish().stderr, "served 3 requests\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("order")).unwrap(), "312456");
}

#[test]
fn headers_go_with_a_job() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "x", "-H", "Trace: 7", "-H", "Trace: 8"]);
    let finished = folder.serve(&["a", "--echo", "--count", "1"]).finish();
    assert_eq!(finished.code, Some(0));
    assert_eq!(folder.run(&["job", "reply", &id]).text(), "x\n    Trace: 7\n    Trace: 8\n");
}

#[test]
fn a_job_that_fails_is_tried_again() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "x", "--backoff", "1ms"]);
    let command = "test $ROWBUS_ATTEMPT = 3 && echo third || { echo not yet >&2; exit 1; }";
    let finished = folder.serve(&["a", "--count", "3", "--command", command]).finish();
    assert!(finished.stderr.ends_with("served 3 requests, of which 2 failed\n"), "{finished:?}");
    assert_eq!(folder.run(&["job", "reply", &id]).text(), "third\n");
    let shown = show(&folder, &id);
    let failures = shown["failures"].as_array().unwrap();
    let attempts: Vec<_> = failures.iter().map(|failure| failure["attempt"].as_u64().unwrap()).collect();
    assert_eq!((attempts, &failures[1]["message"]), (vec![1, 2], &"not yet".into()));
}

#[test]
fn a_wait_writes_the_id_and_then_the_reply() {
    let folder = Folder::new();
    let _server = folder.serve(&["a", "--command", "tr a-z A-Z"]);
    let people = folder.run(&["enqueue", "a", "one", "--wait"]);
    assert_eq!((people.code, people.text().lines().nth(1)), (Some(0), Some("ONE")));
    let json = folder.run(&["enqueue", "a", "one", "--wait", "1h", "--json"]);
    let second = json.text().lines().nth(1);
    assert_eq!(second, Some("{\"attempt\":1,\"final\":true,\"data\":\"ONE\"}"));
}

#[test]
fn waiting_in_vain_is_exit_code_3_and_the_job_goes_on() {
    let folder = Folder::new();
    let enqueued = folder.run(&["enqueue", "a", "x", "--wait", "50ms", "-q"]);
    let id = enqueued.text().trim_end();
    assert_eq!(enqueued.code, Some(3));
    assert_eq!(enqueued.stderr, format!("rowbus: no reply to job {id} within 50ms; it goes on\n"));
    let asked = folder.run(&["job", "reply", id, "--wait", "50ms"]);
    assert_eq!(asked.refusal(3), format!("no reply to job {id} within 50ms; it goes on"));
    assert_eq!(state(&folder, id), "ready");
}

#[test]
fn a_reply_is_waited_for_from_any_process() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "x"]);
    let waiting: Vec<_> = (0..2).map(|_| folder.start(&["job", "reply", &id, "--wait"])).collect();
    serve(&folder, "1", "echo done");
    for waiting in waiting {
        let finished = waiting.finish();
        assert_eq!((finished.code, finished.text()), (Some(0), "done\n"));
    }
}

#[test]
fn the_progress_of_a_job_is_followed_part_by_part() {
    let folder = Folder::new();
    let go = folder.pipe("go");
    let id = folder.enqueue(&["a", "x"]);
    let _server = folder.serve(&["a", "--parts", "--command", "echo half; read line < go; echo all"]);
    let mut following = folder.start(&["job", "reply", &id, "--wait", "--parts"]);
    assert_eq!(following.line().as_deref(), Some("half"));
    // Not yet the final one.
    assert_eq!(
        folder.run(&["job", "reply", &id]).refusal(3),
        format!("no reply yet: job {id} is leased; see --wait")
    );
    std::fs::write(&go, "\n").unwrap();
    let finished = following.finish();
    assert_eq!((finished.code, finished.text()), (Some(0), "all\n"));
    let later = folder.run(&["job", "reply", &id, "--parts", "--raw"]);
    assert_eq!((later.code, later.text()), (Some(0), "half\nall\n"));
}

#[test]
fn waiting_for_a_job_that_is_stopped_stops_no_job() {
    let folder = Folder::new();
    let go = folder.pipe("go");
    let id = folder.enqueue(&["a", "x"]);
    let _server = folder.serve(&["a", "--parts", "--command", "echo half; read line < go; echo all"]);
    let mut following = folder.start(&["job", "reply", &id, "--wait", "--parts"]);
    assert_eq!(following.line().as_deref(), Some("half"));
    following.signal("INT");
    let finished = following.finish();
    assert_eq!(finished.code, Some(1));
    assert_eq!(finished.stderr, "rowbus: told to stop before the reply had come; the job goes on\n");
    std::fs::write(&go, "\n").unwrap();
    assert_eq!(folder.run(&["job", "reply", &id, "--wait", "--parts"]).text(), "half\nall\n");
}

#[test]
fn a_job_that_waits_is_cancelled_at_once() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "x", "--delay", "1h"]);
    let cancelled = folder.run(&["job", "cancel", &id]);
    assert_eq!((cancelled.code, cancelled.text()), (Some(0), ""));
    assert_eq!(cancelled.stderr, format!("job {id} is cancelled\n"));
    assert_eq!(state(&folder, &id), "cancelled");
    folder.run(&["job", "reply", &id]).refusal(1);
    let again = folder.run(&["job", "cancel", &id]);
    assert_eq!(again.refusal(3), format!("nothing to cancel: job {id} is cancelled"));
}

#[test]
fn a_job_that_runs_is_told_and_its_command_killed() {
    let folder = Folder::new();
    let held = folder.held("held");
    let id = folder.enqueue(&["a", "x"]);
    let command = "exec 3>held; echo up > up; sleep 600 & wait";
    let _server = folder.serve(&["a", "--command", command]);
    until("the command runs", || folder.path().join("up").exists());
    let cancelled = folder.run(&["job", "cancel", &id]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    held();
    until("the job is cancelled", || state(&folder, &id) == "cancelled");
    folder.run(&["job", "reply", &id, "--wait"]).refusal(1);
}

#[test]
fn a_job_that_is_unknown_is_exit_code_3() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    for id in ["0199f1c4-5a3e-7c21-9d0b-6f4e8a7b1c2d", "no id\x1b at all", ""] {
        for args in [&["job", "show", id][..], &["job", "cancel", id], &["job", "reply", id, "--wait"]] {
            let finished = folder.run(args);
            let line = finished.refusal(3);
            assert!(line.contains("no job") && !line.chars().any(char::is_control), "{line}");
        }
    }
}

#[test]
fn looking_for_jobs_makes_no_file() {
    let folder = Folder::new();
    for args in [&["job", "show", "id"][..], &["dead", "ls"]] {
        assert!(folder.run(args).refusal(1).contains("there is no such file"));
    }
    assert!(!folder.db().exists());
}

#[test]
fn each_of_many_lines_is_a_job_that_is_done_once() {
    const LINES: usize = 400;
    let folder = Folder::new();
    let lines: Vec<_> = (0..LINES).map(|number| format!("line {number:04}")).collect();
    let input = lines.join("\n");
    let enqueued = folder.run_with(&["enqueue", "a", "--send-on", "newline", "--relaxed"], input.as_bytes());
    assert_eq!((enqueued.code, &*enqueued.stderr), (Some(0), "enqueued 400 jobs on a\n"));
    let ids: HashSet<_> = enqueued.text().lines().collect();
    assert_eq!(ids.len(), LINES);
    let servers = [(); 2].map(|()| folder.serve(&["a", "--command", "sed 's/$/./' >> done"]));
    until("all are done", || {
        folder.number("SELECT count(*) FROM bus_requests WHERE state = 'done'") == LINES as i64
    });
    for server in servers {
        server.signal("TERM");
        assert_eq!(server.finish().code, Some(0));
    }
    // A body has no line end of its own, and sed gives none to what has none.
    let done = std::fs::read_to_string(folder.path().join("done")).unwrap();
    let mut done: Vec<_> = done.split_terminator('.').map(str::to_owned).collect();
    done.sort();
    assert_eq!(done, lines);
}

#[test]
fn a_line_is_enqueued_when_it_ends_and_not_when_the_input_does() {
    let folder = Folder::new();
    let mut enqueuing = Running::start(folder.command(&["enqueue", "typed", "--send-on", "newline"]));
    let mut keyboard = enqueuing.stdin();
    for line in ["first", "second"] {
        writeln!(keyboard, "{line}").unwrap();
        let id = enqueuing.line().unwrap();
        assert_eq!(state(&folder, &id), "ready");
    }
    drop(keyboard);
    assert_eq!(enqueuing.finish().stderr, "enqueued 2 jobs on typed\n");
}

#[test]
fn a_line_that_is_too_large_is_named_and_those_before_it_are_enqueued() {
    let folder = Folder::new();
    let mut input = b"one\ntwo\n".to_vec();
    input.extend(vec![b'x'; (1 << 20) + 1]);
    let finished = folder.run_with(&["enqueue", "lines", "--send-on", "newline"], &input);
    assert_eq!((finished.code, finished.text().lines().count()), (Some(1), 2));
    let line = finished.stderr;
    assert!(line.contains("line 3 ") && line.ends_with("(before it: enqueued 2 jobs on lines)\n"), "{line}");
}

#[test]
fn ids_that_nobody_reads_end_the_enqueueing() {
    let folder = Folder::new();
    let mut enqueuing = Running::start(folder.command(&["enqueue", "a", "--send-on", "newline"]));
    let mut keyboard = enqueuing.stdin();
    drop(enqueuing.stdout());
    writeln!(keyboard, "one").unwrap();
    let finished = enqueuing.finish();
    assert_eq!(finished.code, Some(1));
    assert_eq!(finished.stderr, "rowbus: nobody reads the ids any more (before it: enqueued 1 job on a)\n");
}
