//! Jobs in a table: claimed in one transaction, completed in another, as many in each as there are workers.

use std::time::Instant;

use rowbus::rusqlite::{self, Connection};

use crate::bench::SUBJECT;
use crate::bench::args::QueueArgs;
use crate::bench::measured::Measured;
use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::raw::{ROWS, off_runtime};
use crate::bench::report::synchronous;
use crate::failure::Result;
use crate::signals::Stop;

const ENQUEUE: &str = "INSERT INTO jobs (subject, data, state) VALUES (?1, ?2, 0)";
// By jobs_ready.
const CLAIM: &str = "UPDATE jobs SET state = 1, token = ifnull(token, 0) + 1
    WHERE id IN (SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT ?1) RETURNING id, data";
// By the primary key.
const COMPLETE: &str = "UPDATE jobs SET state = 2 WHERE id = ?1 AND state = 1";

pub(crate) async fn queue(
    place: &Place,
    args: &QueueArgs,
    progress: Progress,
    stop: Stop,
) -> Result<Measured> {
    let (messages, size, at_once) = (args.messages, args.size as usize, args.workers.min(ROWS));
    off_runtime(place.raw(), synchronous(args.level.durability()), progress, stop, move |table, task| {
        let (data, mut left) = (vec![b'x'; size], messages);
        while left > 0 {
            let rows = left.min(ROWS);
            table.commit(|conn| {
                let mut enqueue = conn.prepare_cached(ENQUEUE)?;
                (0..rows).try_for_each(|_| enqueue.execute((SUBJECT, &data)).map(drop))
            })?;
            left -= rows;
        }
        let began = Instant::now();
        loop {
            let claimed = table.commit(|conn| claim(conn, at_once))?;
            if claimed.is_empty() {
                return Ok(Measured::of(Some(began.elapsed()), Vec::new()));
            }
            table.commit(|conn| {
                let mut complete = conn.prepare_cached(COMPLETE)?;
                claimed.iter().try_for_each(|id| complete.execute([id]).map(drop))
            })?;
            task.add(claimed.len() as u64)?;
        }
    })
    .await
}

fn claim(conn: &Connection, jobs: u64) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(CLAIM)?;
    let mut rows = statement.query([jobs.cast_signed()])?;
    let mut claimed = Vec::new();
    while let Some(row) = rows.next()? {
        std::hint::black_box(row.get_ref(1)?.as_bytes()?.to_vec());
        claimed.push(row.get(0)?);
    }
    Ok(claimed)
}
