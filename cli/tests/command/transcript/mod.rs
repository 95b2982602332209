//! Transcripts of a terminal in the documentation, played with the real command: what a page shows is what one gets.
//!
//! The blocks of a page that are fenced as `console` are one session, in a folder of its own with `rowbus` on the PATH. A line
//! `$ command` is run by `sh` (with `> ` in front, it goes on), and the lines below are what it prints, on either output. In
//! them `…` stands for anything, and a line of `…` alone for any lines. A command that ends with `&` goes on in the
//! background: what it prints is expected wherever the page shows it, and has to come. A command that fails has
//! `$ echo $?` behind it, as a reader of the page would ask.

mod pages;
mod parse;
mod pattern;
mod player;
mod runner;
mod session;
mod shell;
