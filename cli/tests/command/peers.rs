//! `rowbus peers`: who has the file open.

use std::time::Instant;

use crate::support::{Folder, PATIENCE};

/// Runs the command until others are there to be seen: they say so a moment after they have begun.
fn peers_when(folder: &Folder, args: &[&str], count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let finished = folder.run(args);
        let lines: Vec<_> = String::from_utf8(finished.stdout).unwrap().lines().map(str::to_owned).collect();
        if lines.len() == count && finished.code == Some(if count == 0 { 3 } else { 0 }) {
            return lines;
        }
        assert!(start.elapsed() < PATIENCE, "{lines:?} {}", finished.stderr);
    }
}

#[test]
fn a_stream_is_listed_until_it_is_killed() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["pub", "a", "b"]).code, Some(0));
    let mut stream = folder.stream(&[">"]);
    let json = peers_when(&folder, &["peers", "--json"], 1);
    let version = env!("CARGO_PKG_VERSION");
    assert!(json[0].contains("\"name\":\"rowbus\"") && json[0].ends_with("\"serves\":[]}"), "{json:?}");
    assert!(json[0].contains(&format!("\"pid\":{},\"version\":\"{version}\"", stream.id())), "{json:?}");
    let table = peers_when(&folder, &["peers"], 2);
    assert!(table[0].starts_with("NAME") && table[1].starts_with("rowbus"), "{table:?}");
    stream.kill();
    // At once: the lock has gone with the process.
    let finished = folder.run(&["peers"]);
    assert_eq!((finished.code, finished.stdout.len()), (Some(3), 0));
    assert!(finished.stderr.contains("nobody else has it open"), "{}", finished.stderr);
}

#[test]
fn looking_for_peers_makes_no_file() {
    let folder = Folder::new();
    let finished = folder.run(&["peers"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("there is no such file"), "{}", finished.stderr);
    assert!(!folder.db().exists());
}
