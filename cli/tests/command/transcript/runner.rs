//! The runner of transcripts finds what is wrong.

use std::time::Duration;

use crate::support::PATIENCE;
use crate::transcript::player::play;

fn page(console: &str) -> String {
    format!("# A page\n\n```console\n{console}\n```\n")
}

#[track_caller]
fn wrong(console: &str, told: &str) {
    let found = play(&page(console), Duration::from_millis(100)).expect_err(console);
    assert!(found.contains(told), "{console}: {found}");
}

#[track_caller]
fn right(console: &str) {
    if let Err(found) = play(&page(console), PATIENCE) {
        panic!("{console}: {found}");
    }
}

#[test]
fn a_page_that_shows_something_else_is_found_out() {
    wrong("$ echo one\ntwo", "line 4: $ echo one\nthe page shows \"two\", and there is \"one\"");
    wrong("$ echo one", "the page does not show \"one\"");
    wrong("$ echo one\none\ntwo", "the page shows \"two\", and there is nothing more");
    wrong("$ echo one\n…\ntwo", "the page shows \"two\"");
    wrong("$ echo one >&2", "the page does not show \"one\"");
    wrong("$ true\n```\n```console\n$ printf 'a b'\na  b", "\"a b\"");
    assert!(play("# A page\n", PATIENCE).unwrap_err().contains("no command"));
}

#[test]
fn an_exit_code_that_is_not_asked_for_is_found_out() {
    wrong("$ (exit 3)", "exit code 3");
    wrong("$ (exit 3)\n$ echo $?\n2", "there is \"3\"");
    wrong("$ rowbus sub\nrowbus: …", "exit code 2");
    right("$ (exit 3)\n$ echo $?\n3\n$ echo $?\n0");
}

#[test]
fn what_the_background_does_not_say_or_says_unseen_is_found_out() {
    wrong("$ cat &\nnever", "the page shows \"never\"");
    wrong("$ echo one &\n$ wait", "the page does not show: one");
    right("$ echo one &\n$ wait\none\n$ echo two\ntwo");
}

#[test]
fn commands_share_a_shell_a_folder_and_the_command_of_this_build() {
    right("$ a=1; echo $a > file\n$ cat file; pwd; echo; echo $a\n1\n…/…\n\n1");
    right("$ rowbus --version\nrowbus 0.1.0 (SQLite 3…)\n$ echo a \\\n> b\na b");
    right("$ seq 9\n1\n…\n5\n…\n$ seq 3\n…");
    right("$ rowbus pub a x; ls\npublished 1 message to a (sequence 1)\nrowbus.db\nrowbus.db-bell");
}

#[test]
fn a_command_in_the_background_is_heard_when_the_page_shows_it() {
    right(
        "$ rowbus sub a --raw &\nstreaming a from new (rowbus.db)\n$ rowbus pub a one\none\n\
         published 1 message to a (sequence 1)\n$ kill $!; wait",
    );
}
