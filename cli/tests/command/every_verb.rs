//! What goes wrong, for each verb there is: one line, the right exit code, and nothing is written.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rowbus::rusqlite::Connection;

use crate::migrating::newer;
use crate::support::{Finished, Folder, Running};
use crate::verbs;

/// What a verb does with the file of `--db`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It has no use for it.
    None,
    /// It makes a folder of its own beside it.
    Beside,
    /// It looks at it, and writes nothing.
    Looks,
    /// It opens a bus on it, which has to be there.
    Opens,
    /// It makes it if there is none.
    Makes,
}

/// A line that ends by itself on a bus with an event on `a`, and what becomes of it where another program holds the lock.
pub struct Verb {
    pub line: &'static str,
    pub uses: Use,
    /// It has to write, and gives up.
    writes: bool,
    /// How it ends where nobody reads what it prints: 0 if it has done what it is for, or only showed what can be shown again; what is
    /// not there is told by another code as ever.
    unread: i32,
}

const fn verb(line: &'static str, uses: Use, writes: bool, unread: i32) -> Verb {
    Verb { line, uses, writes, unread }
}

/// Each verb once.
pub const VERBS: [Verb; 46] = [
    verb("pub a x", Use::Makes, true, 0),
    verb("sub a --from oldest --count 1", Use::Makes, false, 1),
    verb("request a x --timeout 100ms", Use::Makes, false, 3),
    verb("serve a --command true --count 1", Use::Makes, false, 0),
    verb("enqueue a x", Use::Makes, true, 1),
    verb("import lines.jsonl", Use::Makes, true, 0),
    verb("job show an-id", Use::Opens, false, 3),
    verb("job cancel an-id", Use::Opens, true, 3),
    verb("job reply an-id", Use::Opens, false, 3),
    verb("dead ls", Use::Opens, false, 3),
    verb("dead show 1", Use::Opens, false, 3),
    verb("dead requeue 1", Use::Opens, true, 3),
    verb("dead purge 1", Use::Opens, true, 3),
    verb("consumer ls", Use::Opens, false, 0),
    verb("consumer info m", Use::Opens, false, 0),
    verb("consumer seek m oldest", Use::Opens, true, 0),
    verb("consumer rm m", Use::Opens, true, 0),
    verb("consumer pause m", Use::Opens, true, 0),
    verb("consumer resume m", Use::Opens, true, 0),
    verb("retention show", Use::Opens, false, 0),
    verb("retention set b --max-age 1d", Use::Opens, true, 0),
    verb("retention rm b", Use::Opens, true, 3),
    verb("retention dead-letters 1d", Use::Opens, true, 0),
    verb("retention prune", Use::Opens, true, 0),
    verb("peers", Use::Opens, false, 3),
    verb("backup copy.db", Use::Opens, false, 0),
    verb("bridge --to nats://127.0.0.1:1 --filter a --once --wait 100ms", Use::Makes, true, 3),
    verb("stats", Use::Looks, false, 0),
    // In a pipe it looks whether there is a bus, and then for a terminal in vain.
    verb("top", Use::Looks, false, 2),
    verb("doctor", Use::Looks, false, 0),
    verb("export", Use::Looks, false, 1),
    verb("migrate status", Use::Looks, false, 0),
    verb("migrate verify", Use::Looks, false, 0),
    verb("migrate up", Use::Opens, false, 0),
    verb("migrate sql", Use::None, false, 0),
    verb("salvage nothing.db new.db", Use::None, false, 1),
    verb("completions bash", Use::None, false, 0),
    verb("bench pub --messages 1", Use::Beside, false, 0),
    verb("bench sub --messages 1", Use::Beside, false, 0),
    verb("bench latency --messages 1 --pause 1ms", Use::Beside, false, 0),
    verb("bench rpc --messages 1", Use::Beside, false, 0),
    verb("bench queue --messages 1 --compare raw", Use::Beside, false, 0),
    // The same verbs where they do something else.
    verb("sub --durable m --wait 100ms", Use::Makes, true, 0),
    verb("export --dead", Use::Looks, false, 3),
    verb("doctor --json", Use::Looks, false, 0),
    verb("stats --json", Use::Looks, false, 0),
];

impl Verb {
    pub fn args(&self) -> Vec<&'static str> {
        self.line.split(' ').collect()
    }

    fn opens(&self) -> bool {
        matches!(self.uses, Use::Opens | Use::Makes)
    }
}

fn that(uses: impl Fn(&Verb) -> bool) -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(move |verb| uses(verb))
}

fn folder() -> Folder {
    let folder = Folder::new();
    lines(&folder);
    folder
}

fn lines(folder: &Folder) {
    fs::write(
        folder.path().join("lines.jsonl"),
        "{\"subject\":\"a\",\"time\":\"2026-11-23T07:05:00Z\",\"data\":\"x\"}\n",
    )
    .unwrap();
}

/// A bus with an event, and a consumer.
fn bus() -> Folder {
    let folder = folder();
    folder.publish("a", b"x");
    assert_eq!(folder.run(&["sub", "a", "--durable", "m", "--count", "1", "-q"]).code, Some(0));
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // The sidecar of turns stays where a bus was opened.
    names.retain(|name| name != "bus.db-bell");
    names.sort();
    names
}

/// One line that says why; `doctor` and `--json` may have said it on standard output as well.
#[track_caller]
fn failed<'a>(verb: &Verb, finished: &'a Finished) -> &'a str {
    assert_eq!(finished.code, Some(1), "{}: {finished:?}", verb.line);
    assert!(finished.stdout.is_empty() || verb.line.starts_with("doctor"), "{}: {finished:?}", verb.line);
    let line = finished.stderr.strip_suffix('\n').unwrap_or_default();
    assert!(!line.contains('\n') && !line.contains("panicked"), "{}: {finished:?}", verb.line);
    line.strip_prefix("rowbus: ").unwrap_or_else(|| panic!("{}: {finished:?}", verb.line))
}

#[test]
fn the_table_has_every_verb() {
    let folder = Folder::new();
    for name in verbs::runnable(&folder) {
        let is_there = VERBS.iter().any(|verb| format!("{} ", verb.line).starts_with(&format!("{name} ")));
        assert!(is_there, "`rowbus {name}` has no line here");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_and_not_made() {
    let folder = folder();
    for verb in that(|verb| matches!(verb.uses, Use::Opens | Use::Looks)) {
        let finished = folder.run(&verb.args());
        assert!(failed(verb, &finished).contains("there is no such file"), "{}: {finished:?}", verb.line);
    }
    for verb in that(|verb| !matches!(verb.uses, Use::None)) {
        let mut command = folder.bare(&["--db", "missing/bus.db"]);
        command.args(verb.args());
        let mut running = Running::start(command);
        running.write(b"");
        let finished = running.finish();
        assert!(failed(verb, &finished).contains("missing"), "{}: {finished:?}", verb.line);
    }
    assert_eq!(names(folder.path()), ["lines.jsonl"]);
}

#[test]
fn a_file_that_is_no_database_is_told_and_left_alone() {
    let folder = folder();
    let notes = "these are notes, and they are longer than nothing at all\n".repeat(20);
    fs::write(folder.db(), &notes).unwrap();
    for verb in that(|verb| verb.opens() || verb.uses == Use::Looks) {
        let finished = folder.run(&verb.args());
        let said = format!("{}{}", failed(verb, &finished), finished.text());
        assert!(said.contains("no SQLite database"), "{}: {finished:?}", verb.line);
    }
    assert_eq!(fs::read_to_string(folder.db()).unwrap(), notes);
    assert_eq!(names(folder.path()), ["bus.db", "lines.jsonl"]);
}

#[test]
fn a_database_without_a_bus_is_told_and_left_alone() {
    let folder = folder();
    let host = Connection::open(folder.db()).unwrap();
    host.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE customers (name TEXT)").unwrap();
    drop(host);
    let before = fs::read(folder.db()).unwrap();
    // These two are for making it one.
    let concerned = |verb: &Verb| verb.opens() || verb.uses == Use::Looks;
    for verb in that(|verb| concerned(verb) && !["migrate status", "migrate up"].contains(&verb.line)) {
        let finished = folder.run(&verb.args());
        let said = format!("{}{}", failed(verb, &finished), finished.text());
        let is_told = said.contains("there is no bus in this file") || said.contains("lacks migration");
        assert!(is_told, "{}: {finished:?}", verb.line);
    }
    assert!(fs::read(folder.db()).unwrap() == before);
    assert_eq!(names(folder.path()), ["bus.db", "lines.jsonl"]);
}

#[test]
fn a_file_that_is_too_new_is_told_and_left_alone() {
    let folder = newer(99, 99);
    lines(&folder);
    let before = fs::read(folder.db()).unwrap();
    for verb in that(|verb| (verb.opens() || verb.uses == Use::Looks) && verb.line != "migrate status") {
        let finished = folder.run(&verb.args());
        let said = format!("{}{}", failed(verb, &finished), finished.text());
        assert!(said.contains("must know migration 99"), "{}: {finished:?}", verb.line);
    }
    assert!(fs::read(folder.db()).unwrap() == before);
    assert_eq!(names(folder.path()), ["bus.db", "lines.jsonl"]);
}

#[test]
fn a_file_that_is_locked_is_told_by_those_that_write_and_read_by_the_others() {
    let folder = bus();
    let host = Connection::open(folder.db()).unwrap();
    host.execute_batch("BEGIN IMMEDIATE").unwrap();
    let rows = "SELECT (SELECT count(*) FROM bus_events) + (SELECT count(*) FROM bus_requests)";
    let count = || host.query_row(rows, [], |row| row.get::<_, i64>(0)).unwrap();
    let before = count();
    let busy: Vec<_> = that(|verb| verb.writes).map(|verb| (verb, running(&folder, verb))).collect();
    for verb in that(|verb| verb.uses == Use::Looks) {
        let finished = folder.run(&verb.args());
        assert!(!finished.stderr.contains("locked"), "{}: {finished:?}", verb.line);
        assert!(finished.stderr.lines().count() <= 1, "{}: {finished:?}", verb.line);
    }
    for (verb, running) in busy {
        let finished = running.finish();
        assert_eq!(finished.code, Some(1), "{}: {finished:?}", verb.line);
        // A `sub` has said before what it streams.
        let line = finished.stderr.lines().last().unwrap_or_default();
        assert!(line.starts_with("rowbus: ") && line.contains("locked"), "{}: {finished:?}", verb.line);
    }
    assert_eq!(count(), before);
}

fn running(folder: &Folder, verb: &Verb) -> Running {
    let mut running = Running::start(folder.command(&verb.args()));
    running.write(b"");
    running
}

#[test]
fn what_is_not_there_has_an_exit_code_of_its_own() {
    let folder = bus();
    let newest = rowbus::sqlite::migrations().len();
    for line in [
        "sub b --wait 100ms",
        "sub --durable m --ack --count 2 --wait 100ms",
        "request a x --timeout 100ms",
        "request a x --if-served",
        "job show an-id",
        "job cancel an-id",
        "job reply an-id",
        "dead ls",
        "dead show 1",
        "dead requeue 1",
        "dead requeue --all a",
        "dead purge 1",
        "dead purge --all a --yes",
        "export b",
        "export --dead",
        "consumer info nobody",
        "consumer seek nobody oldest",
        "consumer rm nobody",
        "consumer pause nobody",
        "consumer resume nobody",
        "retention rm b",
        "peers",
        &format!("migrate sql --from {newest}"),
    ] {
        let finished = folder.run(&[&line.split(' ').collect::<Vec<_>>()[..], &["-q"]].concat());
        assert_eq!(finished.code, Some(3), "{line}: {finished:?}");
        assert!(
            finished.stderr.starts_with("rowbus: ") && finished.stderr.lines().count() == 1,
            "{line}: {finished:?}"
        );
    }
    assert_eq!(folder.run(&["consumer", "rm", "m"]).code, Some(0));
    assert_eq!(folder.run(&["consumer", "ls"]).code, Some(3));
}

#[test]
fn a_reader_that_is_gone_has_each_verb_end_with_its_code_and_one_line_at_most() {
    let mut wrong = Vec::new();
    for verb in &VERBS {
        let folder = bus();
        // For a server to do.
        assert_eq!(folder.run(&["enqueue", "a", "x", "-q"]).code, Some(0));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = folder.command(&verb.args());
        command.stdin(Stdio::null()).stdout(writer);
        let ended = command.output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        let lines = stderr.lines().filter(|line| line.starts_with("rowbus: ")).count();
        // A failure says why, and who had something in hand by then may say that it is given back.
        let is_told = lines <= 1 && (verb.unread == 0 || lines == 1) && !stderr.contains("panicked");
        if ended.status.code() != Some(verb.unread) || !is_told {
            wrong.push(format!("{}: {:?} {stderr}", verb.line, ended.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_coloured_where_there_is_no_terminal() {
    let folder = bus();
    for verb in that(|verb| !verb.line.starts_with("serve") && verb.uses != Use::None) {
        let finished = folder.run(&verb.args());
        let both = [finished.stdout.as_slice(), finished.stderr.as_bytes()].concat();
        assert!(!both.contains(&0x1b), "{}: {finished:?}", verb.line);
    }
}
