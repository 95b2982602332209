//! A log of tens of thousands of lines through the command.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::corpus::{joined, real_log};
use crate::support::{Folder, Running};

#[test]
fn two_streams_print_a_log_that_is_published_by_lines_byte_for_byte() {
    let folder = Folder::new();
    let log = real_log();
    let (count, input) = (log.len().to_string(), joined(&log));
    let streams: Vec<_> =
        (0..2).map(|_| folder.stream(&["log.>", "--raw", "--count", count.as_str()])).collect();
    let readers: Vec<_> = streams.into_iter().map(|stream| std::thread::spawn(|| stream.finish())).collect();

    let published = folder.run_with(&["pub", "log.app", "--send-on", "newline"], &input);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert_eq!(published.stderr, format!("published {count} messages to log.app (sequence 1 to {count})\n"));

    for reader in readers {
        let finished = reader.join().unwrap();
        assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
        // Not with `assert_eq`, which would print them.
        assert!(finished.stdout == input, "{} bytes of {}", finished.stdout.len(), input.len());
    }
}

#[test]
fn a_stream_that_was_killed_and_goes_on_after_its_last_whole_line_has_every_line_once() {
    let folder = Folder::new();
    let log = real_log();
    let mut first = folder.stream(&["log.app", "--json", "--from", "oldest"]);
    let mut publisher =
        Running::start(folder.command(&["pub", "log.app", "--send-on", "newline", "--relaxed"]));
    publisher.write(&joined(&log));

    let mut seen = BTreeMap::new();
    let mut stdout = BufReader::new(first.stdout());
    let mut line = String::new();
    // The end comes in the midst of whatever the kill has cut.
    while stdout.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        take(&mut seen, &line);
        line.clear();
        if seen.len() == log.len() / 2 {
            first.kill();
        }
    }
    assert_eq!(first.wait(), None);
    assert!(seen.len() >= log.len() / 2);

    let (last, left) = (seen.keys().next_back().unwrap() + 1, log.len() - seen.len());
    // Should the pipe have taken all of it before the kill, there is nothing to go on with.
    if left > 0 {
        let (from, left) = (last.to_string(), left.to_string());
        let rest = folder.stream(&["log.app", "--json", "--from", &*from, "--count", &*left]).finish();
        assert_eq!((rest.code, &*rest.stderr), (Some(0), ""));
        rest.text().lines().for_each(|line| take(&mut seen, line));
    }
    assert_eq!(publisher.finish().code, Some(0));
    assert!(seen.into_values().eq(log));
}

/// Remembers a line of JSON by its sequence, which is to be a new one.
fn take(seen: &mut BTreeMap<u64, Vec<u8>>, line: &str) {
    let message: Value = serde_json::from_str(line).unwrap();
    let data = match message["data"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => BASE64_STANDARD.decode(message["data_base64"].as_str().unwrap()).unwrap(),
    };
    let sequence = message["sequence"].as_u64().unwrap();
    assert!(seen.insert(sequence, data).is_none(), "sequence {sequence} came twice");
}
