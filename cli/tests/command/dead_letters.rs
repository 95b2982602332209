//! `rowbus dead`: what was given up on.

use serde_json::{Value, json};

use crate::support::Folder;

/// Enqueues a job for each subject, and has it fail for good.
fn dead(folder: &Folder, subjects: &[&str]) -> Vec<String> {
    let jobs = subjects
        .iter()
        .map(|subject| {
            folder.enqueue(&[subject, "to: \x1b ada", "-H", "Trace: \x1b7", "--max-attempts", "1"])
        })
        .collect();
    // One after the other, so that they die in this order.
    for subject in subjects {
        let command = "echo 'no route' >&2; exit 69";
        let finished = folder.serve(&[subject, "--count", "1", "--command", command]).finish();
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    jobs
}

fn list(folder: &Folder, args: &[&str]) -> Vec<Value> {
    let finished = folder.run(&[&["dead", "ls", "--json"], args].concat());
    assert_eq!(finished.code, Some(if finished.stdout.is_empty() { 3 } else { 0 }), "{finished:?}");
    finished.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(folder: &Folder, args: &[&str]) -> Vec<String> {
    list(folder, args).iter().map(|letter| letter["id"].to_string()).collect()
}

#[test]
fn a_job_that_has_failed_for_the_last_time_is_listed_and_shown() {
    let folder = Folder::new();
    let jobs = dead(&folder, &["mail.send"]);
    let listed = folder.run(&["dead", "ls"]);
    let words: Vec<_> = listed.text().trim_end().splitn(4, "  ").collect();
    assert_eq!((listed.code, words[2]), (Some(0), "mail.send"), "{listed:?}");
    assert!(words[3].ends_with(" after 1 attempt: no route"), "{words:?}");

    let id = words[0];
    let shown = folder.run(&["dead", "show", id]);
    let text = shown.text();
    assert!(
        text.starts_with(&format!("id        {id}\njob       {}\nsubject   mail.send\n", jobs[0])),
        "{text}"
    );
    assert!(text.contains("\nfailed    attempt 1, ") && text.contains(": no route\n"), "{text}");
    assert!(text.ends_with("body      to: \\u{1b} ada\n    Trace: \\u{1b}7\n"), "{text}");

    let json = folder.run(&["dead", "show", id, "--json"]);
    let letter: Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(list(&folder, &[]), std::slice::from_ref(&letter));
    assert_eq!((&letter["job"], &letter["attempts"]), (&jobs[0].as_str().into(), &1.into()));
    assert_eq!(letter["failures"][0]["message"], "no route");
    assert_eq!(
        (&letter["data"], &letter["headers"]),
        (&"to: \u{1b} ada".into(), &json!([["Trace", "\u{1b}7"]]))
    );

    let raw = folder.run(&["dead", "show", id, "--raw"]);
    assert_eq!((raw.code, raw.text()), (Some(0), "to: \x1b ada"));

    let state = folder.run(&["job", "show", &jobs[0], "--json"]);
    assert!(state.text().contains("\"state\":\"dead\""), "{state:?}");
    assert_eq!(folder.run(&["job", "reply", &jobs[0]]).refusal(1), "no route (exit 69)");
}

#[test]
fn a_list_has_the_oldest_first_of_a_filter_up_to_a_limit() {
    let folder = Folder::new();
    let jobs = dead(&folder, &["a.x", "b", "a.y", "a.x"]);
    let listed = |args: &[&str]| {
        let letters = list(&folder, args);
        letters.iter().map(|letter| letter["job"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), jobs);
    assert_eq!(listed(&["a.>"]), [&*jobs[0], &jobs[2], &jobs[3]]);
    assert_eq!(listed(&["a.x", "--limit", "1"]), [&*jobs[0]]);
    assert!(listed(&["c"]).is_empty());
}

#[test]
fn a_long_list_is_listed_to_its_end() {
    let folder = Folder::new();
    folder.publish("a", b"makes the file");
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    let insert = "
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO bus_dead_letters (source, source_id, subject, data, reason, attempts, created_at, died_at)
        SELECT 'job', 'job-' || i, 'a.b', 'x', 'exhausted', 1, 0, 0 FROM n";
    host.execute(insert, []).unwrap();
    assert_eq!(ids(&folder, &[]).len(), 200);
    assert_eq!(ids(&folder, &["--limit", "130"]).len(), 130);
}

#[test]
fn a_dead_letter_that_is_requeued_is_a_job_again() {
    let folder = Folder::new();
    let jobs = dead(&folder, &["mail.send"]);
    let id = &ids(&folder, &[])[0];
    let requeued = folder.run(&["dead", "requeue", id]);
    assert_eq!(
        (requeued.code, requeued.text(), &*requeued.stderr),
        (Some(0), "", "requeued 1 dead letter\n")
    );
    assert!(ids(&folder, &[]).is_empty());
    let server = folder.serve(&["mail.send", "--count", "1", "--command", "tr a-z A-Z"]);
    assert_eq!(server.finish().stderr, "served 1 request\n");
    let reply = folder.run(&["job", "reply", &jobs[0], "--raw"]);
    assert_eq!((reply.code, reply.text()), (Some(0), "TO: \x1b ADA"));
}

#[test]
fn all_of_a_filter_are_requeued_and_no_other() {
    let folder = Folder::new();
    dead(&folder, &["a.x", "b", "a.y"]);
    let requeued = folder.run(&["dead", "requeue", "--all", "a.*"]);
    assert_eq!((requeued.code, &*requeued.stderr), (Some(0), "requeued 2 dead letters\n"));
    assert_eq!(list(&folder, &[])[0]["subject"], "b");
    assert_eq!(folder.number("SELECT count(*) FROM bus_requests WHERE state = 'ready'"), 2);
}

#[test]
fn a_dead_letter_that_is_purged_is_gone() {
    let folder = Folder::new();
    dead(&folder, &["a.x", "b", "a.y", "b"]);
    let id = &ids(&folder, &["b"])[0];
    let purged = folder.run(&["dead", "purge", id]);
    assert_eq!((purged.code, purged.text(), &*purged.stderr), (Some(0), "", "purged 1 dead letter\n"));
    let refused = folder.run(&["dead", "purge", "--all", "a.>"]);
    assert!(refused.refusal(2).contains("say --yes"), "{refused:?}");
    assert_eq!(ids(&folder, &[]).len(), 3);
    let purged = folder.run(&["dead", "purge", "--all", "a.>", "--yes"]);
    assert_eq!((purged.code, &*purged.stderr), (Some(0), "purged 2 dead letters\n"));
    assert_eq!(list(&folder, &[])[0]["subject"], "b");
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    for (args, line) in [
        (&["dead", "ls"][..], "no dead letters on >"),
        (&["dead", "ls", "a.*"], "no dead letters on a.*"),
        (&["dead", "requeue", "--all", "a.*"], "no dead letters on a.*"),
        (&["dead", "purge", "--all", "a.*", "--yes"], "no dead letters on a.*"),
        (&["dead", "show", "17"], "no dead letter 17"),
    ] {
        assert_eq!(folder.run(args).refusal(3), line);
    }
    for verb in ["requeue", "purge"] {
        assert!(folder.run(&["dead", verb, "17"]).refusal(3).contains("17"));
    }
}

#[test]
fn a_job_that_was_not_begun_in_time_is_a_dead_letter() {
    let folder = Folder::new();
    let id = folder.enqueue(&["a", "x", "--expires-in", "1ms"]);
    let _server = folder.serve(&["a", "--echo"]);
    folder.run(&["job", "reply", &id, "--wait"]).refusal(1);
    let letters = list(&folder, &[]);
    assert_eq!((&letters[0]["job"], &letters[0]["reason"]), (&id.as_str().into(), &"expired".into()));
}
