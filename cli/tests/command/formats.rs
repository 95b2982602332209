//! What `rowbus sub` prints.

use serde_json::Value;

use crate::support::Folder;

#[test]
fn people_see_escapes_where_a_terminal_would_act() {
    let folder = Folder::new();
    let evil = "\x1b]0;title\x07\x1b[2J red\r\n\u{9b}31m\u{202e}\0";
    let args = ["pub", "orders.created", "-H", "Trace: \x1b[31m", "-H", "Note: plain"];
    let finished = folder.run_with(&args, &[evil.as_bytes(), b"\xff"].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let shown = folder.run(&["sub", "orders.>", "--from", "oldest", "--count", "1", "-q"]);
    let lines: Vec<_> = shown.text().lines().collect();
    let [first, trace, note] = lines[..] else { panic!("{lines:?}") };
    let words: Vec<_> = first.splitn(4, "  ").collect();
    assert_eq!((words[0], words[2]), ("1", "orders.created"));
    assert_eq!(words[3], "\\u{1b}]0;title\\u{7}\\u{1b}[2J red\\r\\n\\u{9b}31m\\u{202e}\\0\\xff");
    assert_eq!((trace, note), ("    Trace: \\u{1b}[31m", "    Note: plain"));
    // 2026-11-23T07:05:00.123Z
    assert!(
        words[1].len() == 24 && words[1].as_bytes()[10] == b'T' && words[1].ends_with('Z'),
        "{}",
        words[1]
    );
}

#[test]
fn json_is_one_object_a_line_with_only_the_fields_that_say_something() {
    let folder = Folder::new();
    folder.run(&[
        "pub",
        "a.b",
        "text \"quoted\"\n",
        "-H",
        "N: 2",
        "-H",
        "N: 1",
        "-H",
        "A: 3",
        "--message-id",
        "k",
    ]);
    folder.publish("a.b", b"\0\xff");
    folder.publish("a.b", b"");
    let finished = folder.run(&["sub", "a.b", "--json", "--from", "oldest", "--count", "3"]);
    let objects: Vec<Value> =
        finished.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = |at: usize| objects[at].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();

    assert_eq!(objects[0]["sequence"], 1);
    assert_eq!(objects[0]["subject"], "a.b");
    assert_eq!(objects[0]["message_id"], "k");
    assert_eq!(objects[0]["data"], "text \"quoted\"\n");
    assert_eq!(objects[0]["headers"], serde_json::json!([["N", "2"], ["N", "1"], ["A", "3"]]));
    assert_eq!(objects[1]["data_base64"], "AP8=");
    assert_eq!(fields(1), ["data_base64", "sequence", "subject", "time"]);
    assert_eq!(objects[2]["data"], "");
    assert_eq!(fields(2), ["data", "sequence", "subject", "time"]);
}

#[test]
fn the_same_messages_are_printed_the_same_each_time() {
    let folder = Folder::new();
    folder.run(&["pub", "a", "x", "-H", "B: 1", "-H", "A: 2", "--count", "3"]);
    for format in ["--json", "--raw", "--quiet"] {
        let print = || folder.run(&["sub", "a", "--from", "oldest", "--count", "3", format]).stdout;
        assert_eq!(print(), print());
    }
}

#[test]
fn the_version_names_that_of_sqlite() {
    let folder = Folder::new();
    let mut running = crate::support::Running::start(folder.bare(&["--version"]));
    running.write(b"");
    let finished = running.finish();
    let expected = format!("rowbus {} (SQLite {})\n", env!("CARGO_PKG_VERSION"), rowbus::rusqlite::version());
    assert_eq!((finished.code, finished.text(), &*finished.stderr), (Some(0), &*expected, ""));
}

#[test]
fn the_help_of_each_verb_has_an_example() {
    let folder = Folder::new();
    let verbs = [
        "pub",
        "sub",
        "request",
        "serve",
        "enqueue",
        "job",
        "job show",
        "job cancel",
        "job reply",
        "dead",
        "dead ls",
        "dead show",
        "dead requeue",
        "dead purge",
        "consumer",
        "consumer ls",
        "consumer info",
        "consumer seek",
        "consumer rm",
        "consumer pause",
        "consumer resume",
        "peers",
        "bench",
        "bench pub",
        "bench sub",
        "bench latency",
    ];
    for verb in verbs {
        for help in ["-h", "--help"] {
            let finished = folder.run(&verb.split(' ').chain([help]).collect::<Vec<_>>());
            assert_eq!(finished.code, Some(0));
            assert!(finished.text().contains(&format!("\n  rowbus {verb} ")), "{}", finished.text());
        }
    }
}

#[test]
fn help_is_what_one_gets_who_names_no_verb() {
    let folder = Folder::new();
    for (args, verb) in [
        (&[][..], "\n  pub "),
        (&["job"], "\n  cancel "),
        (&["dead"], "\n  purge "),
        (&["bench"], "\n  latency "),
    ] {
        let mut running = crate::support::Running::start(folder.bare::<&str>(args));
        running.write(b"");
        let finished = running.finish();
        assert_eq!((finished.code, finished.text()), (Some(2), ""));
        assert!(finished.stderr.contains(verb) && !finished.stderr.contains("receive"), "{finished:?}");
    }
}
