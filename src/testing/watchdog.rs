//! A child that does not outlive this process, however it ends.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The child's parent. It reads signals to send from its standard input, and kills the child at its end, which comes at the
/// latest with the end of the test's process. It outlives an interrupt from the terminal, to do so.
const SCRIPT: &str = r#"
trap : INT HUP
"$@" </dev/null >/dev/null 2>&1 &
echo $!
while read -r signal; do
    kill -s "$signal" $!
    wait $!
    echo ended
done
kill -s KILL $! 2>/dev/null
wait $!
"#;

/// A running program.
#[derive(Debug)]
pub(super) struct Watched {
    shell: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pid: u32,
}

impl Watched {
    pub(super) fn start(program: &Path, arguments: &[&Path]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(program).args(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("a shell to start the server with");
        let input = shell.stdin.take();
        let mut output = BufReader::new(shell.stdout.take().expect("a pipe was asked for"));
        let pid = line(&mut output).trim().parse().expect("the shell tells the server's process id");
        Self { shell, input, output, pid }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal that ends the program, and waits until it has ended.
    pub(super) fn end(mut self, signal: &str) {
        if let Some(input) = &mut self.input {
            writeln!(input, "{signal}").expect("the shell reads signals");
            assert_eq!(line(&mut self.output).trim(), "ended");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.shell.wait();
    }
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("the shell's output is text");
    line
}
