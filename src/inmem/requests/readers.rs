//! Who waits for replies.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::row::{Row, State, Terms};
use super::{Now, Requests};
use crate::error::{Error, Result};
use crate::reply::Reply;

impl Requests {
    /// A reader of a job's replies.
    pub(in crate::inmem) fn read(&mut self, id: &str) -> Result<(Arc<str>, u64)> {
        let sequence = self.job_of(id)?.sequence;
        let reader = self.next_reader();
        let Some(row) = self.rows.get_mut(&sequence) else {
            return Err(Error::no_such_job(id));
        };
        row.readers.insert(reader, None);
        Ok((Arc::clone(&row.id), reader))
    }

    /// The next reply behind the cursor, or the waker is called when there is one.
    pub(in crate::inmem) fn poll_reply(
        &mut self,
        id: &str,
        reader: u64,
        cursor: &mut usize,
        waker: &Waker,
    ) -> Poll<Result<Reply>> {
        let row = self.ids.get(id).and_then(|sequence| self.rows.get_mut(sequence));
        let Some(row) = row else {
            return Poll::Ready(Err(Error::no_such_job(id)));
        };
        if let Some(part) = row.parts.next(cursor) {
            // A request has this reader alone; a job's parts are for those who come later as well.
            if matches!(row.terms, Terms::Request(_)) {
                row.parts.forget_before(*cursor);
            }
            return Poll::Ready(Ok(part));
        }
        if let Some(outcome) = &row.outcome {
            return Poll::Ready(outcome.clone());
        }
        let waiting = row.readers.entry(reader).or_default();
        if !waiting.as_ref().is_some_and(|before| before.will_wake(waker)) {
            self.changes.wakers.extend(waiting.replace(waker.clone()));
        }
        Poll::Pending
    }

    /// A reader goes. A request goes with its caller.
    pub(in crate::inmem) fn leave(&mut self, id: &str, reader: u64, now: Now) {
        let row = self.ids.get(id).and_then(|sequence| self.rows.get_mut(sequence));
        let Some(row) = row else {
            return;
        };
        self.changes.wakers.extend(row.readers.remove(&reader).flatten());
        let sequence = row.sequence;
        if matches!(row.terms, Terms::Request(_)) {
            self.withdraw(sequence, now);
        } else if row.forgotten && row.readers.is_empty() {
            self.remove(sequence);
        }
    }

    fn withdraw(&mut self, sequence: i64, now: Now) {
        if self.rows.get(&sequence).is_some_and(|row: &Row| !row.is_over()) {
            self.revoke(sequence);
            self.end(sequence, State::Cancelled, Err(Error::closed()), now);
        }
        self.remove(sequence);
    }
}
