//! `rowbus pub`.

use std::io::Write;

use crate::support::{Folder, Running};

/// What is in the log, bodies only.
fn stored(folder: &Folder, count: usize) -> Vec<u8> {
    let count = count.to_string();
    let finished = folder.run(&["sub", ">", "--from", "oldest", "--raw", "--quiet", "--count", &*count]);
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
    finished.stdout
}

#[test]
fn status_says_what_was_published_and_quiet_says_nothing() {
    let folder = Folder::new();
    let one = folder.run(&["pub", "orders.created", "one pizza"]);
    assert_eq!((one.code, one.text()), (Some(0), ""));
    assert_eq!(one.stderr, "published 1 message to orders.created (sequence 1)\n");
    let more = folder.run(&["pub", "orders.created", "a pizza", "--count", "1200"]);
    assert_eq!(more.stderr, "published 1200 messages to orders.created (sequence 2 to 1201)\n");
    let quiet = folder.run(&["pub", "orders.created", "a pizza", "-q"]);
    assert_eq!((quiet.code, &*quiet.stderr, quiet.text()), (Some(0), "", ""));
    let none = folder.run_with(&["pub", "orders.created", "--send-on", "newline"], b"");
    assert_eq!((none.code, &*none.stderr), (Some(0), "published 0 messages to orders.created\n"));
}

#[test]
fn acknowledgements_as_json_are_one_line_a_message() {
    let folder = Folder::new();
    let acks = folder.run_with(&["pub", "a", "--send-on", "newline", "--json", "--relaxed"], b"1\n2\n");
    let expected = "{\"sequence\":1,\"duplicate\":false}\n{\"sequence\":2,\"duplicate\":false}\n";
    assert_eq!((acks.code, acks.text()), (Some(0), expected));
}

#[test]
fn a_message_id_is_published_once_and_the_duplicate_said() {
    let folder = Folder::new();
    let first = folder.run(&["pub", "orders.created", "one", "--message-id", "order-17"]);
    assert_eq!(first.stderr, "published 1 message to orders.created (sequence 1)\n");
    let second = folder.run(&["pub", "orders.created", "two", "--message-id", "order-17", "--json"]);
    assert_eq!(second.stderr, "published 0 messages to orders.created (duplicate of sequence 1)\n");
    assert_eq!((second.code, second.text()), (Some(0), "{\"sequence\":1,\"duplicate\":true}\n"));
    assert_eq!(stored(&folder, 1), b"one\n");
}

#[test]
fn a_body_comes_from_the_argument_or_whole_from_standard_input() {
    let folder = Folder::new();
    folder.run(&["pub", "a", ""]);
    folder.run(&["pub", "a", "--", "--json"]);
    folder.publish("a", b"two\nlines\n");
    folder.publish("a", b"");
    assert_eq!(stored(&folder, 4), b"\n--json\ntwo\nlines\n\n\n");
}

#[test]
fn any_bytes_come_out_as_they_went_in() {
    let folder = Folder::new();
    let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    folder.publish("a", &every);
    let mut expected = every;
    expected.push(b'\n');
    assert_eq!(stored(&folder, 1), expected);
}

#[test]
fn lines_keep_carriage_returns_and_emptiness_and_the_last_needs_no_end() {
    let folder = Folder::new();
    let finished = folder.run_with(&["pub", "a", "--send-on", "newline"], b"\nwindows\r\n\0\xff\n\nopen");
    assert_eq!(finished.stderr, "published 5 messages to a (sequence 1 to 5)\n");
    assert_eq!(stored(&folder, 5), b"\nwindows\r\n\0\xff\n\nopen\n");
}

#[test]
fn a_line_is_published_when_it_ends_and_not_when_the_input_does() {
    let folder = Folder::new();
    let mut stream = folder.stream(&["typed", "--raw"]);
    let mut publisher = Running::start(folder.command(&["pub", "typed", "--send-on", "newline"]));
    let mut keyboard = publisher.stdin();
    for line in ["first", "second", "third"] {
        writeln!(keyboard, "{line}").unwrap();
        assert_eq!(stream.line().as_deref(), Some(line));
    }
    drop(keyboard);
    assert_eq!(publisher.finish().stderr, "published 3 messages to typed (sequence 1 to 3)\n");
}

#[test]
fn headers_and_the_id_go_with_every_message() {
    let folder = Folder::new();
    let args = ["pub", "a", "--send-on", "newline", "-H", "Trace: 1", "-H", "Other:x:y", "-H", "Trace:  2"];
    folder.run_with(&args, b"one\ntwo\n");
    let json = folder.run(&["sub", "a", "--from", "oldest", "--json", "--count", "2"]);
    let headers = "\"headers\":[[\"Trace\",\"1\"],[\"Other\",\"x:y\"],[\"Trace\",\" 2\"]]";
    assert_eq!(json.text().matches(headers).count(), 2, "{}", json.text());
}

#[test]
fn the_file_is_the_option_or_the_variable_or_the_default() {
    let folder = Folder::new();
    let run = |command| Running::start(command).finish();
    assert_eq!(run(folder.bare(&["pub", "a", "x"])).code, Some(0));
    let mut by_variable = folder.bare(&["pub", "a", "x"]);
    by_variable.env("ROWBUS_DB", "variable.db");
    assert_eq!(run(by_variable).code, Some(0));
    let mut by_option = folder.bare(&["--db", "option.db", "pub", "a", "x"]);
    by_option.env("ROWBUS_DB", "other.db");
    assert_eq!(run(by_option).code, Some(0));
    for (name, there) in
        [("rowbus.db", true), ("variable.db", true), ("option.db", true), ("other.db", false)]
    {
        assert_eq!(folder.path().join(name).exists(), there, "{name}");
    }
}
