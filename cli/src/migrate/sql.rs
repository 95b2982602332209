//! `rowbus migrate sql`.

use std::io::Write;

use clap::Args;
use rowbus::sqlite::migration_sql;

use crate::failure::{Failure, Result};
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus migrate sql > migrations/0007_bus.sql
  rowbus migrate sql --from 2 > migrations/0031_bus_3.sql";

/// Write the SQL of the migrations, for a chain of your own
///
/// It records itself in bus_schema_history, so that opening a bus finds nothing to do. Run it whole, in one transaction, in a
/// file in WAL mode, and have your program open buses with `Migrate::Manual`, so that none is ahead of your chain. No file is
/// looked at. Exit code 3 if there is nothing behind --from.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SqlArgs {
    /// The schema that the file has already: what comes behind it is written
    #[arg(long, value_name = "N", default_value = "0")]
    from: u32,
}

pub(super) fn run(args: &SqlArgs, status: &Status) -> Result<()> {
    let sql = migration_sql(args.from)?;
    if sql.is_empty() {
        return Err(Failure::nothing_there(format!("there is no migration behind {}", args.from)));
    }
    let mut out = Output::new();
    if out.write(|out| out.write_all(sql.as_bytes()))? {
        out.flush()?;
        status.say("run it in one transaction, and open buses with Migrate::Manual");
    }
    Ok(())
}
