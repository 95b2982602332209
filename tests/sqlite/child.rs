//! Other processes: this test binary started again, in a role.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rowbus::{Durability, Messenger, MessengerExt, SqliteBus};

use crate::next;

const ROLE: &str = "ROWBUS_TEST_ROLE";
/// What a child says begins with this, to be told apart from the test harness's own lines.
const MARK: &str = "@@ ";

/// A process in a role; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: &str, args: &[&str]) -> Self {
        Self::start_with(role, args, &[])
    }

    pub(crate) fn start_with(role: &str, args: &[&str], env: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child::plays_its_role", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, [&[role], args].concat().join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, value) in env {
            command.env(name, value);
        }
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// What the child says next.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the child ended without a word");
            // The harness may have written something in front.
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return said.to_owned();
            }
        }
    }

    /// What the child says next; `None` if it ends without a word.
    #[cfg(target_os = "linux")]
    pub(crate) fn hear_if_it_lives(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return Some(said.to_owned());
            }
            line.clear();
        }
        self.child.wait().unwrap();
        None
    }

    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ends_well(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn say(word: impl std::fmt::Display) {
    println!("{MARK}{word}");
}

pub(crate) fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Not a test by itself: what a child process runs.
#[test]
fn plays_its_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let words: Vec<&str> = role.split('\n').collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match words[..] {
            ["open", path] => open(path).await,
            ["publish", path, name, tasks, count] => {
                publish(path, name, tasks.parse().unwrap(), count.parse().unwrap()).await;
            }
            ["stream", path, count, out] => stream(path, count.parse().unwrap(), out).await,
            #[cfg(unix)]
            ["fork", path] => crate::unix::fork(path).await,
            #[cfg(unix)]
            ["unprivileged", path] => crate::unix::unprivileged(path).await,
            #[cfg(target_os = "linux")]
            ["stuck", path, count] => crate::linux::stuck(path, count.parse().unwrap()).await,
            #[cfg(target_os = "linux")]
            ["fail-sync", path, switch] => crate::linux::fail_sync(path, switch).await,
            #[cfg(target_os = "linux")]
            ["pruner", path] => crate::linux::pruner(path).await,
            #[cfg(target_os = "linux")]
            ["fail-backup", path, switch] => crate::linux::fail_backup(path, switch).await,
            #[cfg(target_os = "linux")]
            ["echo", path, floor] => crate::doorbell::echo(path, floor == "with-floor").await,
            #[cfg(target_os = "linux")]
            ["peer", path, name] => crate::peers::peer(path, name).await,
            #[cfg(target_os = "linux")]
            ["streaming-peer", path, name] => crate::peers::streaming_peer(path, name).await,
            #[cfg(target_os = "linux")]
            ["serve", path, lease] => crate::servers::serve(path, lease.parse().unwrap()).await,
            #[cfg(target_os = "linux")]
            ["die-at", path, statement] => crate::kills::die_at(path, statement.parse().unwrap()).await,
            #[cfg(target_os = "linux")]
            ["toil", path, out] => crate::kills::toil(path, out).await,
            ["lock", path] => lock(path),
            ["hold", path] => hold(path),
            #[cfg(target_os = "linux")]
            _ if words[0].starts_with("consumer-") => {
                crate::consumers::role(&words).await.unwrap_or_else(|| panic!("unknown role {role:?}"));
            }
            #[cfg(target_os = "linux")]
            _ if words[0].starts_with("retention-") => {
                crate::retention::role(&words).await.unwrap_or_else(|| panic!("unknown role {role:?}"));
            }
            #[cfg(target_os = "linux")]
            _ if words[0].starts_with("steady-") => {
                crate::steady::role(&words).await.unwrap_or_else(|| panic!("unknown role {role:?}"));
            }
            #[cfg(all(target_os = "linux", feature = "nats", feature = "testing"))]
            _ if words[0].starts_with("bridge-") => {
                crate::nats_bridge::role(&words).await.unwrap_or_else(|| panic!("unknown role {role:?}"));
            }
            _ => panic!("unknown role {role:?}"),
        }
    });
}

/// Opens when told, and says how it went.
async fn open(path: &str) {
    say("ready");
    hear();
    match SqliteBus::open(path).await {
        Ok(_bus) => say("ok"),
        Err(error) => say(error),
    }
}

async fn publish(path: &str, name: &str, tasks: usize, count: usize) {
    // The deadline is for a disk that stalls, as a shared one can; it is the order and the shares that are judged.
    let builder = SqliteBus::builder(path).durability(Durability::Relaxed).busy_deadline(crate::PATIENCE);
    let bus = builder.open().await.unwrap();
    say("ready");
    hear();
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let (bus, name) = (bus.clone(), name.to_owned());
            tokio::spawn(async move {
                for at in 0..count {
                    bus.publish("load.x", format!("{name}.{task}.{at}")).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    bus.close().await.unwrap();
    say("done");
}

/// Writes a line for each message it is given.
async fn stream(path: &str, count: usize, out: &str) {
    let bus = SqliteBus::open(path).await.unwrap();
    let mut stream = bus.stream("load.>").await.unwrap();
    say("ready");
    let mut lines = String::new();
    for _ in 0..count {
        let message = next(&mut stream).await.unwrap();
        lines.push_str(&format!("{} {}\n", message.sequence(), message.text().unwrap()));
    }
    std::fs::write(out, lines).unwrap();
    say("done");
}

/// Says whether the file can be locked for writing.
fn lock(path: &str) {
    let conn = rowbus::rusqlite::Connection::open(path).unwrap();
    conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    say(if conn.execute_batch("BEGIN IMMEDIATE").is_ok() { "locked" } else { "busy" });
}

/// Holds the write lock until it is told to let go.
fn hold(path: &str) {
    let conn = rowbus::rusqlite::Connection::open(path).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    say("held");
    hear();
    conn.execute_batch("ROLLBACK").unwrap();
}
