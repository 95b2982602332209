//! A shell that is told one command after the other, and whose background commands speak for themselves.

use std::ffi::OsString;
use std::fs;
use std::io::{PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::support::PATIENCE;

/// Stands behind the output of each command; nothing else prints it.
const END: char = '\u{1e}';

pub struct Shell {
    child: Child,
    stdin: ChildStdin,
    output: Receiver<String>,
    /// What has come of the output, and was not taken.
    rest: String,
    /// Where the background commands write.
    aside: PathBuf,
    background: Vec<Background>,
}

/// A command in the background, and how much of what it has printed was taken.
struct Background {
    output: PathBuf,
    taken: usize,
}

/// What a command printed, and its exit code.
pub struct Outcome {
    pub printed: String,
    pub code: i32,
}

impl Shell {
    /// In this folder, with the commands of another one first on the PATH; background commands write to a third.
    pub fn start(folder: &Path, commands: &Path, aside: &Path) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut path = OsString::from(commands);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.current_dir(folder).process_group(0).stdin(Stdio::piped());
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        command.env("PATH", path).env("HOME", folder).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.env_remove("ROWBUS_DB").env_remove("ROWBUS_URL");
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let output = pieces_of(reader);
        Self { child, stdin, output, rest: String::new(), aside: aside.to_owned(), background: Vec::new() }
    }

    /// Runs a command to its end, or starts it if it ends with `&`.
    pub fn run(&mut self, command: &str) -> Result<Outcome, String> {
        let command = match command.strip_suffix('&') {
            Some(command) => {
                let output = self.aside.join(self.background.len().to_string());
                let command = format!("{command} >'{}' 2>&1 &", output.display());
                self.background.push(Background { output, taken: 0 });
                command
            }
            None => command.to_owned(),
        };
        // The shell reads its commands from standard input, which is not for them to read. `$?` stays what it was.
        let script = format!(
            "(exit ${{code:-0}})\n{{ {command}\n}} </dev/null; code=$?; printf '\\036%d\\036' $code\n"
        );
        self.stdin.write_all(script.as_bytes()).map_err(|error| format!("the shell has ended: {error}"))?;
        self.outcome()
    }

    fn outcome(&mut self) -> Result<Outcome, String> {
        loop {
            if let Some((printed, behind)) = self.rest.split_once(END)
                && let Some((code, behind)) = behind.split_once(END)
            {
                let outcome = Outcome { printed: printed.to_owned(), code: code.parse().unwrap() };
                self.rest = behind.to_owned();
                return Ok(outcome);
            }
            match self.output.recv_timeout(PATIENCE) {
                Ok(piece) => self.rest.push_str(&piece),
                Err(_) => return Err(format!("it does not end, and has printed: {}", self.rest)),
            }
        }
    }

    /// Takes the next line of a background command, if there is one for which this holds.
    pub fn take(&mut self, is_wanted: impl Fn(&str) -> bool) -> bool {
        self.background.iter_mut().any(|background| {
            let line = background.next();
            let is_it = line.as_ref().is_some_and(|line| is_wanted(line));
            if is_it {
                background.taken += 1;
            }
            is_it
        })
    }

    /// The next line of each background command, for what it was not taken.
    pub fn untaken(&self) -> Vec<String> {
        self.background.iter().filter_map(Background::next).collect()
    }
}

impl Background {
    /// The first whole line that was not taken.
    fn next(&self) -> Option<String> {
        let printed = fs::read_to_string(&self.output).ok()?;
        printed.split_inclusive('\n').nth(self.taken)?.strip_suffix('\n').map(str::to_owned)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The shell leads a group of its own, in which all of its commands are.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, as it comes. Pages are text.
fn pieces_of(mut pipe: PipeReader) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = pipe.read(&mut piece) {
            bytes.extend_from_slice(&piece[..count]);
            // A character may be in two pieces.
            let whole = match std::str::from_utf8(&bytes) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => bytes.len(),
            };
            let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
            bytes.drain(..whole);
            if send.send(text).is_err() {
                return;
            }
        }
    });
    receive
}
