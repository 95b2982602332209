//! Three programs that know nothing of each other: Python with plain `sqlite3`, rowbus, and Python with `nats-py`.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rowbus::bridge::Bridge;
use rowbus::{Messenger, MessengerExt};

use super::{Rig, wait};
use crate::{PATIENCE, next};

/// Publishes what it is told by a line `subject text` on its standard input, and then reads the answers, as a program would that has
/// never heard of rowbus.
const PLAIN_SQL: &str = r#"
import sqlite3, sys, time
conn = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for line in sys.stdin:
    subject, text = line.rstrip("\n").split(" ", 1)
    conn.execute("INSERT INTO bus_events (subject, data, headers) VALUES (?, ?, ?)",
                 (subject, text, "Trace: 1" + chr(10) + "From: sqlite3" + chr(10)))
after, left, ends = 0, int(sys.argv[2]), time.monotonic() + 60
while left and time.monotonic() < ends:
    for after, subject, text, headers in conn.execute(
            "SELECT id, subject, CAST(data AS TEXT), headers FROM bus_events WHERE id > ? AND subject GLOB 'answers.*' ORDER BY id",
            (after,)).fetchall():
        print(subject, text, headers.split(chr(10))[0], flush=True)
        left -= 1
    time.sleep(0.01)
"#;

/// Reads the stream, prints what comes, and answers each message by core NATS.
const NATS_PY: &str = r#"
import asyncio, sys, nats
async def main():
    client = await nats.connect(sys.argv[1])
    stream = client.jetstream()
    orders = await stream.subscribe("a.>", stream="S", ordered_consumer=True)
    print("ready", flush=True)
    for _ in range(int(sys.argv[2])):
        message = await orders.next_msg(timeout=60)
        headers = message.headers
        print(message.subject, message.data.decode(), headers["Trace"], headers["Rowbus-Sequence"], flush=True)
        await client.publish("answers." + message.subject, b"got " + message.data, headers={"From": "nats-py"})
    await client.drain()
asyncio.run(main())
"#;

/// The interpreter that `scripts/test setup` has given `nats-py`, or another that has it; said loudly where there is none.
fn python() -> Option<PathBuf> {
    let program = std::env::current_exe().unwrap();
    let in_project = program.ancestors().skip(1).map(|folder| folder.join("nats/bin/python"));
    let named = std::env::var_os("ROWBUS_NATS_PYTHON").map(PathBuf::from);
    let candidates = named.into_iter().chain(in_project).chain([PathBuf::from("python3")]);
    let has_it = |python: &PathBuf| {
        let imported =
            Command::new(python).args(["-c", "import nats, sqlite3"]).stderr(Stdio::null()).status();
        imported.is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().find(has_it);
    if found.is_none() {
        let message = "no Python with nats-py: run `scripts/test setup`, or set ROWBUS_NATS_PYTHON";
        assert!(std::env::var("ROWBUS_REQUIRE_NATS").as_deref() != Ok("1"), "{message}");
        // The harness keeps what `eprintln!` says in a test that passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {message}");
    }
    found
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(python: &PathBuf, script: &str, args: &[&str]) -> Killed {
    let mut command = Command::new(python);
    command.args(["-c", script]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    Killed(command.spawn().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_sqlite3_and_nats_py_exchange_messages_through_rowbus() {
    let Some(rig) = Rig::new().await else { return };
    let Some(python) = python() else { return };
    rig.stream().await;
    let path = rig.place.path();
    let mut answers = rig.nats.stream("answers.>").await.unwrap();
    let bridge = rig.start(Bridge::forward("a.>")).await;
    let mut reads = start(&python, NATS_PY, &[&rig.server.url(), "20"]);
    let mut read = BufReader::new(reads.0.stdout.take().unwrap()).lines();
    assert_eq!(read.next().unwrap().unwrap(), "ready");
    let mut writes = start(&python, PLAIN_SQL, &[path.to_str().unwrap(), "20"]);
    let mut told = writes.0.stdin.take().unwrap();
    for number in 0..20 {
        writeln!(told, "a.{} pizza-{number}", number % 3).unwrap();
    }
    drop(told);
    // What nats-py says comes back over core NATS, and from there into the file.
    for number in 0..20 {
        let answer = tokio::time::timeout(PATIENCE, next(&mut answers)).await.unwrap().unwrap();
        let expected = (format!("answers.a.{}", number % 3), Some(format!("got pizza-{number}")));
        assert_eq!((answer.subject().to_string(), answer.text().map(str::to_owned)), expected);
        assert_eq!(answer.headers().get("From"), Some("nats-py"));
        let publish = rowbus::Publish::new(answer.subject().clone(), answer.payload().clone());
        rig.bus.send(publish.headers(answer.headers().clone())).await.unwrap();
    }
    for number in 0..20 {
        let line = read.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("a.{} pizza-{number} 1 ", number % 3)), "{line}");
    }
    assert!(reads.0.wait().unwrap().success());
    // And the program with plain SQL finds the answers there.
    let mut answered = BufReader::new(writes.0.stdout.take().unwrap()).lines();
    for number in 0..20 {
        let line = answered.next().unwrap().unwrap();
        assert_eq!(line, format!("answers.a.{} got pizza-{number} From: nats-py", number % 3));
    }
    assert!(writes.0.wait().unwrap().success());
    wait(&bridge, |status| status.forwarded == 20).await;
}
