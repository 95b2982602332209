//! Plays a page, and compares.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::transcript::parse::{Step, steps};
use crate::transcript::pattern::matches;
use crate::transcript::session::Session;
use crate::transcript::shell::Shell;

const ANY_LINES: &str = "…";

/// What asks for the exit code of the command before.
const ASK: &str = "echo $?";

/// Plays the page; the message tells where it is not what one gets. `patience` is for what background commands are to print.
pub fn play(page: &str, patience: Duration) -> Result<(), String> {
    let steps = steps(page)?;
    if steps.is_empty() {
        return Err("there is no command in it".to_owned());
    }
    let mut session = Session::start();
    for (at, step) in steps.iter().enumerate() {
        let wrong = |what: String| format!("line {}: $ {}\n{what}", step.line, step.command);
        let is_asked = steps.get(at + 1).is_some_and(|next| next.command == ASK);
        run(&mut session.shell, step, is_asked, patience).map_err(wrong)?;
    }
    match session.shell.untaken().first() {
        Some(line) => {
            Err(format!("a command in the background has printed what the page does not show: {line}"))
        }
        None => Ok(()),
    }
}

fn run(shell: &mut Shell, step: &Step, is_asked: bool, patience: Duration) -> Result<(), String> {
    let outcome = shell.run(&step.command)?;
    compare(shell, step, &outcome.printed, patience).map_err(|what| {
        let shown = step.printed.join("\n");
        format!("{what}\n--- the page shows\n{shown}\n--- it printed\n{}", outcome.printed)
    })?;
    match outcome.code {
        0 => Ok(()),
        _ if is_asked => Ok(()),
        code => Err(format!(
            "exit code {code}, for which the page does not ask with `{ASK}`\n{}",
            outcome.printed
        )),
    }
}

fn compare(shell: &mut Shell, step: &Step, printed: &str, patience: Duration) -> Result<(), String> {
    let mut printed: VecDeque<_> = printed.lines().collect();
    let mut shown = step.printed.iter().map(String::as_str).peekable();
    while let Some(line) = shown.next() {
        if line == ANY_LINES {
            // Up to what the page shows next.
            while printed.front().is_some_and(|had| shown.peek().is_none_or(|next| !matches(next, had))) {
                printed.pop_front();
            }
        } else if printed.front().is_some_and(|had| matches(line, had)) {
            printed.pop_front();
        } else if !comes_from_the_background(shell, line, patience) {
            let had = printed.front().map_or("nothing more".to_owned(), |had| format!("{had:?}"));
            let waiting = shell.untaken();
            return Err(format!(
                "the page shows {line:?}, and there is {had} (in the background: {waiting:?})"
            ));
        }
    }
    match printed.front() {
        Some(line) => Err(format!("the page does not show {line:?}")),
        None => Ok(()),
    }
}

/// Waits for this line.
fn comes_from_the_background(shell: &mut Shell, line: &str, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if shell.take(|had| matches(line, had)) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
