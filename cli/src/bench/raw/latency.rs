//! A message from process to process through a table, for which the second one polls.

use std::io::Write;
use std::path::Path;

use crate::bench::SUBJECT;
use crate::bench::args::LatencyArgs;
use crate::bench::measured::Measured;
use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::raw::POLL;
use crate::bench::raw::table::Table;
use crate::bench::receive::tell_age;
use crate::bench::report::synchronous;
use crate::bench::second::{READY, Second, first_is_done};
use crate::failure::Result;
use crate::signals::Stop;
use crate::stdout::Output;

pub(crate) async fn deliver(
    place: &Place,
    args: &LatencyArgs,
    progress: Progress,
    stop: Stop,
) -> Result<Measured> {
    let table = Table::make(&place.raw(), synchronous(args.level.durability()))?;
    Second::with(&place.raw_address(), &["receive", SUBJECT, "--raw"], stop, async |second| {
        let insert = async |payload: Vec<u8>| Ok(table.insert(SUBJECT, &payload, 1)?);
        crate::bench::latency::deliver(second, insert, args, &progress).await
    })
    .await
}

/// The second process.
pub(crate) async fn receive(db: &Path) -> Result<()> {
    let mut done = first_is_done()?;
    let table = Table::open(db)?;
    let (mut out, mut last, mut seen) = (Output::new(), 0, table.version()?);
    let mut is_read = out.write(|out| writeln!(out, "{READY}"))? && out.flush()?;
    while is_read {
        tokio::select! {
            biased;
            _ = &mut done => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
        let now = table.version()?;
        if now != seen {
            seen = now;
            let mut told = Ok(true);
            last = table.read(last, |_, data| told = tell_age(&mut out, data))?;
            is_read = told?;
        }
    }
    Ok(())
}
