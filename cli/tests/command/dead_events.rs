//! `rowbus dead` of events that a consumer gave up on.

use serde_json::Value;

use crate::support::{Folder, until};

/// A bus on which the consumer `m` has given up on one message.
fn given_up() -> Folder {
    let folder = Folder::new();
    folder.publish("mail.send", b"to: ada");
    let limits = ["--max-deliver", "1", "--ack-wait", "100ms"];
    let args = [&["sub", "mail.>", "--durable", "m", "--raw", "-q"], &limits[..]].concat();
    let mut dying = folder.start(&args);
    assert_eq!(dying.line().as_deref(), Some("to: ada"));
    dying.kill();
    dying.wait();
    // Whoever has the consumer open finds out when the time is over.
    let member = folder.start(&["sub", "--durable", "m", "--ack", "--raw", "-q"]);
    until("it is given up on", || folder.number("SELECT count(*) FROM bus_dead_letters") == 1);
    drop(member);
    folder
}

fn letter(folder: &Folder) -> Value {
    let finished = folder.run(&["dead", "ls", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(finished.text()).unwrap()
}

#[test]
fn an_event_is_listed_and_shown_with_its_consumer() {
    let folder = given_up();
    let listed = folder.run(&["dead", "ls"]);
    let line = listed.text().trim_end();
    assert!(line.contains("  mail.send  ") && line.contains(" after 1 delivery of event 1 to m"), "{line}");
    let letter = letter(&folder);
    assert_eq!((&letter["consumer"], &letter["sequence"]), (&"m".into(), &1.into()));
    assert_eq!((letter.get("job"), &letter["data"]), (None, &"to: ada".into()));
    let shown = folder.run(&["dead", "show", &letter["id"].to_string()]);
    assert!(shown.text().contains("\nconsumer  m\nsequence  1\nsubject   mail.send\n"), "{shown:?}");
    assert!(shown.text().contains("\npublished "), "{shown:?}");
}

#[test]
fn an_event_that_is_requeued_is_delivered_to_its_consumer_anew() {
    let folder = given_up();
    let requeued = folder.run(&["dead", "requeue", &letter(&folder)["id"].to_string()]);
    assert_eq!((requeued.code, &*requeued.stderr), (Some(0), "requeued 1 dead letter\n"));
    assert_eq!(folder.run(&["dead", "ls"]).code, Some(3));
    let read =
        folder.run(&["sub", "--durable", "m", "--ack", "--raw", "--count", "1", "--wait", "20s", "-q"]);
    assert_eq!((read.code, read.text()), (Some(0), "to: ada\n"), "{read:?}");
}

#[test]
fn a_letter_whose_event_or_consumer_is_gone_stays_and_that_is_told() {
    let folder = given_up();
    assert_eq!(folder.run(&["consumer", "rm", "m"]).code, Some(0));
    let one = folder.run(&["dead", "requeue", &letter(&folder)["id"].to_string()]);
    one.refusal(3);
    let all = folder.run(&["dead", "requeue", "--all", ">"]);
    assert!(all.refusal(1).contains("the event or its consumer is gone"), "{all:?}");
    assert_eq!(letter(&folder)["consumer"], "m");
    let purged = folder.run(&["dead", "purge", "--all", ">", "--yes"]);
    assert_eq!((purged.code, &*purged.stderr), (Some(0), "purged 1 dead letter\n"));
}
