//! `rowbus consumer`: what there is, and what can be done about it.

use rowbus::{AckPolicy, Consumer, Messenger, SqliteBus};
use serde_json::Value;

use crate::support::Folder;

/// A bus with four messages, and a consumer of two filters that has acknowledged the first.
fn consumed() -> Folder {
    let folder = Folder::new();
    for (subject, body) in [("a.x", "1"), ("b", "2"), ("a.y", "3"), ("c", "4")] {
        folder.publish(subject, body.as_bytes());
    }
    let args = ["sub", "a.>", "b", "--durable", "mailer", "--ack", "--count", "1", "--wait", "20s", "-q"];
    assert_eq!(folder.run(&args).code, Some(0));
    folder
}

#[track_caller]
fn info(folder: &Folder) -> Value {
    let finished = folder.run(&["consumer", "info", "mailer", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(finished.text()).unwrap()
}

/// What it delivers next, without acknowledging it.
#[track_caller]
fn next(folder: &Folder) -> String {
    let args = ["sub", "--durable", "mailer", "--count", "1", "--raw", "--wait", "20s", "-q"];
    let finished = folder.run(&args);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.text().trim_end().to_owned()
}

/// Runs a verb that succeeds and has no output, and gives its status.
#[track_caller]
fn done(folder: &Folder, args: &[&str]) -> String {
    let finished = folder.run(&[&["consumer"], args].concat());
    assert_eq!((finished.code, finished.text()), (Some(0), ""), "{finished:?}");
    finished.stderr
}

#[test]
fn a_consumer_is_listed_with_how_it_fares() {
    let folder = consumed();
    let table = folder.run(&["consumer", "ls"]);
    let lines: Vec<Vec<_>> = table.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["NAME", "POLICY", "FILTERS"]);
    assert_eq!(lines[1][..9], ["mailer", "explicit", "a.>", "b", "1", "2", "0", "0", "3"], "{table:?}");
    let json = folder.run(&["consumer", "ls", "--json"]);
    let listed: Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!((&listed["name"], &listed["num_pending"]), (&"mailer".into(), &2.into()));
}

#[test]
fn a_consumer_is_shown_with_all_of_its_settings() {
    let folder = consumed();
    let args =
        ["--durable", "mailer", "--ack-wait", "1m", "--max-deliver", "3", "--inactive-threshold", "7d"];
    let finished =
        folder.run(&[&["sub", "-q", "--wait", "20s", "--ack", "--count", "1"], &args[..]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let shown = folder.run(&["consumer", "info", "mailer"]);
    for line in [
        "filters             a.> b",
        "started from        oldest",
        "ack floor           2",
        "pending             1",
        "in flight           0",
        "policy              explicit",
        "ack wait            1m",
        "max deliver         3",
        "deleted if inactive 7d",
    ] {
        assert!(shown.text().lines().any(|shown| shown == line), "{line}: {}", shown.text());
    }
    let json = info(&folder);
    assert_eq!((&json["ack_wait_ms"], &json["inactive_threshold_ms"]), (&60_000.into(), &604_800_000.into()));
    assert_eq!((&json["ack_policy"], &json["start"]), (&"explicit".into(), &"oldest".into()));
}

#[test]
fn seeking_moves_a_consumer_forward_and_back() {
    let folder = consumed();
    assert_eq!(done(&folder, &["seek", "mailer", "oldest"]), "consumer mailer goes on from oldest\n");
    assert_eq!(next(&folder), "1");
    assert_eq!(done(&folder, &["seek", "mailer", "3"]), "consumer mailer goes on from sequence 3\n");
    assert_eq!(next(&folder), "3");
    done(&folder, &["seek", "mailer", "1h"]);
    assert_eq!(next(&folder), "1");
    done(&folder, &["seek", "mailer", "new"]);
    folder.publish("b", b"5");
    assert_eq!(next(&folder), "5");
    let beyond = folder.run(&["consumer", "seek", "mailer", "99"]);
    assert!(beyond.refusal(1).contains("99"), "{beyond:?}");
}

#[test]
fn a_paused_consumer_delivers_nothing_until_it_is_resumed() {
    let folder = consumed();
    assert_eq!(done(&folder, &["pause", "mailer"]), "paused consumer mailer\n");
    assert_eq!(info(&folder)["paused"], true);
    assert!(folder.run(&["consumer", "ls"]).text().trim_end().ends_with(" paused"));
    let silent = folder.run(&["sub", "--durable", "mailer", "--wait", "300ms", "-q"]);
    assert_eq!(silent.refusal(3), "no message for consumer mailer within 300ms");
    assert_eq!(done(&folder, &["resume", "mailer"]), "resumed consumer mailer\n");
    assert_eq!(info(&folder)["paused"], false);
    assert_eq!(next(&folder), "2");
}

#[test]
fn a_consumer_that_is_removed_is_gone() {
    let folder = consumed();
    assert_eq!(done(&folder, &["rm", "mailer"]), "removed consumer mailer\n");
    let gone = folder.run(&["consumer", "info", "mailer"]);
    assert_eq!(gone.refusal(3), "no consumer \"mailer\": it was deleted, or never was");
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    assert!(folder.run(&["consumer", "ls"]).refusal(3).starts_with("no consumers: "));
    for args in
        [&["info", "m"][..], &["rm", "m"], &["pause", "m"], &["resume", "m"], &["seek", "m", "oldest"]]
    {
        let finished = folder.run(&[&["consumer"], args].concat());
        assert!(finished.refusal(3).contains("no consumer \"m\""), "{finished:?}");
    }
}

#[test]
fn looking_for_consumers_makes_no_file() {
    let folder = Folder::new();
    for args in [&["ls"][..], &["info", "m"], &["rm", "m"]] {
        let finished = folder.run(&[&["consumer"], args].concat());
        assert!(finished.refusal(1).contains("there is no such file"), "{finished:?}");
    }
    assert!(!folder.db().exists());
}

#[test]
fn a_consumer_that_has_stopped_says_why_until_it_is_resumed() {
    let folder = Folder::new();
    folder.publish("a", b"1");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The command never says that a message cannot be handled; programs do.
    runtime.block_on(async {
        let bus = SqliteBus::open(folder.db()).await.unwrap();
        let durable = bus.as_durable().unwrap();
        let consumer = Consumer::durable("mailer").ack_policy(AckPolicy::Cumulative);
        let mut inbox = durable.consumer(consumer).await.unwrap();
        inbox.next().await.unwrap().unwrap().term("no \x1b route").await.unwrap();
        drop(inbox);
        bus.close().await.unwrap();
    });
    assert!(folder.run(&["consumer", "ls"]).text().trim_end().ends_with(" stopped"));
    assert!(info(&folder)["stopped"].as_str().unwrap().contains("no \x1b route"));
    let shown = folder.run(&["consumer", "info", "mailer"]);
    assert!(shown.text().contains("\nstate               stopped\nstopped by          "), "{shown:?}");
    assert!(shown.text().contains("no \\u{1b} route"), "{shown:?}");
    done(&folder, &["resume", "mailer"]);
    assert_eq!(info(&folder)["stopped"], Value::Null);
    assert_eq!(next(&folder), "1");
}
