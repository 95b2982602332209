//! One request, answered by a command.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rowbus::{Call, HandlerError, Response};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::address::Address;
use crate::serve::listener::Listener;
use crate::serve::process::{Process, Processes};
use crate::serve::{environment, output};
use crate::status::Status;

/// How long standard error is listened to when the command has ended: something that it left behind may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The command, and what each run of it needs.
pub(super) struct Command {
    pub(super) line: OsString,
    /// Of the bus.
    pub(super) address: Address,
    /// Whether each line of the output is a part of the reply.
    pub(super) parts: bool,
    pub(super) max_run: Duration,
    pub(super) processes: Arc<Processes>,
    pub(super) status: Status,
}

type Pipes = (ChildStdin, ChildStdout, ChildStderr);

impl Command {
    pub(super) async fn run(&self, call: &Call) -> Result<Response, HandlerError> {
        let answer = self.try_run(call).await;
        if answer.is_err() && self.processes.have_ended() {
            // It was killed with the service, which is no failure of its own: another server is to do it.
            std::future::pending().await
        }
        answer
    }

    async fn try_run(&self, call: &Call) -> Result<Response, HandlerError> {
        let (mut process, pipes) = self.start(call).map_err(|error| {
            HandlerError::new(format!("the command could not be started: {error}")).with_code("not_started")
        })?;
        let answer = tokio::select! {
            biased;
            answer = self.answer(call, &mut process, pipes) => answer,
            () = call.cancelled() => Err(HandlerError::new("nobody wants the answer any more").with_code("cancelled")),
            () = tokio::time::sleep(self.max_run) => {
                let message = format!("killed, since it ran longer than {:?}", self.max_run);
                Err(HandlerError::new(message).with_code("max_run"))
            }
        };
        // It has ended by itself unless there is an error.
        process.kill().await;
        answer
    }

    fn start(&self, call: &Call) -> io::Result<(Process, Pipes)> {
        let mut command = shell(&self.line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (name, value, other) = self.address.variables();
        command.env(name, value).env_remove(other);
        environment::set(&mut command, call);
        let mut process = self.processes.start(&mut command)?;
        let pipes = process.pipes().ok_or_else(|| io::Error::other("it has no pipes"))?;
        Ok((process, pipes))
    }

    /// Feeds it and takes its answer. The answer is complete when the output is at its end, whoever holds it, and the command
    /// has ended: it is reaped last, so that until then its process group can be killed by its id.
    async fn answer(
        &self,
        call: &Call,
        process: &mut Process,
        (stdin, stdout, stderr): Pipes,
    ) -> Result<Response, HandlerError> {
        let mut listener = Listener::new(&self.status);
        let (response, status) = {
            let answering = async {
                let response = match self.parts {
                    true => output::lines(stdout, call).await.map(|()| Response::default()),
                    false => output::whole(stdout).await.map(Response::from),
                }?;
                Ok::<_, HandlerError>((response, process.exit().await?))
            };
            let feeding = feed(stdin, call);
            let listening = listener.listen(stderr);
            tokio::pin!(answering, feeding, listening);
            let (mut fed, mut heard) = (false, false);
            let answer = loop {
                tokio::select! {
                    answer = &mut answering => break answer?,
                    () = &mut feeding, if !fed => fed = true,
                    () = &mut listening, if !heard => heard = true,
                }
            };
            if !heard {
                let _ = timeout(LAST_WORDS, listening).await;
            }
            answer
        };
        if status.success() {
            return Ok(response);
        }
        let (code, what) = failing(status);
        Err(HandlerError::new(listener.last().unwrap_or(what)).with_code(code))
    }
}

/// A command that does not read what it is given, or not all of it, is its own judge.
async fn feed(mut stdin: ChildStdin, call: &Call) {
    let _ = stdin.write_all(call.payload()).await;
}

/// The code of an exit that tells of a failure, and a sentence for it.
fn failing(status: ExitStatus) -> (String, String) {
    if let Some(code) = status.code() {
        return (format!("exit {code}"), format!("exited with status {code}"));
    }
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return (format!("signal {signal}"), format!("ended by signal {signal}"));
    }
    ("exit".to_owned(), status.to_string())
}

#[cfg(not(windows))]
fn shell(line: &OsStr) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("sh");
    command.arg("-c").arg(line);
    command
}

#[cfg(windows)]
fn shell(line: &OsStr) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("cmd");
    // As it is: cmd has rules of its own for quotes.
    command.arg("/C").raw_arg(line);
    command
}
