//! Inserting messages: each in a transaction of its own, or as many in one as there are publishers.

use std::time::Instant;

use crate::bench::SUBJECT;
use crate::bench::args::PubArgs;
use crate::bench::clock::nanos;
use crate::bench::measured::Measured;
use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::raw::{ROWS, off_runtime};
use crate::bench::report::synchronous;
use crate::failure::Result;
use crate::signals::Stop;

pub(crate) async fn publish(
    place: &Place,
    args: &PubArgs,
    progress: Progress,
    stop: Stop,
) -> Result<Measured> {
    let (messages, size, at_once) = (args.messages, args.size as usize, args.publishers().min(ROWS));
    off_runtime(place.raw(), synchronous(args.level.durability()), progress, stop, move |table, task| {
        let data = vec![b'x'; size];
        let (mut times, mut left) = (Vec::new(), messages);
        let began = Instant::now();
        while left > 0 {
            let rows = left.min(at_once);
            let began = Instant::now();
            table.insert(SUBJECT, &data, rows)?;
            let time = nanos(began.elapsed());
            // Each of those that share a transaction waits for it.
            times.extend((0..rows).map(|_| time));
            task.add(rows)?;
            left -= rows;
        }
        Ok(Measured::of(Some(began.elapsed()), times))
    })
    .await
}
