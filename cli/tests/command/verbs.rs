//! Which verbs there are, by what the command says of itself.

use crate::support::Folder;

/// All verbs, and those below them as in `job show`.
pub fn all(folder: &Folder) -> Vec<String> {
    let mut all = Vec::new();
    for verb in below(folder, &[]) {
        let deeper = below(folder, &[&verb]).into_iter().map(|lower| format!("{verb} {lower}"));
        all.extend(deeper.collect::<Vec<_>>());
        all.push(verb);
    }
    all
}

/// Those that can be run: not `job`, which only has verbs below it.
pub fn runnable(folder: &Folder) -> Vec<String> {
    let all = all(folder);
    let has_lower = |verb: &str| all.iter().any(|other| other.starts_with(&format!("{verb} ")));
    all.iter().filter(|verb| !has_lower(verb)).cloned().collect()
}

fn below(folder: &Folder, verb: &[&str]) -> Vec<String> {
    let help = folder.run(&[verb, &["--help"]].concat());
    let Some((_, verbs)) = help.text().split_once("Commands:\n") else { return Vec::new() };
    let lines = verbs.lines().take_while(|line| line.starts_with("  "));
    // What a verb does may go on in a further line, and `help` shows what `--help` does.
    let names =
        lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn all_verbs_are_found_by_their_help() {
    let all = all(&Folder::new());
    for verb in ["pub", "completions", "job reply", "bench latency", "migrate sql"] {
        assert!(all.iter().any(|found| found == verb), "{verb} is not in {all:?}");
    }
    assert!(!runnable(&Folder::new()).contains(&"job".to_owned()));
}
