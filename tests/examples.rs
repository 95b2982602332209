//! Every program in `examples/`, and every example in `docs/sql.md`, does what it says.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::DateTime;
use rowbus::rusqlite::Connection;
use rowbus::rusqlite::types::Value;
use rowbus::{
    Call, Durable, DurableExt, ErrorKind, HandlerError, Job, JobState, Message, Messenger, MessengerExt,
    Publish, Reply, Response, Result, Service, SqliteBus, StartAt, Subscribe,
};

/// For what must happen at all: far longer than it ever takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program to its end, which has to be a good one.
fn run(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{command:?} has not ended after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stderr.is_empty(), "{command:?}: {status}\n{stderr}");
    String::from_utf8(stdout).unwrap().replace("\r\n", "\n")
}

/// What an example prints. Cargo builds the examples with the tests, into a folder beside theirs.
fn example(name: &str, args: &[&Path]) -> String {
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
    run(Command::new(program).args(args))
}

/// What processes have printed as `[role process] words`: the words of each role, and the processes. How the lines of one
/// process lie between those of another is up to the system.
struct Conversation<'a> {
    printed: &'a str,
}

impl<'a> Conversation<'a> {
    fn lines(&self) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        self.printed.lines().map(|line| {
            let (speaker, said) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
            let (role, process) = speaker.split_once(' ').unwrap();
            (role, process, said)
        })
    }

    fn said_by(&self, wanted: &str) -> Vec<&'a str> {
        self.lines().filter(|(role, ..)| *role == wanted).map(|(.., said)| said).collect()
    }

    fn processes(&self) -> usize {
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

#[cfg(feature = "json")]
#[test]
fn json_reads_back_what_it_wrote_and_tells_what_is_none() {
    let expected = "\
2 times pizza
passed over: event 2 on \"orders.created\" is not the expected JSON
";
    assert_eq!(example("json", &[]), expected);
}

const SQL_DOC: &str = include_str!("../docs/sql.md");

/// An example of `docs/sql.md`: a fenced block, and the name in the comment above it.
struct Block {
    name: &'static str,
    language: &'static str,
    code: String,
}

fn blocks() -> Vec<Block> {
    let (mut blocks, mut name, mut lines) = (Vec::new(), None, SQL_DOC.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let name = name.take().unwrap_or_else(|| panic!("an example without a name: {line}"));
            let code = lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n");
            blocks.push(Block { name, language, code });
        } else if let Some(named) = line.strip_prefix("<!-- example: ") {
            name = named.strip_suffix(" -->");
        }
    }
    blocks
}

/// A folder with a bus in `app.db`, the file that the examples name.
struct Place {
    folder: tempfile::TempDir,
    bus: SqliteBus,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(folder.path().join("app.db")).await.unwrap();
        Self { folder, bus }
    }

    fn sql(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    /// What a reader of the library gets first.
    async fn first(&self, count: usize) -> Vec<Message> {
        let mut stream = self.bus.subscribe(Subscribe::to(">").from(StartAt::Oldest)).await.unwrap();
        let mut messages = Vec::new();
        for _ in 0..count {
            let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("a message in time");
            messages.push(item.unwrap().unwrap());
        }
        messages
    }

    /// What a reader of the library gets first, as texts, when nothing else has been published.
    async fn bodies(&self, count: usize) -> Vec<String> {
        self.bus.publish("the.end", "end").await.unwrap();
        let messages = self.first(count + 1).await;
        assert_eq!(messages[count].subject(), "the.end");
        messages[..count].iter().map(|message| message.text().unwrap().to_owned()).collect()
    }

    /// Who is called bob is not there at first, and nobody never is.
    async fn serve_mail(&self) -> Service {
        let mail = self.bus.serve("mail.*", |call: Call| async move {
            call.part("on its way").await?;
            match (call.text().unwrap_or_default(), call.attempt()) {
                ("to: bob", 1) if call.headers().is_empty() => {
                    Err(HandlerError::new("not yet").with_code("E_SOON").retry_at(DateTime::UNIX_EPOCH))
                }
                ("to: nobody", _) => Err(HandlerError::new("there is nobody").fatal()),
                (to, _) => Ok(Response::new(format!("sent {to}")).with_headers(call.headers().clone())),
            }
        });
        mail.await.unwrap()
    }

    async fn reply(&self, id: &str) -> Result<Reply> {
        tokio::time::timeout(PATIENCE, self.bus.reply(id.into())).await.expect("a reply in time")
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn publish(&self, events: &[(&str, &str)]) -> impl Future<Output = Result<Vec<rowbus::PubAck>>> {
        self.bus.publish_all(events.iter().map(|(subject, body)| Publish::new(*subject, body.to_string())))
    }
}

/// Runs SQL of the page, on this crate's SQLite or on that of Python, which is another.
type RunSql<'a> = &'a dyn Fn(&Place, &str);

fn by_rusqlite(place: &Place, sql: &str) {
    place.sql().execute_batch(sql).unwrap();
}

fn by_python(place: &Place, sql: &str) {
    let script = "import sqlite3, sys\n\
                  db = sqlite3.connect('app.db', timeout=60, isolation_level=None)\n\
                  db.execute('PRAGMA wal_autocheckpoint = 0')\n\
                  db.executescript(sys.argv[1])\n";
    let python = python().expect("the caller has looked");
    run(Command::new(python).args(["-c", script, sql]).current_dir(place.folder.path()));
}

fn python() -> Option<&'static str> {
    let has_sqlite = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import sqlite3"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    ["python3", "python"].into_iter().find(has_sqlite)
}

/// Runs one SQL example, between what it needs and what it promises.
async fn check_sql(name: &str, code: &str, run: RunSql<'_>) {
    let place = Place::new().await;
    match name {
        "insert" => {
            run(&place, code);
            assert_eq!(place.bodies(1).await, ["one pizza"]);
        }
        "headers" => {
            run(&place, code);
            let message = place.first(1).await.remove(0);
            assert_eq!((&message.payload()[..], message.headers().len()), (&[0, 255][..], 2));
            assert_eq!(message.headers().get("Currency"), Some("EUR"));
        }
        "transaction" | "trigger" => {
            run(&place, code);
            let orders: i64 =
                place.sql().query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
            assert_eq!(orders, 1);
            assert_eq!(place.bodies(1).await, ["one pizza"]);
        }
        "once" => {
            run(&place, code);
            run(&place, code);
            let again = Publish::new("invoice.sent", "again").message_id("invoice-17");
            let ack = place.bus.send(again).await.unwrap();
            assert_eq!((ack.sequence, ack.duplicate), (1, true));
            assert_eq!(place.bodies(1).await, ["17.00"]);
            // And the other way round, once the window has closed.
            place.sql().execute("UPDATE bus_dedup SET expires_at = 0", []).unwrap();
            run(&place, code);
            let ack = place.bus.send(Publish::new("a", "").message_id("invoice-17")).await.unwrap();
            assert_eq!((ack.sequence, ack.duplicate), (3, true));
        }
        "expect" => {
            run(&place, code);
            run(&place, code);
            assert_eq!(place.bodies(1).await, ["1 left"]);
        }
        "quarantine" => {
            place.sql().execute("INSERT INTO bus_events (subject) VALUES ('a..b')", []).unwrap();
            assert_eq!(place.bodies(0).await, [""; 0]);
            let start = Instant::now();
            let reported = || -> Option<(i64, String, String)> {
                let conn = place.sql();
                let columns = |row: &rowbus::rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                conn.query_row(code, [], columns).ok()
            };
            while reported().is_none() && start.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let expected = (1, "the subject breaks the grammar".to_owned(), "a..b".to_owned());
            assert_eq!(reported(), Some(expected));
            run(&place, code);
        }
        "read" | "last" => {
            place.publish(&[("sensor.attic", "18"), ("sensor.attic", "19"), ("door", "open")]).await.unwrap();
            run(&place, code);
            let statements: Vec<&str> = code.split_inclusive(';').collect();
            let conn = place.sql();
            let count = |sql: &str| {
                let mut statement = conn.prepare(sql.trim().trim_end_matches(';')).unwrap();
                statement.query_map([], |_| Ok(())).unwrap().count()
            };
            let counts: Vec<usize> = statements.iter().map(|sql| count(sql)).collect();
            assert_eq!(counts, if name == "read" { vec![3] } else { vec![1, 1] });
        }
        "remove" => {
            place.publish(&[("a", "1"), ("a", "2"), ("a", "3")]).await.unwrap();
            run(&place, code);
            let start = Subscribe::to("a").from(StartAt::Sequence(1));
            let mut stream = place.bus.subscribe(start).await.unwrap();
            let gap = stream.next().await.unwrap().unwrap_err();
            assert!(matches!(gap.kind(), ErrorKind::Gap { first: 1, last: 2, .. }), "{gap:?}");
            assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("3"));
        }
        "enqueue" | "enqueue-later" | "enqueue-once" | "job-state" | "job-reply" | "dead-letters"
        | "pause" | "resume" => check_jobs(&place, name, code, run).await,
        other => panic!("docs/sql.md has an example {other:?} that nothing here checks"),
    }
}

/// The id of the page's examples.
const JOB: &str = "01a208ca-079c-7241-b64f-9f267175e9cf";

/// The same for an example of jobs.
async fn check_jobs(place: &Place, name: &str, code: &str, run: RunSql<'_>) {
    let text = |sql: &str| place.sql().query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |sql: &str| place.sql().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let insert = "INSERT INTO bus_requests (id, subject, data) VALUES";
    match name {
        "enqueue" => {
            run(place, code);
            let mail = place.serve_mail().await;
            let id = text("SELECT id FROM bus_requests");
            assert_eq!(place.reply(&id).await.unwrap().text(), Some("sent to: ada"));
            mail.stop().await.unwrap();
        }
        "enqueue-later" => {
            run(place, code);
            let id = text("SELECT id FROM bus_requests");
            assert_eq!(text("SELECT state FROM bus_requests"), "ready");
            let mail = place.serve_mail().await;
            place
                .until("a server has come to it", || text("SELECT state FROM bus_requests") == "scheduled")
                .await;
            let info = place.bus.job(id.clone().into()).await.unwrap();
            assert_eq!((info.state, info.priority, info.max_attempts), (JobState::Scheduled, 5, 3));
            assert!(info.run_at.unwrap() > info.created_at);
            place.sql().execute("UPDATE bus_requests SET run_at = 1", []).unwrap();
            assert_eq!(place.reply(&id).await.unwrap().headers().get("Trace"), Some("7f2c"));
            mail.stop().await.unwrap();
        }
        "enqueue-once" => {
            run(place, code);
            run(place, code);
            assert_eq!(number("SELECT count(*) FROM bus_requests"), 1);
            let again = place.bus.enqueue(Job::new("mail.send", "").unique("welcome:42")).await.unwrap();
            assert!(again.is_duplicate());
            let mail = place.serve_mail().await;
            again.reply().await.unwrap();
            run(place, code);
            assert_eq!(number("SELECT count(*) FROM bus_requests"), 2);
            mail.stop().await.unwrap();
        }
        "job-state" | "job-reply" => {
            place.sql().execute(&format!("{insert} ('{JOB}', 'mail.send', 'to: bob')"), []).unwrap();
            run(place, code);
            let mail = place.serve_mail().await;
            assert_eq!(place.reply(JOB).await.unwrap().text(), Some("sent to: bob"));
            let conn = place.sql();
            let rows = |sql: &str, columns: usize| -> Vec<Vec<Option<String>>> {
                let mut statement = conn.prepare(sql.trim()).unwrap();
                assert_eq!(statement.column_count(), columns);
                let row = |row: &rowbus::rusqlite::Row<'_>| {
                    (0..columns).map(|at| row.get::<_, Value>(at).map(told)).collect()
                };
                statement.query_map([], row).unwrap().map(rowbus::rusqlite::Result::unwrap).collect()
            };
            let some = |text: &str| Some(text.to_owned());
            if name == "job-state" {
                let found = rows(code, 5).remove(0);
                assert_eq!(found[..3], [some("done"), some("2"), some("20")]);
                let errors = found[4].clone().unwrap();
                assert!(errors.starts_with("1 ") && errors.ends_with(" not yet\n"), "{errors}");
            } else {
                let (row, parts) = code.split_once(';').unwrap();
                let expected = [some("done"), some("sent to: bob"), None, some("not yet"), some("E_SOON")];
                assert_eq!(rows(row, 5), [expected.to_vec()]);
                let parts = rows(parts, 4);
                let of = |attempt: &str| vec![some(attempt), some("1"), some("on its way"), None];
                assert_eq!(parts, [of("1"), of("2")]);
            }
            mail.stop().await.unwrap();
        }
        "dead-letters" => {
            place.sql().execute(&format!("{insert} ('{JOB}', 'mail.send', 'to: nobody')"), []).unwrap();
            let mail = place.serve_mail().await;
            assert_eq!(place.reply(JOB).await.unwrap_err().kind(), ErrorKind::Handler);
            run(place, code);
            let found = place.sql().query_row(code, [], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                ))
            });
            assert_eq!(found.unwrap(), (1, JOB.to_owned(), "to: nobody".to_owned(), "failed".to_owned()));
            mail.stop().await.unwrap();
        }
        "pause" => {
            let mail = place.serve_mail().await;
            run(place, code);
            run(place, code);
            // Behind it in another subject, to be done first.
            let held = place.bus.enqueue(Job::new("mail.send", "to: ada")).await.unwrap();
            let other = place.bus.enqueue(Job::new("mail.print", "to: ada")).await.unwrap();
            other.reply().await.unwrap();
            assert_eq!(held.info().await.unwrap().state, JobState::Ready);
            place.bus.resume("mail.send".parse().unwrap()).await.unwrap();
            held.reply().await.unwrap();
            mail.stop().await.unwrap();
        }
        "resume" => {
            place.bus.pause("mail.send".parse().unwrap()).await.unwrap();
            let held = place.bus.enqueue(Job::new("mail.send", "to: ada")).await.unwrap();
            let mail = place.serve_mail().await;
            run(place, code);
            // By looking: nobody has rung.
            assert_eq!(place.reply(held.id().as_str()).await.unwrap().text(), Some("sent to: ada"));
            mail.stop().await.unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// A value as text, so that rows of any columns can be compared.
fn told(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Integer(integer) => Some(integer.to_string()),
        Value::Text(text) => Some(text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_sql_examples_do_what_the_page_says() {
    let blocks = blocks();
    assert!(blocks.len() > 10, "the examples are found");
    for block in blocks.iter().filter(|block| block.language == "sql") {
        check_sql(block.name, &block.code, &by_rusqlite).await;
    }
}

#[tokio::test]
async fn the_sql_examples_do_the_same_on_the_sqlite_of_python() {
    if python().is_none() {
        return eprintln!("skipped: there is no Python with its sqlite3 module");
    }
    for block in blocks().iter().filter(|block| block.language == "sql") {
        check_sql(block.name, &block.code, &by_python).await;
    }
}

#[tokio::test]
async fn the_python_examples_do_what_the_page_says() {
    let Some(python) = python() else {
        return eprintln!("skipped: there is no Python with its sqlite3 module");
    };
    let python = |place: &Place, code: &str| {
        run(Command::new(python).args(["-c", code]).current_dir(place.folder.path()))
    };
    for block in blocks().iter().filter(|block| block.language == "python") {
        let place = Place::new().await;
        match block.name {
            "python-publish" => {
                python(&place, &block.code);
                let messages = place.first(3).await;
                let subjects: Vec<&str> = messages.iter().map(|message| message.subject().as_str()).collect();
                assert_eq!(subjects, ["orders.created", "orders.paid", "orders.shipped"]);
                assert_eq!(messages[0].text(), Some("one pizza"));
                assert_eq!(
                    (&messages[1].payload()[..], messages[1].headers().get("Trace")),
                    (&[0, 255][..], Some("7f2c"))
                );
            }
            "python-read" => {
                place.publish(&[("a", "one"), ("b", "two")]).await.unwrap();
                place
                    .sql()
                    .execute("INSERT INTO bus_events (subject, data) VALUES ('c', 'grün')", [])
                    .unwrap();
                let printed = "1 a 3\n2 b 3\n3 c 5\n";
                assert_eq!(python(&place, &block.code), printed);
                // Without a bus that has the file open, too.
                place.bus.close().await.unwrap();
                assert_eq!(python(&place, &block.code), printed);
            }
            other => panic!("docs/sql.md has an example {other:?} that nothing here checks"),
        }
    }
}

#[tokio::test]
async fn the_shell_examples_do_what_the_page_says() {
    let found = |name: &str| Command::new(name).arg("--version").output().is_ok();
    if !found("sqlite3") || !found("sh") {
        return eprintln!("skipped: there is no sqlite3 shell");
    }
    for block in blocks().iter().filter(|block| block.language == "sh") {
        assert_eq!(block.name, "shell", "nothing here checks it");
        let place = Place::new().await;
        let printed = run(Command::new("sh").args(["-c", &block.code]).current_dir(place.folder.path()));
        assert!(printed.ends_with("1|orders.created|one pizza\n"), "{printed}");
        assert_eq!(place.bodies(1).await, ["one pizza"]);
    }
}

#[test]
fn the_constraints_that_the_page_names_are_those_of_the_tables() {
    let (events, requests) =
        (include_str!("../migrations/V1__bus.sql"), include_str!("../migrations/V2__requests.sql"));
    for (name, schema) in [("bus_events", events), ("bus_requests", requests)] {
        let begin = format!("CREATE TABLE {name} (");
        let table = schema.split_once(&begin).unwrap().1.split_once("\n);\n").unwrap().0;
        let named = |text: &'static str| -> BTreeSet<&str> {
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            words.filter(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'))).collect()
        };
        assert_eq!(named(SQL_DOC), named(table));
    }
}
