//! Reading all messages with one SELECT.

use std::hint::black_box;
use std::time::Instant;

use crate::bench::SUBJECT;
use crate::bench::args::SubArgs;
use crate::bench::measured::Measured;
use crate::bench::place::Place;
use crate::bench::progress::Progress;
use crate::bench::raw::{ROWS, off_runtime};
use crate::failure::{Failure, Result};
use crate::signals::Stop;

pub(crate) async fn replay(
    place: &Place,
    args: &SubArgs,
    progress: Progress,
    stop: Stop,
) -> Result<Measured> {
    let (messages, size) = (args.messages, args.size as usize);
    off_runtime(place.raw(), "NORMAL", progress, stop, move |table, task| {
        let (data, mut left) = (vec![b'x'; size], messages);
        while left > 0 {
            let rows = left.min(ROWS);
            table.insert(SUBJECT, &data, rows)?;
            task.add(rows)?;
            left -= rows;
        }
        let (mut read, began) = (0, Instant::now());
        table.read(0, |_, data| {
            // A message is its reader's to keep.
            black_box(data.to_vec());
            read += 1;
        })?;
        let elapsed = began.elapsed();
        if read == messages {
            Ok(Measured::of(Some(elapsed), Vec::new()))
        } else {
            Err(Failure::failed(format!("bare SQLite has {read} of {messages} messages")))
        }
    })
    .await
}
