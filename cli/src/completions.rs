//! `rowbus completions`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Result;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  source <(rowbus completions bash)
  rowbus completions zsh > ~/.zfunc/_rowbus
  rowbus completions fish > ~/.config/fish/completions/rowbus.fish";

/// Write what has a shell complete verbs and options
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<()> {
    // It ends the process if it cannot write; a vector always can be written to.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rowbus", &mut script);
    let mut out = Output::new();
    if out.write(|out| out.write_all(&script))? {
        out.flush()?;
    }
    Ok(())
}
