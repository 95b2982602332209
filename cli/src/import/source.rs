//! Lines in batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use rowbus::defaults;
use tokio::sync::mpsc;

use crate::failure::{Failure, Result};
use crate::import::line::Line;
use crate::import::read;
use crate::stdin;

/// The longest line: the largest payload, each byte of it written as `\u0000`, and room for the rest.
const LONGEST: u64 = 6 * defaults::MAX_ROW as u64 + (8 << 20);

/// Lines that share a transaction, as they come.
pub(super) type Batches = mpsc::Receiver<Result<Vec<Line>>>;

pub(super) struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    number: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let input: Box<dyn Read + Send> = if path.as_os_str() == "-" {
            stdin::must_be_open()?;
            Box::new(io::stdin())
        } else {
            Box::new(
                File::open(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?,
            )
        };
        Ok(Self { input: BufReader::with_capacity(64 << 10, input), number: 0 })
    }

    /// Reads in a thread of its own: a pipe may stay silent for ever, and nothing must wait for it at the end. Ends after a
    /// failure.
    pub(super) fn read_ahead(mut self) -> Result<Batches> {
        let (send, receive) = mpsc::channel(1);
        let reader = move || {
            while let Some(batch) = self.batch().transpose() {
                let is_last = batch.is_err();
                if send.blocking_send(batch).is_err() || is_last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("lines".to_owned()).spawn(reader);
        thread.map_err(|error| Failure::failed(format!("starting a thread: {error}")))?;
        Ok(receive)
    }

    /// The next lines that share a transaction; `None` at the end.
    fn batch(&mut self) -> Result<Option<Vec<Line>>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < defaults::BATCH && bytes < defaults::PAGE_BYTES {
            let mut line = Vec::new();
            let read_until = (&mut self.input).take(LONGEST).read_until(b'\n', &mut line);
            let length = read_until.map_err(|error| Failure::failed(format!("reading: {error}")))?;
            if length == 0 {
                break;
            }
            self.number += 1;
            if length as u64 == LONGEST {
                return Err(Failure::failed(format!("line {}: it is longer than any event", self.number)));
            }
            bytes += length;
            batch.push(read(&line, self.number)?);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}
