//! What a command is told beside the body: its environment.

use std::collections::HashSet;

use rowbus::Call;
use tokio::process::Command;

const HEADER: &str = "ROWBUS_HEADER_";
const HEADERS: &str = "ROWBUS_HEADERS";

/// Sets the variables of this call. Those of another one, of which this service may be the command, are not handed on.
pub(super) fn set(command: &mut Command, call: &Call) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with(HEADER)) {
            command.env_remove(name);
        }
    }
    command.env("ROWBUS_SUBJECT", call.subject().as_str());
    command.env("ROWBUS_ID", call.id());
    command.env("ROWBUS_ATTEMPT", call.attempt().to_string());
    let lines = call.headers().encode().unwrap_or_default();
    command.env(HEADERS, lines.trim_end_matches('\n'));
    let mut set = HashSet::new();
    for (name, value) in call.headers().iter() {
        let name = variable(name);
        if !set.contains(&name) {
            command.env(&name, value);
            set.insert(name);
        }
    }
}

fn variable(header: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    HEADER.chars().chain(header.chars().map(letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_that_every_shell_takes() {
        assert_eq!(variable("Content-Type"), "ROWBUS_HEADER_CONTENT_TYPE");
        assert_eq!(variable("x=$(y)2"), "ROWBUS_HEADER_X___Y_2");
    }
}
