//! The command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::args::BenchArgs;
use crate::duration;
use crate::failure::Failure;
use crate::start::Start;

/// The library that runs, which need not be the one this was built with.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (SQLite {})", env!("CARGO_PKG_VERSION"), rowbus::rusqlite::version()));

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out or nothing there.";

const GLOBAL: &str = "Options of every verb";

/// A message bus in one SQLite file: any process that opens it can publish and stream.
#[derive(Parser)]
#[command(name = "rowbus", version = VERSION.as_str(), after_help = EXIT_CODES, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The file; made if there is none
    #[arg(long, value_name = "FILE", env = "ROWBUS_DB", default_value = "rowbus.db", hide_env_values = true)]
    #[arg(global = true, help_heading = GLOBAL)]
    pub(crate) db: PathBuf,

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
    Peers(PeersArgs),
    Bench(BenchArgs),
}

const PUB_EXAMPLES: &str = "\
Examples:
  rowbus pub orders.created '{\"pizza\": 1}'
  rowbus pub orders.created -H 'Trace: 7f2c' --message-id order-17 < order.json
  tail -f app.log | rowbus pub logs.app --send-on newline";

/// Publish a message, or each line of standard input as one
///
/// A message is acknowledged when it would survive a power cut.
#[derive(Args)]
#[command(after_help = PUB_EXAMPLES)]
pub(crate) struct PubArgs {
    /// What the messages are about, as in orders.eu.created
    pub(crate) subject: String,

    /// The body; standard input if it is not given
    pub(crate) body: Option<OsString>,

    /// A header; as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,

    /// Send each line of standard input when it is there, without its line end
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["body", "count"])]
    pub(crate) send_on: Option<SendOn>,

    /// Send the message this many times
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,

    /// An id against duplicates: within 2 minutes it is published once only
    #[arg(long, value_name = "ID", conflicts_with_all = ["count", "send_on"])]
    pub(crate) message_id: Option<String>,

    /// Do not wait for the disk: a power cut may take the newest messages
    #[arg(long)]
    pub(crate) relaxed: bool,

    /// Write a JSON object to standard output for each message published
    #[arg(long)]
    pub(crate) json: bool,
}

/// When `pub` takes what it has read for a message.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SendOn {
    /// At the end of each line
    Newline,
}

const SUB_EXAMPLES: &str = "\
Examples:
  rowbus sub 'orders.>'
  rowbus sub 'orders.*' --from 2h --json | jq .data
  rowbus sub orders.created --from oldest --count 1 --wait 5s --raw";

/// Stream what a filter matches
///
/// `*` stands for one token of a subject, `>` at the end for one or more.
#[derive(Args)]
#[command(after_help = SUB_EXAMPLES)]
pub(crate) struct SubArgs {
    /// What to stream, as in orders.>
    pub(crate) filter: String,

    /// Where to begin: new, oldest, last (of each subject), a sequence, a time, or an age (10m, 2h, 7d)
    #[arg(long, value_name = "START", default_value = "new")]
    pub(crate) from: Start,

    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// End when no message came for this long, as in 500ms or 10s; exit with 3 if any is missing
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    pub(crate) wait: Option<Duration>,

    /// Write the bodies as they are, each followed by a newline
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,

    /// Write one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

const PEERS_EXAMPLES: &str = "\
Examples:
  rowbus peers
  rowbus peers --db app.db --json | jq .pid";

/// List the processes that have the file open
///
/// One that has died is not listed, however it died. Exit code 3 if there is no other than this command.
#[derive(Args)]
#[command(after_help = PEERS_EXAMPLES)]
pub(crate) struct PeersArgs {
    /// Write one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads the command line; what ends here has been said already.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A pager that was closed has seen enough.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Err(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            Err(ExitCode::from(2))
        }
        _ => Err(Failure::usage(in_one_line(&text)).report()),
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
        assert_eq!(missing, "the following required arguments were not provided: <FILTER>");
        let wrong = error(&["rowbus", "sub", "a", "--wait", "5"]);
        assert!(wrong.starts_with("invalid value '5' for '--wait <DURATION>': a duration has"), "{wrong}");
    }
}
