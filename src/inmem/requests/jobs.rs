//! What can be asked of jobs, and of the subjects that they wait on.

use super::row::{Row, State};
use super::{Now, Requests};
use crate::error::{Error, ErrorKind, Result};
use crate::job_handle::JobInfo;
use crate::subject::Subject;

impl Requests {
    pub(in crate::inmem) fn info(&self, id: &str) -> Result<JobInfo> {
        self.job_of(id)?.info().ok_or_else(|| Error::no_such_job(id))
    }

    /// Whether it was not over.
    pub(in crate::inmem) fn cancel(&mut self, id: &str, now: Now) -> Result<bool> {
        let row = self.job_of(id)?;
        let sequence = row.sequence;
        if row.is_over() {
            return Ok(false);
        }
        if row.lease().is_some() {
            self.revoke(sequence);
            self.set(sequence, |row| {
                if let State::Leased(lease) = &mut row.state {
                    lease.cancel_requested = true;
                }
            });
        } else {
            self.end_cancelled(sequence, now);
        }
        Ok(true)
    }

    pub(in crate::inmem) fn pause(&mut self, subject: Subject) {
        self.ready.pause(subject);
    }

    pub(in crate::inmem) fn resume(&mut self, subject: &Subject) {
        if self.ready.resume(subject) {
            self.changes.ready(subject);
        }
    }

    pub(super) fn end_cancelled(&mut self, sequence: i64, now: Now) {
        let error = Error::new(ErrorKind::Cancelled, "the job was cancelled");
        self.end(sequence, State::Cancelled, Err(error), now);
    }

    /// A job that is still kept.
    pub(super) fn job_of(&self, id: &str) -> Result<&Row> {
        let row = self.ids.get(id).and_then(|sequence| self.rows.get(sequence));
        row.filter(|row| row.job().is_some() && !row.forgotten).ok_or_else(|| Error::no_such_job(id))
    }
}
