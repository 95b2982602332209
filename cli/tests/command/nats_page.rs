//! The session of `docs/beyond-one-machine.md` is played against a server, and says what it says there.

use std::collections::HashMap;

use rowbus::testing::NatsServer;

use crate::support::{Folder, Running};

const PAGE: &str = include_str!("../../../docs/beyond-one-machine.md");
const HUB: &str = "nats://hub:4222";

/// Each line that is typed, with what it prints.
fn session() -> Vec<(&'static str, String)> {
    let (_, rest) = PAGE.split_once("```console\n").unwrap();
    let (session, rest) = rest.split_once("```\n").unwrap();
    assert!(!rest.contains("```console"), "there is one session");
    let lines = session.strip_prefix("$ ").unwrap().split("\n$ ");
    lines
        .map(|step| {
            let (typed, printed) = step.split_once('\n').unwrap_or((step, ""));
            (typed, printed.trim_end().to_owned())
        })
        .collect()
}

#[cfg(unix)]
#[test]
fn the_session_of_the_page_about_nats_is_what_happens() {
    let Some(server) = NatsServer::start() else { return };
    let folder = Folder::new();
    let steps = session();
    assert!(steps.len() > 5);
    let (mut variables, mut background) = (HashMap::new(), Vec::new());
    for (typed, printed) in steps {
        if let Some(variable) = typed.strip_prefix("export ") {
            let (name, value) = variable.split_once('=').unwrap();
            variables.insert(name, value.replace(HUB, &server.url()));
            continue;
        }
        let (line, stays) = typed.strip_suffix(" &").map_or((typed, false), |line| (line, true));
        let line = line.strip_prefix("rowbus ").unwrap();
        // The shell knows how words are quoted.
        let mut command = folder.bare::<&str>(&[]);
        let program = command.get_program().to_owned();
        command = std::process::Command::new("sh");
        command.arg("-c").arg(format!("exec \"$0\" {line}")).arg(program);
        command.current_dir(folder.path()).env_remove("ROWBUS_DB").envs(&variables);
        let mut running = Running::start(command);
        let said = if stays {
            let said = running.stderr_line();
            background.push(running);
            said
        } else {
            running.write(b"");
            let finished = running.finish();
            format!("{}{}", finished.text(), finished.stderr)
        };
        assert_eq!(said.trim_end().replace(&server.url(), HUB), printed, "{typed}");
    }
}
