//! The dead letters of a file, for reading only.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::dead_letter::DeadLetter;
use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::archive::Still;
use crate::sqlite::filters::Filters;
use crate::sqlite::log::Log;
use crate::sqlite::work::dead;

/// Letters read at once; each comes with its body.
const PAGE: usize = 16;

/// Dead letters of an [`Archive`](crate::sqlite::Archive), the oldest first. One that cannot be read is an item `Corrupt` that
/// names its row, and is not the end; an error of the file is, and [`has_failed`](Self::has_failed) tells the two apart.
pub struct DeadLetters {
    pub(super) log: Arc<Log>,
    pub(super) still: Option<Arc<Still>>,
    pub(super) filters: Filters,
    /// Behind which id to go on; `None` at the end.
    pub(super) after: Option<i64>,
    pub(super) ready: VecDeque<Result<DeadLetter>>,
    pub(super) failed: bool,
}

impl DeadLetters {
    /// Whether the last item was an error of the file, behind which nothing was read.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn read_on(&mut self, after: i64) -> Result<()> {
        let (found, next) =
            self.log.read("reading dead letters", |conn| dead::each(conn, &self.filters, after, PAGE))?;
        self.still.as_ref().map_or(Ok(()), |still| still.check())?;
        self.after = next;
        self.ready.extend(found.into_iter().map(|found| {
            found.map_err(|(id, why)| {
                Error::new(ErrorKind::Corrupt, format!("dead letter {id} cannot be read: {why}"))
            })
        }));
        Ok(())
    }
}

impl Iterator for DeadLetters {
    type Item = Result<DeadLetter>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            let after = self.after?;
            if let Err(error) = self.read_on(after) {
                // It would say the same for ever.
                self.failed = true;
                self.after = None;
                return Some(Err(error));
            }
        }
        self.ready.pop_front()
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("after", &self.after).finish_non_exhaustive()
    }
}
