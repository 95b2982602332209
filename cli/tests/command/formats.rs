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
    let verbs = crate::verbs::all(&folder);
    assert!(verbs.len() > 35, "{verbs:?}");
    for verb in verbs {
        for help in ["-h", "--help"] {
            let finished = folder.run(&verb.split(' ').chain([help]).collect::<Vec<_>>());
            assert_eq!(finished.code, Some(0));
            let examples = finished.text().split_once("\nExamples:\n").expect(&verb).1;
            // It may be shown with its input, as in `rowbus export | rowbus import -`.
            assert!(examples.contains(&format!("rowbus {verb}")), "{}", finished.text());
        }
    }
}

#[test]
fn help_is_a_verb_as_well() {
    let folder = Folder::new();
    for (asked, same) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "sub"], &["sub", "--help"]),
        (&["help", "job", "show"], &["job", "show", "--help"]),
    ] {
        let (asked, same) = (folder.run(asked), folder.run(same));
        assert_eq!((asked.code, asked.text()), (Some(0), same.text()), "{asked:?}");
    }
    assert!(folder.run(&["help", "nothing"]).refusal(2).contains("nothing"));
}

#[cfg(unix)]
#[test]
fn help_fits_the_terminal() {
    use crate::terminal::Terminal;
    let folder = Folder::new();
    let mut verbs = crate::verbs::all(&folder);
    verbs.push(String::new());
    for verb in verbs {
        for help in ["-h", "--help"] {
            let args: Vec<_> = verb.split(' ').filter(|word| !word.is_empty()).chain([help]).collect();
            // The terminal is wider than it says, so that a longer line is seen as one.
            let mut terminal = Terminal::saying(&folder, &args, (80, 24), (300, 200));
            assert_eq!(terminal.finish(), 0);
            let text = terminal.until_it_has(&["Usage:", "Options of every verb"]);
            let widest = text.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
            assert!(widest <= 80 && widest > 50, "{args:?}: {widest} columns\n{text}");
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

#[test]
fn completions_know_every_verb_in_every_shell() {
    let folder = Folder::new();
    let verbs = crate::verbs::runnable(&folder);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.run(&["completions", shell]);
        assert_eq!((script.code, &*script.stderr), (Some(0), ""), "{shell}");
        for word in verbs.iter().flat_map(|verb| verb.split(' ')) {
            assert!(script.text().contains(word), "{shell}: {word}");
        }
    }
    assert!(folder.run(&["completions", "tcsh"]).refusal(2).contains("tcsh"));
}

#[test]
#[cfg(unix)]
fn bash_completes_a_verb_with_the_script() {
    let folder = Folder::new();
    let script = folder.path().join("completions.bash");
    std::fs::write(&script, folder.run(&["completions", "bash"]).stdout).unwrap();
    let complete = "source \"$0\"; COMP_WORDS=(rowbus migrate ver); COMP_CWORD=2; _rowbus rowbus ver migrate; echo \"${COMPREPLY[@]}\"";
    let Ok(completed) = std::process::Command::new("bash").args(["-c", complete]).arg(&script).output()
    else {
        return crate::support::skip("completions in bash: there is none");
    };
    assert_eq!(
        String::from_utf8(completed.stdout).unwrap(),
        "verify\n",
        "{}",
        String::from_utf8_lossy(&completed.stderr)
    );
}
