//! `rowbus migrate`.

mod sql;
mod status;
mod up;
mod verify;

use std::path::Path;

use clap::{Args, Subcommand};
use rowbus::SqliteBus;

use crate::failure::{Failure, Result};
use crate::status::Status;

const EXAMPLES: &str = "\
Examples:
  rowbus migrate status --db app.db
  rowbus migrate up --dry-run
  rowbus migrate sql --from 2";

/// See and change which version of the schema the file has
///
/// No other verb migrates a file that has tables: it belongs to a program, which brings it up to date when it opens it. This is
/// for installers, for programs that leave it to you, and for looking.
#[derive(Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    verb: MigrateVerb,
}

#[derive(Subcommand)]
enum MigrateVerb {
    Status(status::StatusArgs),
    Up(up::UpArgs),
    Verify(verify::VerifyArgs),
    Sql(sql::SqlArgs),
}

pub(crate) async fn run(args: MigrateArgs, db: &Path, status: &Status) -> Result<()> {
    let migrator = SqliteBus::builder(db).create(false).migrator();
    let status = status.clone();
    let run = move || match args.verb {
        MigrateVerb::Status(args) => status::run(&migrator, &args),
        MigrateVerb::Up(args) => up::run(&migrator, &args, &status),
        MigrateVerb::Verify(args) => verify::run(&migrator, &args, &status),
        MigrateVerb::Sql(args) => sql::run(&args, &status),
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::failed("the runtime has ended")),
    }
}

/// As in `schema 2`.
fn schema(version: u32) -> String {
    if version == 0 { "no bus".to_owned() } else { format!("schema {version}") }
}
