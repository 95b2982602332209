//! A request from process to process and back through two tables, for which both poll.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rowbus::rusqlite;

use crate::bench::SUBJECT;
use crate::bench::args::RpcArgs;
use crate::bench::clock::nanos;
use crate::bench::measured::Measured;
use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::raw::table::Table;
use crate::bench::raw::{POLL, ROWS};
use crate::bench::second::{READY, Second, first_is_done};
use crate::failure::Result;
use crate::signals::Stop;
use crate::stdout::Output;

const REPLY: &str = "INSERT INTO replies (id, data) VALUES (?1, ?2)";
// By the primary key.
const REPLIES: &str = "SELECT id, data FROM replies WHERE id > ?1 ORDER BY id";

/// As many requests in one transaction as there are callers, and the next when all are answered.
pub(crate) async fn ask(place: &Place, args: &RpcArgs, progress: Progress, stop: Stop) -> Result<Measured> {
    let table = Table::make(&place.raw(), "NORMAL")?;
    Second::with(&place.raw_address(), &["answer", SUBJECT, "--raw"], stop, async |_| {
        let data = vec![b'x'; args.size as usize];
        let (mut times, mut left, mut last) = (Vec::new(), args.messages, 0);
        let began = Instant::now();
        while left > 0 {
            let mut open = left.min(args.callers()).min(ROWS);
            left -= open;
            let asked = Instant::now();
            let mut seen = table.version()?;
            table.insert(SUBJECT, &data, open)?;
            while open > 0 {
                tokio::time::sleep(POLL).await;
                let now = table.version()?;
                if now == seen {
                    continue;
                }
                seen = now;
                let replies = replies(&table, &mut last)?;
                let time = nanos(asked.elapsed());
                times.extend((0..replies).map(|_| time));
                progress.add(replies);
                open -= replies.min(open);
            }
        }
        Ok(Measured::of(Some(began.elapsed()), times))
    })
    .await
}

/// How many replies have come.
fn replies(table: &Table, last: &mut i64) -> rusqlite::Result<u64> {
    let mut statement = table.conn.prepare_cached(REPLIES)?;
    let mut rows = statement.query([*last])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        std::hint::black_box(row.get_ref(1)?.as_bytes()?.to_vec());
        *last = row.get(0)?;
        count += 1;
    }
    Ok(count)
}

/// The second process.
pub(crate) async fn answer(db: &Path) -> Result<()> {
    let mut done = first_is_done()?;
    let table = Table::open(db)?;
    let (mut out, mut last, mut seen) = (Output::new(), 0, table.version()?);
    if !(out.write(|out| writeln!(out, "{READY}"))? && out.flush()?) {
        return Ok(());
    }
    loop {
        tokio::select! {
            biased;
            _ = &mut done => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
        let now = table.version()?;
        if now == seen {
            continue;
        }
        seen = now;
        let mut requests = Vec::new();
        last = table.read(last, |id, data| requests.push((id, data.to_vec())))?;
        table.commit(|conn| {
            let mut reply = conn.prepare_cached(REPLY)?;
            requests.iter().try_for_each(|request| reply.execute((request.0, &request.1)).map(drop))
        })?;
    }
}
