//! Lines in batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use rowbus::defaults;

use crate::failure::{Failure, Result};
use crate::import::line::Line;
use crate::import::read;

/// The longest line: the largest payload, each byte of it written as `\u0000`, and room for the rest.
const LONGEST: u64 = 6 * defaults::MAX_ROW as u64 + (8 << 20);

pub(super) struct Lines {
    input: BufReader<Box<dyn Read>>,
    number: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let input: Box<dyn Read> = if path.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(
                File::open(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?,
            )
        };
        Ok(Self { input: BufReader::with_capacity(64 << 10, input), number: 0 })
    }

    /// The next lines that share a transaction; `None` at the end.
    pub(super) fn batch(&mut self) -> Result<Option<Vec<Line>>> {
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
