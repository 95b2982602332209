//! The command line: its verbs, and the options of them all. Those of a verb are beside what it does.

use std::io::Write;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::address::AddressArgs;
use crate::backup::BackupArgs;
use crate::bench::args::BenchArgs;
use crate::bridge::BridgeArgs;
use crate::colour;
use crate::completions::CompletionsArgs;
use crate::consumer::ConsumerArgs;
use crate::dead::DeadArgs;
use crate::doctor::DoctorArgs;
use crate::enqueue::args::EnqueueArgs;
use crate::export::ExportArgs;
use crate::failure::Failure;
use crate::import::ImportArgs;
use crate::job::JobArgs;
use crate::migrate::MigrateArgs;
use crate::peers::PeersArgs;
use crate::publish::PubArgs;
use crate::request::RequestArgs;
use crate::retention::RetentionArgs;
use crate::salvage::SalvageArgs;
use crate::serve::ServeArgs;
use crate::stats::StatsArgs;
use crate::subscribe::SubArgs;
use crate::top::TopArgs;

/// The library that runs, which need not be the one this was built with.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (SQLite {})", env!("CARGO_PKG_VERSION"), rowbus::rusqlite::version()));

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out or nothing there.";

/// Lines of help that are longer are hard to read, however wide the terminal is.
const WIDEST: usize = 120;

pub(crate) const GLOBAL: &str = "Options of every verb";

/// A message bus in one SQLite file: any process that opens it can publish and stream, ask and serve. With --url the same on a
/// NATS server.
#[derive(Parser)]
#[command(name = "rowbus", version = VERSION.as_str(), after_help = EXIT_CODES, subcommand_required = true)]
#[command(arg_required_else_help = true, max_term_width = WIDEST)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) address: AddressArgs,

    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    Pub(PubArgs),
    Sub(SubArgs),
    Request(RequestArgs),
    Serve(ServeArgs),
    Enqueue(EnqueueArgs),
    Job(JobArgs),
    Dead(DeadArgs),
    Consumer(ConsumerArgs),
    Retention(RetentionArgs),
    Peers(PeersArgs),
    Backup(BackupArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Salvage(SalvageArgs),
    Stats(StatsArgs),
    Top(TopArgs),
    Doctor(DoctorArgs),
    Migrate(MigrateArgs),
    Bridge(BridgeArgs),
    Bench(BenchArgs),
    Completions(CompletionsArgs),
}

/// Reads the command line; what ends here has been said already.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let text = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A pager that was closed has seen enough.
            let text = if colour::is_out_coloured() { text.ansi().to_string() } else { text.to_string() };
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Err(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let is_coloured = colour::is_wanted(&std::io::stderr());
            let text = if is_coloured { text.ansi().to_string() } else { text.to_string() };
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            Err(ExitCode::from(2))
        }
        _ => Err(Failure::usage(in_one_line(&text.to_string())).report()),
    }
}

/// The sentences of an error of clap, and its tips, without what it says of usage in general.
fn in_one_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let paragraphs = text.split("\n\n").take_while(|paragraph| !paragraph.starts_with("Usage:"));
    let paragraphs = paragraphs.filter(|paragraph| !paragraph.starts_with("For more information"));
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    paragraphs.map(words).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_error_is_told_in_one_line() {
        let error = |arguments: &[&str]| match Cli::try_parse_from(arguments) {
            Ok(_) => panic!("accepted"),
            Err(error) => in_one_line(&error.render().to_string()),
        };
        let typo = error(&["rowbus", "sub", "a", "--jsno"]);
        assert_eq!(typo, "unexpected argument '--jsno' found; tip: a similar argument exists: '--json'");
        let missing = error(&["rowbus", "sub", "--json"]);
        assert_eq!(missing, "the following required arguments were not provided: <FILTER>...");
        let wrong = error(&["rowbus", "sub", "a", "--wait", "5"]);
        assert!(wrong.starts_with("invalid value '5' for '--wait <DURATION>': a duration has"), "{wrong}");
    }
}
