//! `rowbus retention`: what is kept, and what goes.

use serde_json::Value;

use crate::support::Folder;

fn published(count: usize) -> Folder {
    let folder = Folder::new();
    for number in 0..count {
        folder.publish("a.x", number.to_string().as_bytes());
    }
    folder
}

/// Runs a verb that succeeds and has no output, and gives its status.
#[track_caller]
fn done(folder: &Folder, args: &[&str]) -> String {
    let finished = folder.run(&[&["retention"], args].concat());
    assert_eq!((finished.code, finished.text()), (Some(0), ""), "{finished:?}");
    finished.stderr
}

#[track_caller]
fn shown(folder: &Folder) -> Vec<Value> {
    let finished = folder.run(&["retention", "show", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_new_file_shows_its_defaults() {
    let folder = published(1);
    let shown = folder.run(&["retention", "show"]);
    let lines: Vec<Vec<_>> = shown.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1][..7], [">", "7d", "-", "-", "-", "-", "default"], "{shown:?}");
    assert_eq!(lines[2], ["dead", "letters", "are", "kept", "90d"]);
}

#[test]
fn a_policy_is_set_acted_on_and_removed() {
    let folder = published(5);
    let set = [
        "set",
        "a.*",
        "--max-messages",
        "2",
        "--max-age",
        "1h",
        "--max-bytes",
        "1GiB",
        "--keep-unacked",
        "1KiB",
    ];
    assert_eq!(done(&folder, &set), "set the policy of a.*\n");
    let removed = "removed 3 messages (3), 0 dead letters, 0 message ids; gave 0 pages back\n";
    assert_eq!(done(&folder, &["prune"]), removed);
    let all = shown(&folder);
    assert_eq!((&all[0]["filter"], &all[1]["filter"]), (&">".into(), &"a.*".into()));
    let policy = &all[1];
    for (field, value) in [
        ("max_age_ms", 3_600_000_u64),
        ("max_messages", 2),
        ("max_bytes", 1 << 30),
        ("keep_unacked", 1024),
        ("messages", 2),
        ("bytes", 2),
        ("counted_through", 5),
        ("pruned_through", 3),
    ] {
        assert_eq!(policy[field], value, "{field}");
    }
    assert_eq!((&policy["max_per_subject"], &policy["set_by"]), (&Value::Null, &"operator".into()));
    assert_eq!(done(&folder, &["rm", "a.*"]), "removed the policy of a.*\n");
    assert_eq!(shown(&folder)[0]["pruned_through"], 3);
    assert!(folder.run(&["retention", "rm", "a.*"]).refusal(3).contains("no policy"));
}

#[test]
fn everything_is_kept_when_that_was_said_and_only_the_last_of_each_subject_if_that_was() {
    let folder = published(5);
    done(&folder, &["set", ">", "--keep-everything"]);
    assert!(done(&folder, &["prune"]).starts_with("removed 0 messages"));
    assert_eq!(shown(&folder)[0]["max_age_ms"], Value::Null);
    done(&folder, &["set", ">", "--max-per-subject", "1"]);
    assert!(done(&folder, &["prune"]).starts_with("removed 4 messages"));
    done(&folder, &["rm", ">"]);
    assert_eq!(
        (&shown(&folder)[0]["max_age_ms"], &shown(&folder)[0]["set_by"]),
        (&604_800_000.into(), &"default".into())
    );
}

#[test]
fn dead_letters_have_an_age_of_their_own() {
    let folder = published(1);
    assert_eq!(done(&folder, &["dead-letters", "30d"]), "dead letters are kept 30d\n");
    assert_eq!(shown(&folder)[1]["dead_letters_max_age_ms"], 30 * 86_400_000_u64);
    assert_eq!(done(&folder, &["dead-letters", "forever"]), "dead letters are kept forever\n");
    assert_eq!(shown(&folder)[1]["dead_letters_max_age_ms"], Value::Null);
}

#[test]
fn mistakes_are_usage_and_looking_makes_no_file() {
    let folder = Folder::new();
    for (args, says) in [
        (&["set", ">"][..], "say what is kept"),
        (&["set", "a..b", "--max-age", "1d"], "a..b"),
        (&["set", ">", "--max-age", "0s"], "a duration has"),
        (&["set", ">", "--max-bytes", "1.5GiB"], "a size is"),
        (&["set", ">", "--keep-unacked", "1GiB"], "keep_unacked"),
        (&["dead-letters", "never"], "a duration has"),
    ] {
        let finished = folder.run(&[&["retention"], args].concat());
        assert!(finished.refusal(2).contains(says), "{finished:?}");
    }
    assert!(folder.run(&["retention", "show"]).refusal(1).contains("there is no such file"));
    assert!(!folder.db().exists());
}

#[test]
fn events_are_counted_whichever_policy_governs_them() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["pub", "orders.a", "x", "--count", "3", "-q"]).code, Some(0));
    let events = || {
        let stats = folder.run(&["stats", "--json"]);
        let stats: serde_json::Value = serde_json::from_str(stats.text()).unwrap();
        (stats["events"].as_u64().unwrap(), stats["events_is_exact"].as_bool().unwrap())
    };
    for (args, left) in [
        (&["retention", "set", "orders.>", "--max-messages", "2"][..], 3),
        (&["retention", "prune"], 2),
        (&["retention", "rm", "orders.>"], 2),
        (&["retention", "prune"], 2),
    ] {
        assert_eq!(folder.run(args).code, Some(0));
        assert_eq!(events(), (left, true), "{args:?}");
    }
}
