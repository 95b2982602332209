//! What is coloured, on a terminal and nowhere else.

use std::io::Read;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::support::{Folder, VARIABLES};

const ESCAPE: char = '\x1b';

/// What the command writes to a terminal, both of its outputs.
fn shown(folder: &Folder, args: &[&str], (name, value): (&str, &str)) -> String {
    let terminal =
        native_pty_system().openpty(PtySize { rows: 50, cols: 200, ..PtySize::default() }).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_rowbus"));
    command.args(args);
    command.cwd(folder.path());
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.env("ROWBUS_DB", folder.db());
    command.env("TERM", "xterm-256color");
    command.env(name, value);
    let mut child = terminal.slave.spawn_command(command).unwrap();
    drop(terminal.slave);
    let mut reader = terminal.master.try_clone_reader().unwrap();
    let (mut text, mut piece) = (Vec::new(), [0; 1024]);
    // On Linux the end is an error.
    while let Ok(count @ 1..) = reader.read(&mut piece) {
        text.extend_from_slice(&piece[..count]);
    }
    child.wait().unwrap();
    String::from_utf8(text).unwrap()
}

const NOTHING_SAID: (&str, &str) = ("LANG", "C");

fn bus() -> Folder {
    let folder = Folder::new();
    folder.publish("orders.created", b"one pizza");
    folder
}

const SUB: [&str; 6] = ["sub", "orders.>", "--from", "oldest", "--count", "1"];

#[test]
fn on_a_terminal_what_one_looks_for_is_coloured() {
    let folder = bus();
    let streamed = shown(&folder, &SUB, NOTHING_SAID);
    assert!(streamed.contains("\x1b[36morders.created\x1b[0m  one pizza"), "{streamed:?}");
    let refused = shown(&folder, &["pub", "a..b", "x"], NOTHING_SAID);
    assert!(refused.starts_with("\x1b[1m\x1b[31mrowbus:\x1b[0m "), "{refused:?}");
    assert_eq!(refused.lines().count(), 1);
    let doctor = shown(&folder, &["doctor"], NOTHING_SAID);
    assert!(doctor.contains("\x1b[32mok      \x1b[0m integrity "), "{doctor:?}");
    for help in [&["--help"][..], &["sub", "-h"], &["job"]] {
        assert!(shown(&folder, help, NOTHING_SAID).contains(ESCAPE), "{help:?}");
    }
}

#[test]
fn data_is_never_coloured_and_nothing_is_for_those_who_say_so() {
    let folder = bus();
    for form in ["--json", "--raw", "-0"] {
        let streamed = shown(&folder, &[&SUB[..], &[form]].concat(), NOTHING_SAID);
        assert!(streamed.contains("one pizza") && !streamed.contains(ESCAPE), "{form}: {streamed:?}");
    }
    for said in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        for args in [&SUB[..], &["pub", "a..b", "x"], &["doctor"], &["--help"], &["job"]] {
            let text = shown(&folder, args, said);
            assert!(!text.is_empty() && !text.contains(ESCAPE), "{said:?} {args:?}: {text:?}");
        }
    }
}

#[test]
fn what_comes_from_others_colours_nothing() {
    let folder = Folder::new();
    folder.publish("a", b"\x1b[31mred\x1b[0m");
    let streamed = shown(&folder, &["sub", "a", "--from", "oldest", "--count", "1"], NOTHING_SAID);
    assert!(streamed.contains("\\u{1b}[31mred\\u{1b}[0m") && !streamed.contains("\x1b[31m"), "{streamed:?}");
}
