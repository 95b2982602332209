//! Commands that answer a call, with nobody behind it.
#![cfg(unix)]

use std::future::Future;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rowbus::{BoxFuture, Call, CallControl, HandlerError, Headers, Message, Response, Result, Subject};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};

use crate::address::Address;
use crate::serve::command::Command;
use crate::serve::process::Processes;
use crate::status::Status;

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Who asked: takes parts, and may want no more.
struct Caller {
    parts: mpsc::UnboundedSender<Response>,
    leave: Notify,
}

impl CallControl for Caller {
    fn part(&self, part: Response) -> BoxFuture<'_, Result<()>> {
        let sent = self.parts.send(part).map_err(|_| rowbus::Error::lease_lost());
        Box::pin(async { sent })
    }

    fn extend(&self, _: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn reply(&self, _: Response) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn cancelled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.leave.notified())
    }
}

struct Run {
    folder: TempDir,
    command: Command,
    call: Call,
    caller: Arc<Caller>,
    parts: mpsc::UnboundedReceiver<Response>,
}

impl Run {
    fn of(line: &str, body: &[u8], headers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = Command {
            line: format!("cd '{}'; {line}", folder.path().display()).into(),
            address: Address::File { path: "/bus.db".into(), url: None },
            parts: false,
            max_run: PATIENCE,
            processes: Arc::new(Processes::default()),
            status: Status::new(true, "x"),
        };
        let (send, parts) = mpsc::unbounded_channel();
        let caller = Arc::new(Caller { parts: send, leave: Notify::new() });
        let (subject, headers) = (Subject::new("a.b").unwrap(), Headers::decode(headers).unwrap());
        let message = Message::new(subject, body.to_vec().into(), headers, 1, 0);
        let call = Call::new(message, "an-id".into(), 3, Arc::clone(&caller) as _);
        Self { folder, command, call, caller, parts }
    }

    fn in_parts(mut self) -> Self {
        self.command.parts = true;
        self
    }

    async fn answer(&self) -> std::result::Result<Response, HandlerError> {
        tokio::time::timeout(PATIENCE, self.command.run(&self.call)).await.expect("an end")
    }

    /// A pipe that ends when the last process that has it open is gone: descriptor 3 of the command.
    fn held(&self) -> impl Future<Output = ()> + use<> {
        let fifo = self.folder.path().join("held");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = std::fs::File::open(fifo).unwrap().read_to_end(&mut rest);
            let _ = send.send(());
        });
        async move { receive.recv_timeout(PATIENCE).expect("all of them have ended") }
    }
}

async fn answer(line: &str, body: &[u8]) -> std::result::Result<Response, HandlerError> {
    Run::of(line, body, "").answer().await
}

async fn failure(line: &str) -> (String, String) {
    let error = answer(line, b"").await.unwrap_err();
    (error.message().to_owned(), error.code().unwrap().to_owned())
}

#[tokio::test]
async fn the_output_of_a_command_is_the_answer_to_its_input() {
    let every: Vec<u8> = (0..=255).cycle().take(MIB).collect();
    assert_eq!(answer("cat", &every).await.unwrap().payload(), &every);
    assert_eq!(answer("true", b"x").await.unwrap().payload(), "");
}

#[tokio::test]
async fn a_command_need_not_read_its_input() {
    let body = vec![b'x'; MIB];
    assert_eq!(answer("echo done", &body).await.unwrap().payload(), "done\n");
    assert_eq!(answer("head -c 1; exec <&-; echo", &body).await.unwrap().payload(), "x\n");
}

#[tokio::test]
async fn an_exit_that_fails_is_told_with_its_code_and_the_last_line_of_standard_error() {
    assert_eq!(failure("exit 3").await, ("exited with status 3".into(), "exit 3".into()));
    let said = failure("echo one >&2; echo ' two ' >&2; echo >&2; echo three; exit 75").await;
    assert_eq!(said, ("two".into(), "exit 75".into()));
    assert_eq!(failure("kill -9 $$").await, ("ended by signal 9".into(), "signal 9".into()));
    assert_eq!(failure("no-such-command-there").await.1, "exit 127");
}

#[tokio::test]
async fn a_command_finds_the_call_in_its_environment() {
    let line = r#"printf '%s|' "$ROWBUS_SUBJECT" "$ROWBUS_ID" "$ROWBUS_ATTEMPT" "$ROWBUS_DB" \
        "$ROWBUS_HEADER_CONTENT_TYPE" "$ROWBUS_HEADER_A" "$ROWBUS_HEADERS""#;
    let run = Run::of(line, b"", "Content-Type: text/plain\nA: 1\nA: $(2)\n");
    let expected = "a.b|an-id|3|/bus.db|text/plain|1|Content-Type: text/plain\nA: 1\nA: $(2)|";
    assert_eq!(run.answer().await.unwrap().payload(), expected);
}

#[tokio::test]
async fn an_answer_of_one_mebibyte_is_taken_and_a_larger_one_kills_its_command() {
    let zeros = |count: usize| format!("head -c {count} /dev/zero");
    assert_eq!(answer(&zeros(MIB), b"").await.unwrap().payload().len(), MIB);
    let (message, code) = failure(&zeros(MIB + 1)).await;
    assert_eq!((&*message, &*code), ("it wrote more than 1048576 bytes", "payload_too_large"));
    let endless = Run::of("exec 3>held; yes", b"", "");
    let held = endless.held();
    assert_eq!(endless.answer().await.unwrap_err().code(), Some("payload_too_large"));
    held.await;
}

#[tokio::test]
async fn each_line_is_a_part_when_it_is_there() {
    let mut run = Run::of("echo one; mkfifo go; read line < go; echo; printf three", b"", "").in_parts();
    let go = run.folder.path().join("go");
    let mut parts = std::mem::replace(&mut run.parts, mpsc::unbounded_channel().1);
    let answering = tokio::spawn(async move { run.answer().await });
    assert_eq!(parts.recv().await.unwrap().payload(), "one");
    while !go.exists() {
        tokio::task::yield_now().await;
    }
    tokio::task::spawn_blocking(move || std::fs::write(go, "\n").unwrap()).await.unwrap();
    assert_eq!(parts.recv().await.unwrap().payload(), "");
    assert_eq!(parts.recv().await.unwrap().payload(), "three");
    assert_eq!(answering.await.unwrap().unwrap().payload(), "");
}

#[tokio::test]
async fn a_call_that_nobody_wants_any_more_kills_the_command_and_what_it_has_started() {
    let mut run = Run::of("exec 3>held; sleep 600 & echo $$; wait", b"", "").in_parts();
    let (held, caller) = (run.held(), Arc::clone(&run.caller));
    let mut parts = std::mem::replace(&mut run.parts, mpsc::unbounded_channel().1);
    // It goes on sending to who took the receiver.
    let answering = tokio::spawn(async move { run.answer().await });
    let pid = parts.recv().await.unwrap();
    caller.leave.notify_one();
    assert_eq!(answering.await.unwrap().unwrap_err().code(), Some("cancelled"));
    held.await;
    // Reaped as well: a process that was only killed could still be sent a signal.
    let pid = std::str::from_utf8(pid.payload()).unwrap().to_owned();
    let there = std::process::Command::new("kill").args(["-0", &pid]).output().unwrap();
    assert!(!there.status.success());
}

#[tokio::test]
async fn a_call_that_is_dropped_kills_its_command() {
    let mut run = Run::of("exec 3>held; sleep 600 & echo up; wait", b"", "").in_parts();
    let held = run.held();
    let mut parts = std::mem::replace(&mut run.parts, mpsc::unbounded_channel().1);
    let answering = tokio::spawn(async move { run.answer().await });
    parts.recv().await.unwrap();
    answering.abort();
    assert!(answering.await.unwrap_err().is_cancelled());
    held.await;
}

#[tokio::test]
async fn the_end_of_the_service_kills_what_runs_and_starts_nothing_more() {
    let mut run = Run::of("exec 3>held; sleep 600 & echo up; wait", b"", "").in_parts();
    let (held, processes) = (run.held(), Arc::clone(&run.command.processes));
    let mut parts = std::mem::replace(&mut run.parts, mpsc::unbounded_channel().1);
    let answering = tokio::spawn(async move { run.answer().await });
    parts.recv().await.unwrap();
    processes.end();
    held.await;
    assert!(processes.start(&mut tokio::process::Command::new("true")).is_err());
    answering.abort();
    // Else it would be told as a failure of the command.
    assert!(answering.await.unwrap_err().is_cancelled(), "it has answered");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed() {
    let mut run = Run::of("sleep 600", b"", "");
    run.command.max_run = Duration::from_millis(50);
    let error = run.answer().await.unwrap_err();
    assert_eq!((error.message(), error.code()), ("killed, since it ran longer than 50ms", Some("max_run")));
}

#[tokio::test]
async fn what_a_command_leaves_behind_with_its_output_closed_is_not_waited_for() {
    let is_stopped = |pid: &str| std::process::Command::new("kill").arg(pid).status().unwrap().success();
    let run = Run::of("(exec >&- 2>&- <&-; exec sleep 600) & echo $!", b"", "");
    let answer = run.answer().await.unwrap();
    let pid = str::from_utf8(answer.payload()).unwrap();
    assert!(is_stopped(pid.trim()));
    let run = Run::of("(exec >&- <&-; exec sleep 600) & echo $! >&2; exit 4", b"", "");
    let error = run.answer().await.unwrap_err();
    assert!(is_stopped(error.message()) && error.code() == Some("exit 4"));
}
