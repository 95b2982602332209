//! The programs in `examples/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

/// What an example prints.
pub(crate) fn example(name: &str, args: &[&Path]) -> String {
    run(Command::new(program(name)).args(args))
}

/// Where an example is. Cargo builds the examples with the tests, into a folder beside theirs.
pub(crate) fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let program = tests.parent().and_then(Path::parent).unwrap().join("examples").join(file);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
    let written = |path: &Path| path.metadata().and_then(|found| found.modified());
    assert!(
        written(&program).is_ok_and(|built| built >= written(&source).unwrap()),
        "{} is missing or old: `cargo test` builds it, but for one test alone `cargo build --examples --all-features` must",
        program.display()
    );
    program
}

/// What processes have printed as `[role process] words`: the words of each role, and the processes. How the lines of one
/// process lie between those of another is up to the system.
pub(crate) struct Conversation<'a> {
    pub(crate) printed: &'a str,
}

impl<'a> Conversation<'a> {
    fn lines(&self) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        self.printed.lines().map(|line| {
            let (speaker, said) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
            let (role, process) = speaker.split_once(' ').unwrap();
            (role, process, said)
        })
    }

    pub(crate) fn said_by(&self, wanted: &str) -> Vec<&'a str> {
        self.lines().filter(|(role, ..)| *role == wanted).map(|(.., said)| said).collect()
    }

    pub(crate) fn processes(&self) -> usize {
        self.lines().map(|(_, process, _)| process).collect::<BTreeSet<_>>().len()
    }
}

#[test]
fn quickstart_is_a_conversation_of_two_processes() {
    let printed = example("quickstart", &[]);
    let conversation = Conversation { printed: &printed };
    let guest = [
        "ordered soup, event 1",
        "got hot soup on dish.served",
        "ordered pizza, event 3",
        "got hot pizza on dish.served",
        "ordered coffee, event 5",
        "got hot coffee on dish.served",
    ];
    assert_eq!(conversation.said_by("guest"), guest);
    let kitchen = ["makes soup for event 1", "makes pizza for event 3", "makes coffee for event 5"];
    assert_eq!(conversation.said_by("kitchen"), kitchen);
    assert_eq!((conversation.processes(), printed.lines().count()), (2, 9), "{printed}");
}

#[test]
fn tray_shows_progress_and_stops_its_helper_by_not_waiting_any_more() {
    let printed = example("tray", &[]);
    let conversation = Conversation { printed: &printed };
    let tray = [
        "progress: 1 of 3 files",
        "progress: 2 of 3 files",
        "progress: 3 of 3 files",
        "done: 3 files are indexed",
        "progress: begun",
        "cancelled",
    ];
    assert_eq!(conversation.said_by("tray"), tray);
    assert_eq!(conversation.said_by("helper"), ["stopped: nobody waits for the video any more"]);
    assert_eq!((conversation.processes(), printed.lines().count()), (2, 7), "{printed}");
}

#[test]
fn work_queue_tries_again_and_requeues_what_was_given_up_on() {
    let expected = "\
sent to ada at attempt 1
sent to bob at attempt 3
  attempt 1 failed: the mail server is busy
  attempt 2 failed: the mail server is busy
given up: nobody is called eve
  attempt 1 failed: nobody is called eve
dead letter 1 on mail.send (failed): eve
requeued: sent to eve at attempt 1
";
    assert_eq!(example("work_queue", &[]), expected);
}

#[test]
fn outbox_tells_and_enqueues_what_its_transactions_commit() {
    let expected = "\
event 1: pizza; job: baked pizza
event 2: pasta; job: baked pasta
2 orders
";
    assert_eq!(example("outbox", &[]), expected);
}

#[test]
fn replay_shows_three_places_to_begin() {
    let expected = "\
everything there is:
  1 sensor.attic 18.5
  2 sensor.cellar 11.0
  3 sensor.attic 19.0
  5 sensor.attic 21.5
from a sequence on:
  3 sensor.attic 19.0
  5 sensor.attic 21.5
where each sensor stands:
  2 sensor.cellar 11.0
  5 sensor.attic 21.5
the attic has 21.5 degrees, says event 5
";
    assert_eq!(example("replay", &[]), expected);
}

#[test]
fn outbox_sql_publishes_what_its_transaction_commits() {
    assert_eq!(example("outbox_sql", &[]), "1 order; event 1: one pizza\n");
}

#[test]
fn idempotent_publishes_once_and_only_what_still_holds() {
    let expected = "\
attempt 1: event 1, duplicate: false
attempt 2: event 1, duplicate: true
Ada sold it: event 3
Bob came too late: event 3 was first
";
    assert_eq!(example("idempotent", &[]), expected);
}

#[test]
fn in_memory_runs_the_same_on_either_backend() {
    let greetings = "greeting.Ada: hello\ngreeting.Bob: hello\n2 greetings\n";
    assert_eq!(example("in_memory", &[]), format!("durable: false\n{greetings}"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    assert_eq!(example("in_memory", &[&file]), format!("durable: true\n{greetings}"));
}

/// What the shop prints on a bus that says this of what it keeps.
fn shop(apple: &str, pear: &str, jobs: &str) -> String {
    format!(
        "\
sold.apple for 20 cents, {apple}
sold.pear for 30 cents, {pear}
not sold: price.durian is not known
{jobs}"
    )
}

#[test]
fn anywhere_is_the_same_program_on_a_file_and_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("shop.db").display());
    for url in ["memory:", &file] {
        let printed = example("anywhere", &[Path::new(url)]);
        assert_eq!(printed, shop("event 1", "event 2", "a job is left for the printer\n"), "{url}");
    }
}

#[cfg(all(feature = "nats", feature = "testing"))]
#[test]
fn anywhere_is_the_same_program_on_a_nats_server() {
    let Some(server) = rowbus::testing::NatsServer::start() else { return };
    let printed = example("anywhere", &[Path::new(&server.url())]);
    let none = "no job for the printer: core NATS keeps neither jobs nor consumers";
    assert!(printed.starts_with(&shop("kept by nobody", "kept by nobody", none)), "{printed}");
}

#[cfg(feature = "json")]
#[test]
fn json_reads_back_what_it_wrote_and_tells_what_is_none() {
    let expected = "\
2 times pizza
passed over: event 2 on \"orders.created\" is not the expected JSON
";
    assert_eq!(example("json", &[]), expected);
}
