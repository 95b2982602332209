//! Running the command, with an end to every wait.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take on a machine that does much else. A test that meets it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the command heeds in its environment. Whoever runs the tests may have any of it set, and CI sets `CI`, for which the
/// libraries colour even a terminal that calls itself dumb.
pub const VARIABLES: [&str; 6] = ["ROWBUS_DB", "ROWBUS_URL", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"];

/// A folder of its own for each test, with a bus in it.
pub struct Folder {
    dir: TempDir,
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn db(&self) -> PathBuf {
        self.path().join("bus.db")
    }

    /// The command on this folder's bus.
    pub fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = self.bare(&[OsStr::new("--db"), self.db().as_os_str()]);
        command.args(args);
        command
    }

    /// The command in this folder, with nothing said of a bus.
    pub fn bare<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowbus"));
        command.args(args).current_dir(self.path());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
    }

    /// Runs the command to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Finished {
        self.run_with(args, b"")
    }

    /// Runs the command to its end with this on standard input.
    pub fn run_with<A: AsRef<OsStr>>(&self, args: &[A], input: &[u8]) -> Finished {
        let mut running = Running::start(self.command(args));
        running.write(input);
        running.finish()
    }

    /// Publishes, which must succeed.
    pub fn publish(&self, subject: &str, body: &[u8]) {
        let finished = self.run_with(&["pub", subject], body);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }

    /// Starts a `serve` and returns when it serves.
    #[cfg(unix)]
    pub fn serve<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        let mut command = self.command(&["serve"]);
        command.args(args);
        let mut running = Running::start(command);
        let line = running.stderr_line();
        assert!(line.starts_with("serving "), "{line}");
        running
    }

    /// Starts the command with nothing on standard input.
    #[cfg(unix)]
    pub fn start<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        let mut running = Running::start(self.command(args));
        running.write(b"");
        running
    }

    /// Enqueues a job, and gives its id.
    #[cfg(unix)]
    #[track_caller]
    pub fn enqueue(&self, args: &[&str]) -> String {
        let finished = self.run(&[&["enqueue"], args].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.text().trim_end().to_owned()
    }

    /// A number that plain SQL finds in the file.
    #[cfg(unix)]
    pub fn number(&self, sql: &str) -> i64 {
        let conn = rowbus::rusqlite::Connection::open(self.db()).unwrap();
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Plain SQL on the file.
    pub fn sql(&self, sql: &str) {
        rowbus::rusqlite::Connection::open(self.db()).unwrap().execute_batch(sql).unwrap();
    }

    /// A pipe with a name in this folder, for a command to wait at.
    #[cfg(unix)]
    pub fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// A pipe with a name; what is returned waits until the last process that has it open to write has gone.
    #[cfg(unix)]
    pub fn held(&self, name: &str) -> impl FnOnce() + use<> {
        let path = self.pipe(name);
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let _ = std::fs::read(path);
            let _ = send.send(());
        });
        move || receive.recv_timeout(PATIENCE).expect("the end of those that hold the pipe")
    }

    /// Starts a `sub` and returns when it streams.
    pub fn stream<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        let mut command = self.command(&["sub"]);
        command.args(args);
        let mut running = Running::start(command);
        let line = running.stderr_line();
        assert!(line.starts_with("streaming "), "{line}");
        running
    }
}

impl Finished {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// What the one line on standard error says, of a command that ended with this code and printed nothing.
    #[track_caller]
    pub fn refusal(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        let line = self.stderr.strip_suffix('\n').expect("a whole line");
        assert!(!line.contains('\n'), "more than one line: {line}");
        line.strip_prefix("rowbus: ").expect("the name of the command in front")
    }
}

/// A command that runs; killed when it is dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    writer: Option<JoinHandle<()>>,
    stdout: Option<ChildStdout>,
    lines: Option<Receiver<Vec<u8>>>,
    stderr: Receiver<Vec<u8>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = lines_of(child.stderr.take().unwrap());
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Self { child, stdin, writer: None, stdout, lines: None, stderr }
    }

    /// Gives it this on standard input, and then the end. Returns at once.
    pub fn write(&mut self, input: &[u8]) {
        let (mut stdin, input) = (self.stdin.take().unwrap(), input.to_vec());
        self.writer = Some(std::thread::spawn(move || {
            // One that refuses its arguments does not read.
            let _ = stdin.write_all(&input);
        }));
    }

    /// Its standard input, held open until it is dropped.
    pub fn stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Its standard output; to drop it is to close the pipe.
    pub fn stdout(&mut self) -> ChildStdout {
        self.stdout.take().unwrap()
    }

    /// The next line of standard output, without its end; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        let stdout = &mut self.stdout;
        let lines = self.lines.get_or_insert_with(|| lines_of(stdout.take().unwrap()));
        next_line(lines).map(|line| String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned())
    }

    /// The next line of standard error, without its end.
    pub fn stderr_line(&mut self) -> String {
        let line = next_line(&self.stderr).expect("standard error has ended");
        String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned()
    }

    /// Waits for its end, and gives what it has said since.
    pub fn finish(mut self) -> Finished {
        let mut stdout = Vec::new();
        if let Some(lines) = self.lines.take() {
            while let Some(line) = next_line(&lines) {
                stdout.extend(line);
            }
        } else if let Some(mut pipe) = self.stdout.take() {
            let (send, receive) = channel();
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let _ = pipe.read_to_end(&mut all);
                let _ = send.send(all);
            });
            stdout = receive.recv_timeout(PATIENCE).expect("the end of standard output");
        }
        let mut stderr = Vec::new();
        while let Some(line) = next_line(&self.stderr) {
            stderr.extend(line);
        }
        let code = self.wait();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
        Finished { code, stdout, stderr: String::from_utf8(stderr).unwrap() }
    }

    /// Waits for its end; `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the command has not ended");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it without a chance to do anything about it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    #[cfg(unix)]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal by its name, as in `TERM`.
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match pipe.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if send.send(line).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    receive
}

fn next_line(lines: &Receiver<Vec<u8>>) -> Option<Vec<u8>> {
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no line came within {PATIENCE:?}"),
    }
}

/// Returns when this holds, which must not take for ever.
#[cfg(unix)]
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says why a test could not be made, in spite of the harness that keeps what passing tests print to itself.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
