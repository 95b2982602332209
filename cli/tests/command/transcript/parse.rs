//! From a page to the commands in it.

/// A command, and what the page says that it prints.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// In the page, from 1.
    pub line: usize,
    pub command: String,
    pub printed: Vec<String>,
}

/// The commands of a page, in their order; the message of a mistake names its line.
pub fn steps(page: &str) -> Result<Vec<Step>, String> {
    let (mut steps, mut is_console) = (Vec::<Step>::new(), false);
    // Output belongs to a command of the same block.
    let mut has_command = false;
    for (line, text) in (1..).zip(page.lines()) {
        if let Some(language) = text.strip_prefix("```") {
            (is_console, has_command) = (!is_console && language.trim() == "console", false);
        } else if !is_console {
        } else if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step { line, command: command.to_owned(), printed: Vec::new() });
            has_command = true;
        } else if let Some(step) = steps.last_mut().filter(|_| has_command) {
            match text.strip_prefix("> ").filter(|_| step.printed.is_empty()) {
                Some(more) => step.command = format!("{}\n{more}", step.command),
                None => step.printed.push(text.to_owned()),
            }
        } else {
            return Err(format!("line {line}: output without a command above it: {text}"));
        }
    }
    match is_console {
        true => Err("the last block has no end".to_owned()),
        false => Ok(steps),
    }
}

#[test]
fn the_console_blocks_of_a_page_are_its_commands() {
    let page =
        "text\n```sh\n$ no\n```\n```console\n$ a \\\n> b\nout\n> out\n$ c\n```\n$ no\n```console\n$ d\n```\n";
    let step = |line, command: &str, printed: &[&str]| Step {
        line,
        command: command.to_owned(),
        printed: printed.iter().map(|line| (*line).to_owned()).collect(),
    };
    let expected = [step(6, "a \\\nb", &["out", "> out"]), step(10, "c", &[]), step(14, "d", &[])];
    assert_eq!(steps(page).unwrap(), expected);
    assert!(steps("```console\nout\n```\n").unwrap_err().starts_with("line 2: output without"));
    assert!(steps("```console\n$ a\n").unwrap_err().contains("no end"));
}
