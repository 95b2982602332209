//! The verbs over `--url`, on a real server.

use std::process::Command;

use rowbus::testing::NatsServer;

#[cfg(unix)]
use crate::support::until;
use crate::support::{Finished, Folder, Running};

/// A server, and a folder in which nothing but what a verb itself makes will be.
struct Place {
    server: NatsServer,
    folder: Folder,
}

impl Place {
    fn new() -> Option<Self> {
        Some(Self { server: NatsServer::start()?, folder: Folder::new() })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.folder.bare(&["--url", &self.server.url()]);
        command.args(args);
        command
    }

    fn run(&self, args: &[&str], input: &str) -> Finished {
        let mut running = Running::start(self.command(args));
        running.write(input.as_bytes());
        running.finish()
    }

    /// Starts a verb, and returns when it has said that it is there.
    fn start(&self, args: &[&str]) -> Running {
        let mut running = Running::start(self.command(args));
        let line = running.stderr_line();
        assert!(line.ends_with(&format!("({})", self.server.url())), "{line}");
        running
    }

    /// No verb has made a file.
    fn assert_empty(&self) {
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn lines_are_published_in_their_order_to_whoever_streams_on_the_server() {
    let Some(place) = Place::new() else { return };
    // No more than the stream's buffer takes, if this machine is busy elsewhere.
    let stream = place.start(&["sub", "logs.>", "--count", "1000", "--raw"]);
    let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    let published = place.run(&["pub", "logs.app", "--send-on", "newline", "--json"], &lines);
    assert_eq!(published.code, Some(0), "{published:?}");
    assert_eq!(published.stderr, "published 1000 messages to logs.app\n");
    assert_eq!(published.text(), "{\"sequence\":null,\"duplicate\":false}\n".repeat(1000));
    let streamed = stream.finish();
    assert_eq!((streamed.code, streamed.text() == lines), (Some(0), true), "{}", streamed.stderr);
    place.assert_empty();
}

#[test]
fn what_no_log_has_numbered_has_no_sequence() {
    let Some(place) = Place::new() else { return };
    let (people, programs) =
        (place.start(&["sub", "a", "--count", "1"]), place.start(&["sub", "a", "--count", "1", "--json"]));
    assert_eq!(place.run(&["pub", "a", "x"], "").stderr, "published 1 message to a\n");
    let (people, programs) = (people.finish(), programs.finish());
    assert!(people.text().starts_with("-  20"), "{people:?}");
    assert!(programs.text().starts_with("{\"sequence\":null,\"subject\":\"a\","), "{programs:?}");
}

#[test]
fn the_variable_names_the_server_and_an_option_counts_before_it() {
    let Some(place) = Place::new() else { return };
    let with_url = |args: &[&str], url: &str| {
        let mut command = place.folder.bare(args);
        command.env("ROWBUS_URL", url);
        Running::start(command).finish()
    };
    let published = with_url(&["pub", "a", "x"], &place.server.url());
    assert_eq!(published.code, Some(0), "{published:?}");
    let by_option = with_url(&["--url", &place.server.url(), "pub", "a", "x"], "nats://127.0.0.1:1");
    assert_eq!(by_option.code, Some(0), "{by_option:?}");
    place.assert_empty();
    assert_eq!(with_url(&["--db", "bus.db", "pub", "a", "x"], "nats://127.0.0.1:1").code, Some(0));
    assert!(place.folder.db().exists());
    let mut both = place.folder.bare(&["pub", "a", "x"]);
    both.env("ROWBUS_URL", place.server.url()).env("ROWBUS_DB", "bus.db");
    let line = Running::start(both).finish();
    assert!(line.refusal(2).contains("ROWBUS_DB and ROWBUS_URL"), "{line:?}");
}

#[cfg(unix)]
#[test]
fn a_served_command_speaks_to_the_same_server() {
    let Some(place) = Place::new() else { return };
    let told = place.start(&["sub", "told", "--count", "1", "--raw"]);
    let line = format!("tr a-z A-Z; '{}' pub told done", env!("CARGO_BIN_EXE_rowbus"));
    let service = place.start(&["serve", "shout.*", "--command", &line, "--count", "1"]);
    let asked = place.run(&["request", "shout.loud", "hello", "-H", "Trace: 1"], "");
    assert_eq!((asked.code, asked.text()), (Some(0), "HELLO\n"), "{asked:?}");
    assert_eq!(told.finish().text(), "done\n");
    assert_eq!(service.finish().code, Some(0));
    place.assert_empty();
}

#[test]
fn the_end_of_a_request_on_a_server_is_told_by_its_exit_code() {
    let Some(place) = Place::new() else { return };
    let nobody = place.run(&["request", "a", "x"], "");
    assert!(nobody.refusal(3).contains("nobody serves"), "{nobody:?}");
    let service = place.start(&["serve", "a", "--command", "echo sorry >&2; exit 4", "--count", "1"]);
    let failed = place.run(&["request", "a", "x"], "");
    assert_eq!(failed.refusal(1), "sorry (exit 4)");
    assert_eq!(service.finish().code, Some(0));
}

#[test]
fn verbs_that_need_a_file_or_a_log_say_so() {
    let Some(place) = Place::new() else { return };
    let of_files: [&[&str]; 8] = [
        &["retention", "show"],
        &["peers"],
        &["backup", "copy.db"],
        &["export"],
        &["import", "-"],
        &["stats"],
        &["doctor"],
        &["top"],
    ];
    for args in of_files {
        let finished = place.run(args, "");
        let (verb, url) = (args[0], place.server.url());
        let expected = format!("{verb} is for a bus in a file, which --db names; {url} is on a server");
        assert_eq!(finished.refusal(2), expected);
    }
    let of_logs: [&[&str]; 6] = [
        &["enqueue", "a", "x"],
        &["job", "show", "an-id"],
        &["dead", "ls"],
        &["consumer", "ls"],
        &["sub", "a", "--durable", "c"],
        &["sub", "a", "--from", "oldest"],
    ];
    for args in of_logs {
        let finished = place.run(args, "");
        assert!(finished.refusal(2).contains("core NATS keeps n"), "{args:?}: {finished:?}");
    }
    place.assert_empty();
}

/// With a stream in the URL the server keeps what is published, and jobs.
#[cfg(unix)]
#[test]
fn a_stream_in_the_url_keeps_what_is_published_and_jobs() {
    let Some(server) = NatsServer::builder().jetstream(true).start() else { return };
    let folder = Folder::new();
    let url = format!("{}?stream=SHOP&stream_under=events", server.url());
    let command = |args: &[&str]| {
        let mut command = folder.bare(&["--url", &url]);
        command.args(args);
        command
    };
    let run = |args: &[&str]| Running::start(command(args)).finish();
    let published = run(&["pub", "orders.created", "one pizza"]);
    assert_eq!(published.stderr, "published 1 message to orders.created (sequence 1)\n");
    let streamed = run(&["sub", "orders.>", "--from", "oldest", "--count", "1", "--raw"]);
    assert_eq!(streamed.text(), "one pizza\n", "{streamed:?}");
    let consumed = run(&["sub", "orders.>", "--durable", "c", "--ack", "--count", "1", "--raw"]);
    assert_eq!(consumed.text(), "one pizza\n", "{consumed:?}");
    let listed = run(&["consumer", "ls", "--json"]);
    assert!(listed.text().contains("\"c\""), "{listed:?}");
    let mut service = Running::start(command(&["serve", "shout", "--command", "tr a-z A-Z", "--count", "1"]));
    assert!(service.stderr_line().starts_with("serving shout"));
    let enqueued = run(&["enqueue", "shout", "hello"]);
    assert_eq!(enqueued.code, Some(0), "{enqueued:?}");
    let reply = run(&["job", "reply", enqueued.text().trim_end(), "--wait", "30s"]);
    assert_eq!(reply.text(), "HELLO\n", "{reply:?}");
    assert_eq!(service.finish().code, Some(0));
    for what in ["show", "cancel", "reply"] {
        let refused = run(&["job", what, enqueued.text().trim_end()]);
        assert!(refused.refusal(2).contains("`rowbus job reply ID --wait`"), "{what}: {refused:?}");
    }
    let again = run(&["job", "reply", enqueued.text().trim_end(), "--wait"]);
    assert_eq!(again.text(), "HELLO\n", "{again:?}");
}

/// A stream is named as the README names it: one that is there is enough by its name, and a new one has to be told what it keeps.
#[cfg(unix)]
#[test]
fn a_stream_that_is_only_named_is_one_that_is_there() {
    let Some(server) = NatsServer::builder().jetstream(true).start() else { return };
    let folder = Folder::new();
    let run = |options: &str, args: &[&str]| {
        let mut command = folder.bare(&["--url", &format!("{}?{options}", server.url())]);
        command.args(args);
        Running::start(command).finish()
    };
    for args in [
        &["pub", "orders.created", "x"][..],
        &["sub", "orders.>", "--from", "oldest"],
        &["enqueue", "shout", "x"],
        &["bench", "queue", "--messages", "1", "-q"],
    ] {
        let finished = run("stream=SHOP", args);
        assert!(finished.refusal(2).contains("stream_subjects=orders.> as well"), "{args:?}: {finished:?}");
    }
    let made = run("stream=SHOP&stream_subjects=orders.>", &["pub", "orders.created", "one pizza"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let published = run("stream=SHOP", &["pub", "orders.created", "two pizzas"]);
    assert_eq!(published.stderr, "published 1 message to orders.created (sequence 2)\n");
    let streamed = run("stream=SHOP", &["sub", "orders.>", "--from", "oldest", "--count", "2", "--raw"]);
    assert_eq!(streamed.text(), "one pizza\ntwo pizzas\n", "{streamed:?}");
    let enqueued = run("stream=SHOP", &["enqueue", "shout", "hello"]);
    assert_eq!(enqueued.code, Some(0), "{enqueued:?}");
}

#[cfg(unix)]
#[test]
fn looking_makes_no_stream() {
    let Some(server) = NatsServer::builder().jetstream(true).start() else { return };
    let folder = Folder::new();
    let url = format!("{}?stream=LOOK&stream_subjects=l.>", server.url());
    let run = |args: &[&str]| {
        let mut command = folder.bare(&["--url", &url]);
        command.args(args);
        Running::start(command).finish()
    };
    // Each would find what the one before it had made.
    for _ in 0..2 {
        for args in [
            &["consumer", "ls"][..],
            &["consumer", "info", "c"],
            &["dead", "ls"],
            &["dead", "purge", "1"],
            &["job", "reply", "an-id", "--wait", "10s"],
        ] {
            let finished = run(args);
            assert!(finished.refusal(3).contains("stream not found"), "{args:?}: {finished:?}");
        }
    }
    assert_eq!(run(&["pub", "l.a", "x"]).code, Some(0));
    assert!(run(&["consumer", "ls"]).refusal(3).contains("no consumer"));
}

#[test]
fn a_mistake_in_a_url_is_told_with_what_is_understood() {
    let folder = Folder::new();
    for (url, understood) in [
        ("http://127.0.0.1:1", "sqlite:, memory:, nats: or tls:"),
        ("nats://127.0.0.1:1?colour=red", "prefix, creds, nkey"),
        ("sqlite:app.db?colour=red", "busy_deadline"),
        ("memory:", "a file or a server"),
        ("", "sqlite:, memory:, nats: or tls:"),
    ] {
        let finished = Running::start(folder.bare(&["--url", url, "pub", "a", "x"])).finish();
        assert!(finished.refusal(2).contains(understood), "{url}: {finished:?}");
    }
    let both = Running::start(folder.bare(&["--url", "nats://h", "pub", "a", "x", "--db", "a.db"])).finish();
    assert!(both.refusal(2).contains("--db and --url"), "{both:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_sqlite_url_is_a_file_for_every_verb() {
    let folder = Folder::new();
    let run = |args: &[&str]| {
        let mut command = folder.bare(&["--url", "sqlite:bus.db?durability=relaxed"]);
        command.args(args);
        Running::start(command).finish()
    };
    assert_eq!(run(&["pub", "a", "x"]).code, Some(0));
    assert!(folder.db().exists());
    let streamed = run(&["sub", "a", "--from", "oldest", "--count", "1", "--raw"]);
    assert_eq!(streamed.text(), "x\n");
    assert_eq!(run(&["doctor"]).code, Some(0));
}

#[test]
fn a_server_that_cannot_be_reached_is_told_without_the_password() {
    let folder = Folder::new();
    let url = "nats://ann:s3cret@127.0.0.1:1?wait=500ms";
    let finished = Running::start(folder.bare(&["--url", url, "pub", "a", "x"])).finish();
    let line = finished.refusal(1);
    assert!(line.contains("cannot be reached") && !line.contains("s3cret"), "{line}");
}

#[test]
fn a_stream_outlives_its_server_and_tells_that_something_may_be_missing() {
    let Some(mut place) = Place::new() else { return };
    let mut stream = place.start(&["sub", "a", "--count", "2", "--raw"]);
    assert_eq!(place.run(&["pub", "a", "before"], "").code, Some(0));
    assert_eq!(stream.line().as_deref(), Some("before"));
    place.server.stop();
    assert!(stream.stderr_line().contains("the connection to the NATS server was lost"));
    place.server.restart();
    // Two tasks of the client tell of it.
    let lines = [stream.stderr_line(), stream.stderr_line()].join("\n");
    assert!(lines.contains("what was published in between is missing"), "{lines}");
    assert!(lines.contains("there is a connection to the NATS server again"), "{lines}");
    assert_eq!(place.run(&["pub", "a", "after"], "").code, Some(0));
    let finished = stream.finish();
    assert_eq!((finished.code, finished.text()), (Some(0), "after\n"), "{finished:?}");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_gone_is_told_to_those_who_serve_unless_they_are_quiet() {
    let Some(mut place) = Place::new() else { return };
    let mut service = place.start(&["serve", "a", "--echo"]);
    let quiet = ["serve", "b", "--echo", "--quiet"];
    let mut quiet =
        Running::start(place.folder.bare(&[&["--url", &place.server.url()], &quiet[..]].concat()));
    let answers = |place: &Place, asked: &str| place.run(&["request", asked, "x"], "").text() == "x\n";
    until("both serve", || answers(&place, "a") && answers(&place, "b"));
    place.server.stop();
    assert!(service.stderr_line().contains("the connection to the NATS server was lost"));
    place.server.restart();
    assert!(service.stderr_line().contains("there is a connection to the NATS server again"));
    until("both serve again", || answers(&place, "a") && answers(&place, "b"));
    quiet.kill();
    assert_eq!(quiet.finish().stderr, "");
}

#[test]
fn a_line_that_is_lost_for_good_ends_a_stream_with_a_failure() {
    let Some(mut place) = Place::new() else { return };
    let url = format!("{}?max_reconnects=1", place.server.url());
    let mut running = Running::start(place.folder.bare(&["--url", &url, "sub", "a"]));
    assert!(running.stderr_line().starts_with("streaming a "));
    place.server.stop();
    let finished = running.finish();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("all attempts to make a new one failed"), "{finished:?}");
}
