//! `rowbus sub --durable`: what a member of a consumer gets, and what it leaves.

use std::io::Read;

use serde_json::Value;

use crate::support::{Finished, Folder};

fn filled(bodies: &[&str]) -> Folder {
    let folder = Folder::new();
    for body in bodies {
        folder.publish("a", body.as_bytes());
    }
    folder
}

/// Reads to the end as a member of `m`; what it waits for comes long before the wait is over.
fn member(folder: &Folder, args: &[&str]) -> Finished {
    folder.run(&[&["sub", "--durable", "m", "--wait", "20s", "-q"], args].concat())
}

#[track_caller]
fn bodies(finished: &Finished) -> Vec<&str> {
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{finished:?}");
    finished.text().lines().collect()
}

#[track_caller]
fn objects(finished: &Finished) -> Vec<Value> {
    bodies(finished).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// That there is nothing more to read for `m`.
#[track_caller]
fn nothing_more(folder: &Folder) {
    let finished = folder.run(&["sub", "--durable", "m", "--wait", "300ms", "-q"]);
    assert_eq!(finished.refusal(3), "no message for consumer m within 300ms");
}

#[test]
fn what_was_acknowledged_does_not_come_again() {
    for policy in ["explicit", "cumulative"] {
        let folder = filled(&["1", "2", "3"]);
        folder.publish("b", b"of no concern");
        let first = member(&folder, &["a", "--policy", policy, "--ack", "--raw", "--count", "2"]);
        assert_eq!(bodies(&first), ["1", "2"], "{policy}");
        // Its filter and policy are known.
        let second = member(&folder, &["--ack", "--raw", "--count", "1"]);
        assert_eq!(bodies(&second), ["3"], "{policy}");
        nothing_more(&folder);
    }
}

#[test]
fn without_ack_an_explicit_consumer_delivers_again_and_says_how_often() {
    let folder = filled(&["1"]);
    let again = objects(&member(&folder, &["a", "--json", "--ack-wait", "100ms", "--count", "2"]));
    let said: Vec<_> =
        again.iter().map(|one| (&one["sequence"], &one["attempt"], &one["redelivered"])).collect();
    assert_eq!(said, [(&1.into(), &1.into(), &false.into()), (&1.into(), &2.into(), &true.into())]);
    let shown = member(&folder, &["--count", "1"]);
    assert!(shown.text().ends_with("  a  1\n    (redelivered, attempt 2)\n"), "{shown:?}");
}

#[test]
fn what_was_only_looked_at_comes_to_others_at_once_and_as_new() {
    let folder = filled(&["1", "2", "3"]);
    for _ in 0..2 {
        let seen = objects(&member(&folder, &["a", "--json", "--count", "2"]));
        assert!(seen.iter().all(|one| one["attempt"] == 1), "{seen:?}");
    }
    let worked = objects(&member(&folder, &["--ack", "--json", "--count", "3"]));
    assert!(worked.iter().all(|one| one["attempt"] == 1), "{worked:?}");
    nothing_more(&folder);
}

#[test]
fn without_ack_a_cumulative_consumer_stays_where_it_is() {
    let folder = filled(&["1", "2", "3"]);
    for _ in 0..2 {
        let seen = member(&folder, &["a", "--policy", "cumulative", "--json", "--count", "2"]);
        let seen: Vec<_> =
            objects(&seen).iter().map(|one| (one["data"].clone(), one["attempt"].clone())).collect();
        assert_eq!(seen, [("1".into(), 1.into()), ("2".into(), 1.into())]);
    }
    assert_eq!(bodies(&member(&folder, &["--ack", "--raw", "--count", "2"])), ["1", "2"]);
    assert_eq!(bodies(&member(&folder, &["--raw", "--count", "1"])), ["3"]);
}

#[test]
fn several_filters_are_one_consumer() {
    let folder = Folder::new();
    for (subject, body) in [("a.x", "1"), ("b", "2"), ("c.y", "3")] {
        folder.publish(subject, body.as_bytes());
    }
    let read = member(&folder, &["a.*", "c.>", "--ack", "--raw", "--count", "2"]);
    assert_eq!(bodies(&read), ["1", "3"]);
}

#[test]
fn a_new_consumer_begins_where_it_was_told_and_an_existing_one_goes_on() {
    let folder = filled(&["1", "2", "3"]);
    let read = member(&folder, &["a", "--from", "2", "--ack", "--raw", "--count", "1"]);
    assert_eq!(bodies(&read), ["2"]);
    assert_eq!(bodies(&member(&folder, &["a", "--from", "2", "--ack", "--raw", "--count", "1"])), ["3"]);
    let other = member(&folder, &["a", "--from", "oldest"]);
    assert!(other.refusal(1).contains("the start of consumer \"m\""), "{other:?}");
    let beyond = folder.run(&["sub", "a", "--durable", "other", "--from", "99", "-q"]);
    assert!(beyond.refusal(1).contains("99"), "{beyond:?}");
}

#[test]
fn a_setting_that_cannot_be_changed_is_refused() {
    let folder = filled(&["1"]);
    bodies(&member(&folder, &["a", "--count", "1"]));
    let refused = member(&folder, &["--policy", "cumulative"]);
    assert!(refused.refusal(1).contains("the ack_policy of consumer \"m\" is explicit"), "{refused:?}");
    let refused = member(&folder, &["--on-failure", "stop"]);
    assert!(refused.refusal(2).contains("no use for"), "{refused:?}");
}

#[test]
fn no_more_is_taken_than_a_count_asks_for() {
    let folder = Folder::new();
    folder.run(&["pub", "a", "x", "--count", "300", "--relaxed"]);
    // Where they are taken quickly, more are taken ahead.
    bodies(&member(&folder, &["a", "--ack", "--raw", "--count", "100"]));
    let info = folder.run(&["consumer", "info", "m", "--json"]);
    let info: Value = serde_json::from_str(info.text()).unwrap();
    assert_eq!((&info["delivered"], &info["ack_floor"]), (&100.into(), &100.into()), "{info}");
    assert_eq!((&info["num_pending"], &info["num_backing_off"]), (&200.into(), &0.into()), "{info}");
}

#[test]
fn what_is_not_taken_stays_with_the_consumer() {
    let folder = Folder::new();
    folder.run(&["pub", "a", "x", "--count", "300", "--relaxed"]);
    bodies(&member(&folder, &["a", "--ack", "--raw", "--count", "1"]));
    // At once, and as a first delivery: nobody has to wait for its --ack-wait.
    let rest = objects(&member(&folder, &["--ack", "--json", "--count", "299"]));
    assert!(rest.iter().all(|one| one["attempt"] == 1), "{rest:?}");
    nothing_more(&folder);
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_member_in_good_order() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = filled(&["1"]);
        let mut stream = folder.stream(&["a", "--durable", "m", "--ack", "--raw"]);
        assert_eq!(stream.line().as_deref(), Some("1"));
        stream.signal(signal);
        let finished = stream.finish();
        assert_eq!((finished.code, finished.text(), &*finished.stderr), (Some(0), "", ""), "{signal}");
        nothing_more(&folder);
        folder.publish("a", b"2");
        assert_eq!(bodies(&member(&folder, &["--ack", "--raw", "--count", "1"])), ["2"]);
    }
}

#[test]
#[cfg(unix)]
fn what_could_not_be_written_is_not_acknowledged_and_comes_at_once() {
    let folder = filled(&[&"x".repeat(1 << 20)]);
    let mut stream = folder.stream(&["a", "--durable", "m", "--ack", "--raw"]);
    let mut pipe = stream.stdout();
    // It is in the midst of the message, and no pipe holds the rest.
    pipe.read_exact(&mut [0; 1]).unwrap();
    drop(pipe);
    let finished = stream.finish();
    let told = "rowbus: standard output was closed: 1 message is given back\n";
    assert_eq!((finished.code, &*finished.stderr), (Some(0), told));
    let again = objects(&member(&folder, &["--ack", "--json", "--count", "1"]));
    assert_eq!((&again[0]["attempt"], &again[0]["sequence"]), (&1.into(), &1.into()));
    nothing_more(&folder);
}

#[test]
#[cfg(unix)]
fn members_in_several_processes_share_the_messages() {
    let folder = Folder::new();
    let start = || folder.stream(&["a", "--durable", "m", "--ack", "--raw"]);
    let mut members = [start(), start(), start()];
    let all: Vec<_> = (1..=300).collect();
    let lines: String = all.iter().map(|number| format!("{number}\n")).collect();
    folder.run_with(&["pub", "a", "--send-on", "newline", "--relaxed"], lines.as_bytes());
    crate::support::until("all are acknowledged", || {
        let info = folder.run(&["consumer", "info", "m", "--json"]);
        serde_json::from_str::<Value>(info.text()).unwrap()["ack_floor"] == 300
    });
    let mut read = Vec::new();
    for member in &members {
        member.signal("TERM");
    }
    for member in &mut members {
        while let Some(line) = member.line() {
            read.push(line.parse::<i32>().unwrap());
        }
        assert_eq!(member.wait(), Some(0));
    }
    read.sort_unstable();
    assert_eq!(read, all);
}

#[test]
fn events_that_are_gone_are_told_and_the_member_goes_on() {
    let folder = filled(&["1", "2", "3"]);
    bodies(&member(&folder, &["a", "--ack", "--count", "1"]));
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    host.execute_batch("DELETE FROM bus_events WHERE id <= 2; UPDATE bus_retention SET pruned_through = 2")
        .unwrap();
    let read = member(&folder, &["--ack", "--raw", "--count", "1"]);
    assert_eq!((read.code, read.text()), (Some(0), "3\n"), "{read:?}");
    assert!(read.stderr.starts_with("rowbus: events 2 to 2 may have been removed"), "{read:?}");
}

#[test]
fn a_position_beyond_the_log_is_an_error_that_says_the_remedy() {
    let folder = filled(&["1", "2", "3"]);
    bodies(&member(&folder, &["a", "--ack", "--count", "3"]));
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    // As if an older copy had been restored over the log.
    host.execute_batch(
        "DELETE FROM bus_events WHERE id > 1; UPDATE sqlite_sequence SET seq = 1 WHERE name = 'bus_events'",
    )
    .unwrap();
    let refused = member(&folder, &["--ack"]);
    assert!(refused.refusal(1).contains("rowbus consumer seek m START"), "{refused:?}");
    assert_eq!(folder.run(&["consumer", "seek", "m", "oldest"]).code, Some(0));
    assert_eq!(bodies(&member(&folder, &["--ack", "--raw", "--count", "1"])), ["1"]);
}

#[test]
fn a_consumer_that_is_removed_ends_its_members() {
    let folder = filled(&["1"]);
    let mut stream = folder.stream(&["a", "--durable", "m", "--ack", "--raw"]);
    assert_eq!(stream.line().as_deref(), Some("1"));
    assert_eq!(folder.run(&["consumer", "rm", "m"]).code, Some(0));
    let finished = stream.finish();
    assert!(finished.refusal(1).contains("no consumer \"m\""), "{finished:?}");
}

#[test]
fn the_status_says_whether_anything_is_acknowledged() {
    let folder = filled(&["1"]);
    for (args, said) in [
        (
            &["a", "--durable", "m", "--ack"][..],
            "streaming a as a member of m, acknowledging what is written (",
        ),
        (&["--durable", "m"], "streaming as a member of m, acknowledging nothing ("),
    ] {
        let mut command = folder.command(&["sub"]);
        command.args(args);
        let line = crate::support::Running::start(command).stderr_line();
        assert!(line.starts_with(said), "{line}");
    }
}
