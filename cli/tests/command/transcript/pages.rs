//! The pages that are played, and that they leave nothing out.

use std::path::Path;

use crate::support::{Folder, PATIENCE};
use crate::transcript::parse::steps;
use crate::transcript::player::play;
use crate::verbs;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

#[track_caller]
fn plays(name: &str) {
    if let Err(found) = play(&page(name), PATIENCE) {
        panic!("{name}, {found}");
    }
}

/// The commands of a page, each in one line and with a space at its end.
fn commands(name: &str) -> Vec<String> {
    steps(&page(name))
        .unwrap()
        .into_iter()
        .map(|step| format!("{} ", step.command.replace('\n', " ")))
        .collect()
}

#[test]
fn the_tour_is_what_one_gets() {
    plays("docs/tour.md");
}

#[test]
fn the_page_on_json_is_what_one_gets() {
    plays("docs/json.md");
}

#[test]
fn the_page_on_copies_is_what_one_gets() {
    plays("docs/backup.md");
}

#[test]
fn the_page_on_migrations_is_what_one_gets() {
    plays("docs/migrations.md");
}

#[test]
fn the_tour_has_every_verb() {
    let commands = commands("docs/tour.md");
    for verb in verbs::runnable(&Folder::new()) {
        let is_there = commands.iter().any(|command| command.contains(&format!("rowbus {verb} ")));
        assert!(is_there, "docs/tour.md has no `rowbus {verb}`");
    }
}

#[test]
fn the_page_on_json_has_every_verb_that_writes_it() {
    let (folder, commands) = (Folder::new(), commands("docs/json.md"));
    let writes = |verb: &str| {
        let help = folder.run(&verb.split(' ').chain(["-h"]).collect::<Vec<_>>());
        help.text().lines().any(|line| line.trim_start().starts_with("--json"))
    };
    let verbs: Vec<_> = verbs::runnable(&folder).into_iter().filter(|verb| writes(verb)).collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in verbs {
        let shows =
            |command: &String| command.contains(&format!("rowbus {verb} ")) && command.contains(" --json ");
        assert!(commands.iter().any(shows), "docs/json.md has no `rowbus {verb} … --json`");
    }
}
