//! Other processes: this program again in a role, with a pipe to tell it when to begin and one to hear how it went.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub const ROLE: &str = "--role";

/// A process in a role; ended when dropped.
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Returns when it is ready to begin.
    pub fn start(words: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(ROLE).args(words);
        Self::spawn(command).unwrap_or_else(|| panic!("{words:?} ended without a word"))
    }

    /// None if it ended before it was ready.
    pub fn spawn(mut command: Command) -> Option<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = dies_with_us(&mut command).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut process = Self { child, stdin, stdout };
        (process.line()? == "ready").then_some(process)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn go(&mut self) {
        writeln!(self.stdin, "go").unwrap();
    }

    /// What it reports at its end.
    pub fn report<T: DeserializeOwned>(&mut self) -> T {
        serde_json::from_str(&self.line().expect("a report")).unwrap()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.stdout.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel ends it when we end, however that is.
pub fn dies_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: prctl is a system call and no more, and so may be made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    }
}

/// In a role: waits to be told to begin.
pub fn ready() {
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// In a role: how it went. Waits to be ended, so that its threads can still be counted.
pub fn report(what: &impl Serialize) {
    println!("{}", serde_json::to_string(what).unwrap());
    linger();
}

/// In a role: sleeps until it is ended.
pub fn linger() {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}
