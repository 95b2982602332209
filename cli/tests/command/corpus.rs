//! A log as it comes in real life: this repository's history and sources, with whatever lines those have.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lines of the log, at least and at most.
const LINES: std::ops::Range<usize> = 50_000..60_000;
/// More of the history is not needed.
const HISTORY: u64 = 8 << 20;

/// Lines, each with its number in front, so that one that is lost, repeated or moved is seen.
pub fn real_log() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut text = history(&root);
    for place in ["src", "cli/src", "cli/tests", "migrations", "docs", "DESIGN.md", "README.md", "Cargo.toml"]
    {
        sources(&root.join(place), &mut text);
    }
    if text.is_empty() {
        // The tests were moved away from the sources.
        text = include_bytes!("corpus.rs").to_vec();
    }
    let lines = || text.split(|byte| *byte == b'\n').filter(|line| line.len() < 64 << 10);
    let mut numbered = Vec::new();
    while numbered.len() < LINES.start {
        for line in lines().take(LINES.end - numbered.len()) {
            let mut text = format!("{} ", numbered.len() + 1).into_bytes();
            text.extend_from_slice(line);
            numbered.push(text);
        }
    }
    numbered
}

/// The lines as a file has them.
pub fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut all = Vec::new();
    for line in lines {
        all.extend_from_slice(line);
        all.push(b'\n');
    }
    all
}

/// What git tells of the history; nothing in an unpacked archive, or where there is no git.
fn history(root: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["log", "-p", "--no-color", "--no-ext-diff", "--max-count=500"]);
    let child = git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    if let Ok(mut child) = child {
        if let Some(pipe) = child.stdout.take() {
            let _ = pipe.take(HISTORY).read_to_end(&mut text);
        }
        let _ = child.wait();
    }
    text
}

fn sources(place: &Path, text: &mut Vec<u8>) {
    if let Ok(entries) = std::fs::read_dir(place) {
        entries.flatten().for_each(|entry| sources(&entry.path(), text));
    } else if let Ok(file) = std::fs::read(place) {
        text.extend(file);
    }
}
