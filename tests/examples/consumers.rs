//! The programs in `examples/` about consumers.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rowbus::rusqlite::Connection;

use crate::programs::{Conversation, example, program};

#[test]
fn indexer_goes_on_with_the_event_that_it_died_with() {
    let printed = example("indexer", &[]);
    let conversation = Conversation { printed: &printed };
    let indexer = [
        "event 1: ants",
        "event 2: bees",
        "event 3: cats",
        "event 3: cats",
        "event 4: dogs",
        "event 5: eels",
    ];
    assert_eq!(conversation.said_by("indexer"), indexer);
    let editor = ["the first one ended well: false", "indexed up to event 5, 0 are left"];
    assert_eq!(conversation.said_by("editor"), editor);
    assert_eq!((conversation.processes(), printed.lines().count()), (3, 8), "{printed}");
}

#[test]
fn projection_counts_each_payment_once_though_it_is_killed_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    let mut killed = Command::new(program("projection")).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(killed.stdout.take().unwrap()).read_line(&mut first).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(first, "2000 payments, 2001000 cents\n");
    let balance = || -> (i64, i64) {
        let sql = Connection::open(&file).unwrap();
        let columns = |row: &rowbus::rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        sql.query_row("SELECT payments, cents FROM balance", [], columns).unwrap()
    };
    let (payments, cents) = balance();
    assert!((2_000..20_000).contains(&payments), "killed in the middle: {payments}");
    assert_eq!(cents, payments * (payments + 1) / 2);

    // Its reports were published in the transactions that counted: none is missing, and none there twice.
    let report = |at: i64| format!("{} payments, {} cents\n", at * 2_000, at * 1_000 * (at * 2_000 + 1));
    assert_eq!(example("projection", &[&file]), (1..=10).map(report).collect::<String>());
    assert_eq!(balance(), (20_000, 200_010_000));
}

#[test]
fn workers_share_a_feed_and_give_up_on_what_always_fails() {
    let printed = example("workers", &[]);
    let conversation = Conversation { printed: &printed };
    let mut said = conversation.said_by("worker");
    said.sort();
    let done =
        |picture: usize| format!("{picture}.jpg is done at attempt {}", if picture == 4 { 2 } else { 1 });
    let mut expected: Vec<_> = (1..=12).filter(|picture| *picture != 7).map(done).collect();
    expected.extend((1..=3).map(|attempt| format!("7.jpg fails at attempt {attempt}")));
    expected.push("4.jpg is too large for now".to_owned());
    expected.sort();
    assert_eq!(said, expected);
    let camera = ["7.jpg is a dead letter after 3 deliveries: it is no picture"];
    assert_eq!(conversation.said_by("camera"), camera);
    if cfg!(target_os = "linux") {
        assert_eq!(conversation.processes(), 4, "{printed}");
    }
}
