//! `rowbus top`, as somebody sees it who sits before a terminal.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rowbus::rusqlite::Connection;

use crate::support::{Folder, Running, until};
use crate::terminal::Terminal;

/// A process that publishes without an end, until this is dropped.
struct Publisher {
    is_over: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
    running: Option<Running>,
}

impl Publisher {
    fn start(folder: &Folder, subject: &str) -> Self {
        let mut running =
            Running::start(folder.command(&["pub", subject, "--send-on", "newline", "--quiet"]));
        let (mut stdin, is_over) = (running.stdin(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_over);
        let writer = std::thread::spawn(move || {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) && writeln!(stdin, "message {number}").is_ok() {
                number += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { is_over, writer: Some(writer), running: Some(running) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        drop(self.running.take());
    }
}

fn top(folder: &Folder) -> Terminal {
    Terminal::start(folder, &["top", "--interval", "100ms"], 120, 36)
}

/// The line of the screen that has this.
fn line<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap_or_default()
}

/// What stands in this line at the place of the rate, behind the name.
fn rate(text: &str, subject: &str) -> f64 {
    let (_, rest) = line(text, subject).split_once(subject).unwrap_or_default();
    rest.split_whitespace().next().and_then(|word| word.replace(',', "").parse().ok()).unwrap_or(0.0)
}

#[test]
fn a_subject_has_a_rate_while_another_process_publishes_on_it() {
    let folder = Folder::new();
    folder.publish("quiet.one", b"x");
    let publisher = Publisher::start(&folder, "orders.created");
    let mut terminal = top(&folder);
    terminal.until("a rate", |text| rate(text, "orders.created") > 0.0);
    let text = terminal.until_it_has(&["quiet.one", "Consumers 0", "wake p99   ≤"]);
    assert_eq!(rate(&text, "quiet.one"), 0.0, "{text}");
    // Both processes are peers of each other.
    terminal.until_it_has(&["Peers 2", "rowbus top"]);
    drop(publisher);
    terminal.until("no rate", |text| rate(text, "orders.created") == 0.0);
    terminal.press("q");
    assert_eq!(terminal.finish(), 0);
    terminal.assert_given_back();
}

#[test]
fn lists_are_filtered_sorted_and_paused_by_keys() {
    let folder = Folder::new();
    for (subject, times) in [("a.few", 1), ("b.many", 3)] {
        for _ in 0..times {
            folder.publish(subject, b"x");
        }
    }
    let mut terminal = top(&folder);
    terminal.until_it_has(&["a.few", "b.many", "by rate"]);
    let a_is_first = |text: &str| text.find("a.few") < text.find("b.many");
    terminal.press("ss");
    terminal.until("the most seen first", |text| text.contains("by seen ▼") && !a_is_first(text));
    terminal.press("s");
    terminal.until("by name", |text| text.contains("by name ▼") && a_is_first(text));
    terminal.press("S");
    terminal.until("turned around", |text| text.contains("by name ▲") && !a_is_first(text));
    terminal.press("/many\r");
    terminal.until("filtered", |text| text.contains("like many") && !text.contains("a.few"));
    terminal.press("\x1b");
    terminal.until_it_has(&["a.few"]);
    terminal.press("p");
    terminal.until_it_has(&["PAUSED"]);
    // Another one looks again and again meanwhile, each time for what was not there before.
    let other = top(&folder);
    for subject in ["c.later", "d.later", "e.later", "f.later"] {
        folder.publish(subject, b"x");
        other.until_it_has(&[subject]);
    }
    drop(other);
    // This one reads no more: a key is drawn, and nothing new is there.
    terminal.press("?");
    let text = terminal.until_it_has(&["another list"]);
    assert!(!text.contains(".later"), "{text}");
    terminal.press("?p");
    let text = terminal.until_it_has(&["c.later"]);
    assert!(!text.contains("PAUSED"), "{text}");
}

#[test]
fn what_lags_waits_and_was_published_is_drawn_with_its_bars_and_curves() {
    let folder = Folder::new();
    folder.publish("orders.created", b"x");
    let member = folder.run(&["sub", "orders.>", "--durable", "mailer", "--ack", "--count", "1", "--quiet"]);
    assert_eq!(member.code, Some(0), "{member:?}");
    folder.enqueue(&["mail.send", "x", "--delay", "1h", "--quiet"]);
    // Long enough between two looks for a test that is held up to see a curve before it has passed.
    let mut terminal = Terminal::start(&folder, &["top", "--interval", "500ms"], 120, 36);
    let text = terminal.until_it_has(&["Consumers 1", "mailer", "scheduled"]);
    // The lists are at the left of the facts.
    let listed = |text: &str, name: &str| line(text, name).chars().take(80).collect::<String>();
    let fact = |text: &str, name: &str| {
        let mut lines = text.lines();
        let rest = lines.find_map(|line| line.split_once(&format!("│ {name} ")).map(|(_, rest)| rest));
        rest.unwrap_or_default().trim_start().to_owned()
    };
    let has_bar = |line: &str| line.contains(['━', '╸']);
    let has_curve = |line: &str| line.contains(['▁', '▂', '▃', '▄', '▅', '▆', '▇']);
    assert!(!has_bar(&listed(&text, "mailer")) && !has_curve(&listed(&text, "orders.created")), "{text}");
    let (scheduled, ready) = (fact(&text, "scheduled"), fact(&text, "ready"));
    assert!(scheduled.starts_with("1 ") && has_bar(&scheduled), "{text}");
    assert!(ready.starts_with("0 ") && !has_bar(&ready), "{text}");
    assert_eq!(folder.run(&["pub", "orders.created", "x", "--count", "500"]).code, Some(0));
    terminal.until("a burst", |text| has_curve(&listed(text, "orders.created")));
    terminal.until("what the consumer has not read", |text| {
        let consumer = listed(text, "mailer");
        consumer.contains(" 500 ") && has_bar(&consumer) && consumer.contains(" idle ")
    });
    let is_some = |size: String| size.starts_with(|first: char| ('1'..='9').contains(&first));
    terminal.until("the file", |text| {
        fact(text, "events").starts_with("501 ") && is_some(fact(text, "size")) && is_some(fact(text, "WAL"))
    });
    terminal.press("q");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn a_subject_is_looked_into_and_payloads_cannot_reach_the_terminal() {
    let folder = Folder::new();
    folder.publish("notes", b"first\nsecond \x1b[31mline\x07");
    folder.publish("notes", b"\xff\x00\x1b]0;gotcha\x07");
    let mut terminal = top(&folder);
    terminal.until_it_has(&["notes"]);
    terminal.press("\r");
    terminal.until_it_has(&["Message 2", "of bytes", "ff 00 1b 5d", "...]0;gotcha."]);
    terminal.press("j");
    terminal.until_it_has(&["Message 1", "of text", "│ first ", "│ second \\u{1b}[31mline\\u{7}"]);
    terminal.press("x");
    terminal.until_it_has(&["00000000  66 69 72 73 74"]);
    // What comes meanwhile is there at once, and the chosen message stays.
    folder.publish("notes", b"a third one");
    terminal.until_it_has(&["a third one", "Message 1"]);
    terminal.press("\x1b");
    terminal.until_it_has(&["Subjects by rate"]);
}

#[test]
fn a_dead_letter_is_requeued_after_a_question() {
    let folder = Folder::new();
    folder.enqueue(&["mail.send", "to: nobody", "--max-attempts", "1", "--quiet"]);
    let args = ["mail.send", "--command", "echo no such mailbox >&2; exit 75", "--count", "1"];
    assert_eq!(folder.serve(&args).finish().code, Some(0));
    let mut terminal = top(&folder);
    terminal.until_it_has(&["Dead letters 1", "mail.send", "exhausted: no such mailbox"]);
    terminal.press("\t\t\r");
    terminal.until_it_has(&["Dead letter 1", "attempt 1: no such mailbox", "to: nobody"]);
    terminal.press("r");
    terminal.until_it_has(&["Have dead letter 1 on mail.send tried again?"]);
    terminal.press("n");
    terminal.until_it_has(&["dead letter 1 stays"]);
    assert_eq!(folder.number("SELECT count(*) FROM bus_dead_letters"), 1);
    terminal.press("ry");
    terminal.until_it_has(&["requeued dead letter 1"]);
    assert_eq!(folder.number("SELECT count(*) FROM bus_dead_letters"), 0);
    assert_eq!(folder.number("SELECT count(*) FROM bus_requests WHERE state = 'ready'"), 1);
    terminal.press("\x1b");
    terminal.until_it_has(&["no dead letters"]);
}

#[test]
fn every_way_to_end_gives_the_terminal_back() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    let ends: [(&str, u32); 5] = [("q", 0), ("\x03", 0), ("TERM", 0), ("INT", 0), ("HUP", 0)];
    for (end, code) in ends {
        let mut terminal = top(&folder);
        terminal.until_it_has(&["rowbus top", "Subjects"]);
        assert!(terminal.screen().alternate_screen());
        match end {
            "TERM" | "INT" | "HUP" => {
                let mut kill = std::process::Command::new("kill");
                assert!(
                    kill.args([format!("-{end}"), terminal.id().to_string()]).status().unwrap().success()
                );
            }
            keys => terminal.press(keys),
        }
        assert_eq!(terminal.finish(), code, "{end:?}");
        terminal.assert_given_back();
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_gives_the_terminal_back_and_is_told() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    let environment = [("RUST_BACKTRACE", "0")];
    let mut terminal = Terminal::start_with(&folder, &["top", "--panic"], 120, 36, &environment);
    assert_eq!(terminal.finish(), 101);
    terminal.assert_given_back();
    terminal.until_it_has(&["asked to panic"]);
}

#[test]
fn any_size_will_do_and_another_one_is_drawn_at_once() {
    let folder = Folder::new();
    folder.publish("orders.created", b"x");
    let mut terminal = Terminal::start(&folder, &["top", "--interval", "100ms"], 20, 5);
    terminal.until_it_has(&["SUBJECT", "orders.cr"]);
    for (columns, rows, shows) in [
        (120, 40, "Published"),
        (1, 1, ""),
        (80, 24, "Dead letters"),
        (3, 50, ""),
        (30, 12, "orders.created"),
    ] {
        terminal.resize(columns, rows);
        terminal.until_it_has(&[shows]);
    }
    terminal.press("q");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn no_color_is_respected() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    let has_colours = |environment: &[(&str, &str)]| {
        let terminal = Terminal::start_with(&folder, &["top"], 120, 36, environment);
        terminal.until_it_has(&["Subjects", "Peers 1"]);
        let screen = terminal.screen();
        let mut places = (0..36).flat_map(|row| (0..120).map(move |column| (row, column)));
        places.any(|(row, column)| {
            screen.cell(row, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
        })
    };
    assert!(has_colours(&[]));
    assert!(!has_colours(&[("NO_COLOR", "1")]));
}

#[test]
fn a_file_that_goes_comes_back_or_is_replaced_is_told_in_a_line() {
    let folder = Folder::new();
    folder.publish("old.one", b"x");
    let mut terminal = Terminal::start(&folder, &["top", "--interval", "100ms", "--read-only"], 120, 36);
    terminal.until_it_has(&["old.one"]);
    let away = folder.path().join("away.db");
    std::fs::rename(folder.db(), &away).unwrap();
    terminal.until_it_has(&["! ", "there is no such file", "old.one"]);
    std::fs::rename(&away, folder.db()).unwrap();
    terminal.until("no trouble", |text| !text.contains("there is no such file"));
    std::fs::rename(folder.db(), &away).unwrap();
    folder.publish("new.one", b"x");
    terminal.until("another file", |text| text.contains("new.one") && !text.contains("old.one"));
    std::fs::write(folder.db(), "these are notes").unwrap();
    terminal.until_it_has(&["! ", "no SQLite database"]);
    terminal.press("q");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn a_file_that_another_program_writes_to_is_looked_at_and_requeueing_is_refused() {
    let folder = Folder::new();
    folder.enqueue(&["mail.send", "x", "--max-attempts", "1", "--quiet"]);
    assert_eq!(folder.serve(&["mail.send", "--command", "exit 75", "--count", "1"]).finish().code, Some(0));
    let mut terminal = top(&folder);
    terminal.until_it_has(&["Dead letters 1", "mail.send"]);
    let host = Connection::open(folder.db()).unwrap();
    until("the lock", || host.execute_batch("BEGIN IMMEDIATE").is_ok());
    host.execute("INSERT INTO bus_events (subject, data) VALUES ('not.yet', 'x')", []).unwrap();
    terminal.press("\t\try");
    // Keys are heard while it waits for the lock.
    terminal.press("?");
    terminal.until_it_has(&["another list"]);
    terminal.press("?");
    let text = terminal.until_it_has(&["locked"]);
    assert!(!text.contains("not.yet"), "{text}");
    host.execute_batch("COMMIT").unwrap();
    terminal.until_it_has(&["not.yet"]);
    terminal.press("ry");
    terminal.until_it_has(&["requeued dead letter 1"]);
    terminal.press("q");
    assert_eq!(terminal.finish(), 0);
    terminal.assert_given_back();
}

#[test]
fn looking_writes_nothing_and_is_no_peer_if_it_is_read_only() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    let before = std::fs::read(folder.db()).unwrap();
    let mut terminal = Terminal::start(&folder, &["top", "--interval", "100ms", "--read-only"], 120, 36);
    let text = terminal.until_it_has(&["Subjects", "Peers 0"]);
    assert!(text.contains("wake p50   -"), "{text}");
    terminal.press("\t\tr");
    terminal.until_it_has(&["choose a dead letter"]);
    terminal.press("q");
    assert_eq!(terminal.finish(), 0);
    assert!(std::fs::read(folder.db()).unwrap() == before);
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with("-wal")), "{names:?}");
}

#[test]
fn without_a_terminal_or_with_a_wrong_interval_it_is_refused() {
    let folder = Folder::new();
    folder.publish("a", b"x");
    let refusal = folder.run(&["top"]).refusal(2).to_owned();
    assert!(refusal.contains("terminal") && refusal.contains("stats --watch"), "{refusal}");
    for interval in ["0s", "10ms", "soon"] {
        folder.run(&["top", "--interval", interval]).refusal(2);
    }
    let mut dumb = Terminal::start_with(&folder, &["top"], 120, 36, &[("TERM", "dumb")]);
    assert_eq!(dumb.finish(), 2);
    assert!(dumb.until_it_has(&["`rowbus stats --watch` writes lines"]).starts_with("rowbus: "));
    let folder = Folder::new();
    let mut terminal = Terminal::start(&folder, &["top"], 80, 24);
    assert_eq!(terminal.finish(), 1);
    terminal.until_it_has(&["rowbus: ", "there is no such file"]);
    assert!(!folder.db().exists());
}
