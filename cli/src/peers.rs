//! `rowbus peers`.

use std::io::{self, Write};

use clap::Args;
use rowbus::SqliteBus;
use rowbus::sqlite::Peer;

use crate::colour;
use crate::escape::Escaped;
use crate::failure::{Failure, Result};
use crate::start::rfc3339;
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus peers
  rowbus peers --db app.db --json | jq .pid";

/// List the processes that have the file open
///
/// One that has died is not listed, however it died. Exit code 3 if there is no other than this command.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PeersArgs {
    /// Write one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(bus: &SqliteBus, args: PeersArgs, status: &Status) -> Result<()> {
    // This command has the file open as well, and is not what was asked for.
    let others: Vec<_> = bus.peers().await?.into_iter().filter(|peer| !peer.is_self).collect();
    if others.is_empty() {
        return Err(Failure::nothing_there(format!("nobody else has it open: {}", status.bus())));
    }
    let mut out = Output::new();
    let written =
        out.write(|out| if args.json { write_json(out, &others) } else { write_table(out, &others) })?;
    if written {
        out.flush()?;
    }
    Ok(())
}

fn write_table(out: &mut impl Write, peers: &[Peer]) -> io::Result<()> {
    let names: Vec<_> = peers.iter().map(|peer| Escaped(peer.name.as_bytes()).to_string()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("NAME".len());
    let head = format!("{:<width$}  {:>10}  {:<10}  {:<24}  SERVES", "NAME", "PID", "VERSION", "SINCE");
    writeln!(out, "{}", colour::head(head))?;
    for (peer, name) in peers.iter().zip(names) {
        let (version, since) = (Escaped(peer.version.as_bytes()).to_string(), rfc3339(peer.since));
        let line =
            format!("{name:<width$}  {:>10}  {version:<10}  {since:<24}  {}", peer.pid, served(peer, " "));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn served(peer: &Peer, separator: &str) -> String {
    peer.serves.iter().map(|filter| filter.as_str()).collect::<Vec<_>>().join(separator)
}

/// One object a line, its fields in one order.
fn write_json(out: &mut impl Write, peers: &[Peer]) -> io::Result<()> {
    let string = |text: &str| serde_json::to_string(text).map_err(io::Error::from);
    for peer in peers {
        let (name, version) = (string(&peer.name)?, string(&peer.version)?);
        let serves: Vec<_> =
            peer.serves.iter().map(|filter| string(filter.as_str())).collect::<io::Result<_>>()?;
        writeln!(
            out,
            "{{\"id\":{},\"name\":{name},\"pid\":{},\"version\":{version},\"since\":\"{}\",\"serves\":[{}]}}",
            peer.id,
            peer.pid,
            rfc3339(peer.since),
            serves.join(",")
        )?;
    }
    Ok(())
}
