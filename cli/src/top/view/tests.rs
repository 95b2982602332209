//! What is drawn of a state.

use std::time::Duration;

use chrono::DateTime;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use rowbus::{ConsumerInfo, ConsumerSettings, DeadLetter, DeadSource, Failure, Headers, Message, Subject};

use super::*;
use crate::top::collect::{Ask, Told};
use crate::top::keys::Deed;
use crate::top::snapshot::{Counted, OnSubject, PeerLine, Published, Snapshot};

const COLOURS: Theme = Theme { has_colours: true };

fn exact(count: u64) -> Counted {
    Counted { count, is_exact: true }
}

/// A file on which something happens.
fn snapshot(events: f64) -> Snapshot {
    let now = DateTime::from_timestamp_millis(1_795_417_500_000).unwrap();
    let on =
        |subject: &str, events: f64| OnSubject { subject: subject.to_owned(), events, bytes: events * 100.0 };
    let mut mailer = ConsumerInfo::new("mailer", ConsumerSettings::default(), now);
    (mailer.num_pending, mailer.lag_millis, mailer.members) = (1_200, 90_000, Some(2));
    let mut index = ConsumerInfo::new("index", ConsumerSettings::default(), now);
    (index.num_pending, index.members) = (3, Some(0));
    let job = DeadSource::Job(rowbus::JobId::from("an-id".to_owned()));
    let mut letter = DeadLetter::new(17, job, Subject::new("mail.send").unwrap(), "exhausted");
    letter.failures.push(Failure::new(1, now, "no such \x1b[31mmailbox"));
    letter.payload = "to: nobody".into();
    letter.died_at = now - chrono::TimeDelta::minutes(5);
    Snapshot {
        time: now,
        since: Some(Duration::from_secs(1)),
        file_bytes: 5 << 20,
        wal_bytes: 3 << 20,
        events: Counted { count: 10_000, is_exact: false },
        jobs: vec![("ready", exact(12)), ("leased", exact(0))],
        dead: exact(1),
        letters: vec![letter],
        consumers: vec![index, mailer],
        peers: Some(vec![PeerLine { name: "tray".to_owned(), pid: 4711, serves: 1 }]),
        incarnation: Some("one".to_owned()),
        published: Published {
            through: 20_000,
            events: events as u64 + 5,
            subjects: vec![on("orders.created", events), on("mail\x1b[2J", 5.0)],
        },
        ..Snapshot::default()
    }
}

fn state() -> State {
    let mut state = State::new("app.db", false);
    for events in [10.0, 40.0, 20.0] {
        state.hear(Told::Looked(Box::new(snapshot(events))));
    }
    state.hear(Told::Woken(Duration::from_micros(700)));
    state
}

fn press(state: &mut State, keys: &str) -> Deed {
    let key = |character| match character {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\x1b' => KeyCode::Esc,
        character => KeyCode::Char(character),
    };
    let deeds = keys.chars().map(|character| state.press(KeyEvent::new(key(character), KeyModifiers::NONE)));
    deeds.last().unwrap()
}

fn terminal(state: &State, theme: Theme, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(state, theme, frame)).unwrap();
    terminal
}

fn drawn(state: &State, width: u16, height: u16) -> String {
    terminal(state, COLOURS, width, height).backend().to_string()
}

#[track_caller]
fn assert_has(screen: &str, parts: &[&str]) {
    for part in parts {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
}

#[test]
fn a_wide_screen_shows_everything() {
    let screen = drawn(&state(), 120, 40);
    assert_has(&screen, &["rowbus top", "app.db", "25/s", "peak 45/s", "07:05:00 UTC", "? help"]);
    assert_has(&screen, &["Subjects by rate ▼", "orders.created", "20", "2.0 KiB", "70", "▂▇▄"]);
    assert_has(&screen, &["Consumers 2", "mailer", "1,200", "90 s", "2 members", "index", "idle"]);
    assert_has(&screen, &["Dead letters 1", "17", "mail.send", "5 min", "exhausted: no such \\u{1b}[31"]);
    assert_has(&screen, &["events     10,000+", "size       5.0 MiB", "WAL        3.0 MiB", "≤ 0.7 ms"]);
    assert_has(&screen, &["ready            12", "Peers 1", "tray  4711  serves"]);
}

#[test]
fn a_narrower_one_has_the_facts_in_two_lines() {
    let screen = drawn(&state(), 80, 24);
    assert_has(
        &screen,
        &["10,000+ events  5.0 MiB  WAL 3.0 MiB  wake ≤ 0.7 ms  1 peers", "12 ready  0 leased"],
    );
    assert_has(&screen, &["orders.created", "mailer", "mail.send"]);
}

#[test]
fn a_small_one_has_the_list_that_has_the_keys() {
    let mut state = state();
    let screen = drawn(&state, 20, 5);
    assert_has(&screen, &["orders.cre", "SUBJECT", "EVENTS/S"]);
    press(&mut state, "\t");
    assert_has(&drawn(&state, 20, 5), &["mailer", "1,200"]);
    press(&mut state, "\t");
    assert_has(&drawn(&state, 20, 5), &["17", "mail.send"]);
}

#[test]
fn no_size_of_a_screen_and_no_view_panics() {
    let mut states = vec![State::new("app.db", false), state()];
    for keys in ["?", "/x", "\t\n", "\t\t\n", "\t\tr", "\n"] {
        let mut state = state();
        press(&mut state, keys);
        if let View::Messages(view) = &state.view {
            let told =
                Told::Messages(view.subject.clone(), vec![message(1, b"\xff\x00"), message(2, b"text")]);
            state.hear(told);
        }
        state.hear(Told::Trouble("the file is locked".to_owned()));
        states.push(state);
    }
    for state in &states {
        for (width, height) in
            [(1, 1), (2, 2), (20, 5), (49, 13), (50, 14), (99, 27), (100, 29), (300, 100), (1, 60), (200, 1)]
        {
            drawn(state, width, height);
        }
    }
}

fn message(sequence: u64, payload: &'static [u8]) -> Message {
    let mut headers = Headers::new();
    headers.append("Trace", "7f2c").unwrap();
    let subject = Subject::new("orders.created").unwrap();
    Message::new(subject, payload.into(), headers, sequence, 1_795_417_500_123)
}

#[test]
fn what_a_terminal_would_act_on_is_spelled_out_everywhere() {
    let mut state = state();
    for keys in ["", "\n", "\x1b\t\t\n"] {
        if !keys.is_empty() {
            press(&mut state, keys);
        }
        if let View::Messages(view) = &state.view {
            let told = Told::Messages(view.subject.clone(), vec![message(1, b"one\x1b[2J")]);
            state.hear(told);
        }
        let screen = drawn(&state, 140, 45);
        assert!(!screen.chars().any(|character| character.is_control() && character != '\n'), "{screen}");
        assert_has(&screen, &["\\u{1b}["]);
    }
}

#[test]
fn a_subject_is_looked_into_with_its_messages_as_text_or_bytes() {
    let mut state = state();
    let subject = Subject::new("orders.created").unwrap();
    assert_eq!(press(&mut state, "\n"), Deed::Ask(Ask::Into(Some(subject.clone()))));
    assert_has(&drawn(&state, 100, 30), &["orders.created", "reading …"]);
    state.hear(Told::Messages(subject.clone(), vec![message(18, b"{\"n\":2}"), message(17, b"{\"n\":1}")]));
    assert_has(
        &drawn(&state, 100, 30),
        &["17", "07:05:00.123", "7 B", "Message 18 7 B of text", "Trace:", "{\"n\":2}"],
    );
    // Another message stays the chosen one when more come in.
    press(&mut state, "j");
    state
        .hear(Told::Messages(subject, vec![message(19, b"three"), message(18, b"two"), message(17, b"one")]));
    assert_has(&drawn(&state, 100, 30), &["Message 17", "2026-11-23T07:05:00.123Z"]);
    press(&mut state, "x");
    assert_has(&drawn(&state, 100, 30), &["3 B of bytes", "00000000  6f 6e 65"]);
    assert_eq!(press(&mut state, "\x1b"), Deed::Ask(Ask::Into(None)));
    assert_has(&drawn(&state, 100, 30), &["Subjects"]);
}

#[test]
fn a_dead_letter_is_requeued_by_a_yes_and_nothing_else() {
    let mut state = state();
    press(&mut state, "r");
    assert_has(&drawn(&state, 100, 30), &["choose a dead letter"]);
    press(&mut state, "\t\tr");
    assert_has(&drawn(&state, 100, 30), &["Have dead letter 17 on mail.send tried again?"]);
    assert_eq!(press(&mut state, "n"), Deed::Nothing);
    assert_has(&drawn(&state, 100, 30), &["dead letter 17 stays"]);
    press(&mut state, "\n");
    assert_has(&drawn(&state, 100, 30), &["an-id", "attempt 1: no such", "to: nobody"]);
    press(&mut state, "rx");
    assert_eq!(press(&mut state, "y"), Deed::Requeue(17));
    state.hear(Told::Done("requeued dead letter 17".to_owned()));
    assert_has(&drawn(&state, 100, 30), &["requeued dead letter 17"]);
    let mut state = self::state();
    state.is_read_only = true;
    press(&mut state, "\t\tr");
    assert_has(&drawn(&state, 100, 30), &["nothing is changed with --read-only"]);
}

#[test]
fn a_list_is_filtered_and_sorted_by_keys() {
    let mut state = state();
    press(&mut state, "/ORDERS\n");
    let screen = drawn(&state, 100, 30);
    assert_has(&screen, &["like ORDERS", "orders.created"]);
    assert!(!screen.contains("mail\\u") && !screen.contains("mailer"), "{screen}");
    press(&mut state, "/*.>");
    assert_has(&drawn(&state, 100, 30), &["/ ORDERS*.>", "nothing like that"]);
    press(&mut state, "\x1bssss");
    assert_eq!(state.sort.name(), "rate");
    press(&mut state, "sssS");
    assert_has(&drawn(&state, 100, 30), &["by name ▲"]);
    assert_eq!(state.names(Pane::Subjects), ["orders.created", "mail\x1b[2J"]);
}

#[test]
fn a_consumer_leads_to_the_subjects_that_it_reads() {
    let mut state = state();
    press(&mut state, "\t\n");
    assert_eq!((state.pane, state.wanted.text()), (Pane::Subjects, ">"));
}

#[test]
fn pausing_is_asked_for_and_shown() {
    let mut state = state();
    assert_eq!(press(&mut state, "p"), Deed::Ask(Ask::Pause(true)));
    assert_has(&drawn(&state, 100, 30), &["PAUSED"]);
    assert_eq!(press(&mut state, " "), Deed::Ask(Ask::Pause(false)));
    assert!(!drawn(&state, 100, 30).contains("PAUSED"));
}

#[test]
fn trouble_with_the_file_is_a_line_until_it_is_over() {
    let mut state = state();
    state.hear(Told::Trouble("there is no such file".to_owned()));
    assert_has(&drawn(&state, 100, 30), &["! there is no such file", "orders.created"]);
    let another = Snapshot { incarnation: Some("two".to_owned()), since: None, ..snapshot(1.0) };
    state.hear(Told::Looked(Box::new(another)));
    let screen = drawn(&state, 100, 30);
    assert!(!screen.contains("no such file"), "{screen}");
    assert_has(&screen, &["another file has taken the place"]);
    assert_eq!(state.published.last(), 0.0);
}

#[test]
fn help_is_closed_by_any_key_and_two_keys_quit() {
    let mut state = state();
    press(&mut state, "?");
    assert_has(&drawn(&state, 100, 30), &["requeue a dead letter, after a question"]);
    assert_eq!(press(&mut state, "q"), Deed::Nothing);
    assert_eq!(press(&mut state, "q"), Deed::Quit);
    press(&mut state, "/");
    assert_eq!(state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Deed::Quit);
}

#[test]
fn without_colours_the_picture_has_the_same_letters_and_no_colour() {
    let (plain, coloured) =
        (terminal(&state(), Theme { has_colours: false }, 120, 40), terminal(&state(), COLOURS, 120, 40));
    let letters = |terminal: &Terminal<TestBackend>| terminal.backend().to_string();
    assert_eq!(letters(&plain), letters(&coloured));
    let has_colours = |terminal: &Terminal<TestBackend>| {
        let cells = &terminal.backend().buffer().content;
        cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(!has_colours(&plain) && has_colours(&coloured));
}
