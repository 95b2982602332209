//! Jobs: enqueueing, asking, cancelling, holding back.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::job::JobParts;
use crate::job_handle::{Failure as Failed, JobId, JobInfo, JobState};
use crate::publish::Durability;
use crate::sqlite::tables::queues;
use crate::sqlite::tables::requests::finish::Outcome;
use crate::sqlite::tables::requests::insert;
use crate::sqlite::tables::requests::look::{self, Info};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::work::{Work, fate};
use crate::sqlite::writer::{Failure, Operation, Tx, row_size};
use crate::subject::Subject;

/// What became of a job that was enqueued.
#[derive(Clone, Debug)]
pub(crate) struct Enqueued {
    pub(crate) id: JobId,
    pub(crate) duplicate: bool,
}

/// A job with the id that it is to have.
pub(crate) struct NewJob {
    pub(crate) id: String,
    pub(crate) job: JobParts,
}

impl NewJob {
    pub(crate) fn new(job: JobParts) -> Self {
        Self { id: new_id(), job }
    }

    /// Whether others have to wake at another time for it.
    fn has_time(&self) -> bool {
        self.job.expires.is_some() || self.job.run != crate::job::RunAt::In(std::time::Duration::ZERO)
    }
}

/// An id of a request or job: in the order of time, so that the index grows at its end.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().hyphenated().to_string()
}

/// What a row takes beside its body, with its places in indexes.
pub(super) const ROW: usize = 512;

/// Writes jobs down, all or none.
pub(crate) struct Enqueue {
    pub(crate) work: Arc<Work>,
    pub(crate) jobs: Vec<NewJob>,
    pub(crate) durability: Durability,
}

impl Operation for Enqueue {
    type Output = Vec<Enqueued>;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn is_long(&self) -> bool {
        self.jobs.len() > 64
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Enqueued>, Failure> {
        tx.check_room(self.jobs.iter().map(|new| size(&new.job)).sum())?;
        self.jobs.iter().map(|job| enqueue(tx, job).map_err(Failure::from)).collect()
    }

    fn committed(&self, _: &Self::Output) {
        if self.jobs.iter().any(NewJob::has_time) {
            self.work.timers_changed();
        }
    }
}

/// What a job takes in the file.
pub(crate) fn size(job: &JobParts) -> usize {
    row_size(&job.subject, &job.payload, &job.headers) + ROW
}

/// Adds a job, unless one with its unique key is in the way.
pub(crate) fn enqueue(tx: &mut Tx<'_>, new: &NewJob) -> rusqlite::Result<Enqueued> {
    let NewJob { id, job } = new;
    let subject = job.subject.as_str();
    if let Some((unique, _)) = &job.unique
        && let Some((_, id)) = insert::taken(tx.conn, subject, unique, tx.now)?
    {
        return Ok(Enqueued { id: id.into(), duplicate: true });
    }
    insert::job(tx.conn, id, job, tx.now)?;
    tx.wrote(size(job));
    tx.changed_requests(WakeBits::request(subject));
    Ok(Enqueued { id: id.as_str().into(), duplicate: false })
}

/// Cancels a job; `false` if it had ended before.
pub(crate) struct Cancel {
    pub(crate) work: Arc<Work>,
    pub(crate) id: JobId,
    pub(crate) durability: Durability,
}

impl Operation for Cancel {
    type Output = bool;

    fn durability(&self) -> Durability {
        self.durability
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let id = self.id.as_str();
        let Some(found) = look::by_id(tx.conn, id, tx.now)? else {
            return Err(Failure::Refused(Error::no_such_job(id)));
        };
        if found.is_finished {
            return Ok(false);
        }
        if !found.is_leased {
            fate::end(tx, found.sequence, Outcome::Cancelled, None, "")?;
            return Ok(true);
        }
        look::ask_to_stop(tx.conn, found.sequence, id, tx.now)?;
        let holder = look::holder(tx.conn, found.sequence)?;
        // Who cannot say which peer it is has no bell either, or one that is rung for everything.
        tx.changed_requests(holder.map_or(WakeBits::EVERYTHING, WakeBits::peer));
        Ok(true)
    }

    fn committed(&self, _: &Self::Output) {
        self.work.stop_cancelled();
        self.work.look_for_replies();
    }
}

/// Holds a subject back, or lets it go on.
pub(crate) struct Hold {
    pub(crate) subject: Subject,
    pub(crate) paused: bool,
    pub(crate) durability: Durability,
}

impl Operation for Hold {
    type Output = ();

    fn durability(&self) -> Durability {
        self.durability
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        if self.paused {
            queues::pause(tx.conn, &self.subject, tx.now)?;
        } else {
            queues::resume(tx.conn, &self.subject)?;
            tx.changed_requests(WakeBits::request(&self.subject));
        }
        Ok(())
    }
}

/// What a row tells of a job.
pub(crate) fn info(id: JobId, info: Info) -> Result<JobInfo> {
    let state = match info.state.as_str() {
        "scheduled" => JobState::Scheduled,
        "waiting" => JobState::Waiting,
        "ready" => JobState::Ready,
        "leased" => JobState::Leased,
        "done" => JobState::Done,
        "cancelled" => JobState::Cancelled,
        _ => JobState::Dead,
    };
    let subject = Subject::new(&info.subject).map_err(|error| {
        Error::with_source(ErrorKind::Corrupt, format!("job {id} has a subject that is none"), error)
    })?;
    let number = |number: i64| u32::try_from(number).unwrap_or(0);
    let mut told = JobInfo::new(id, subject, state, time(info.created_at));
    told.attempt = number(info.attempt);
    told.max_attempts = number(info.max_attempts);
    told.priority = i32::try_from(info.priority).unwrap_or(0);
    told.run_at = info.run_at.map(time);
    told.finished_at = info.finished_at.map(time);
    told.cancel_requested = info.is_cancelled;
    told.failures = failures(&info.errors);
    Ok(told)
}

pub(crate) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

/// The lines that [`line`](crate::sqlite::failure::line) writes.
pub(crate) fn failures(lines: &str) -> Vec<Failed> {
    let parse = |line: &str| {
        let (attempt, rest) = line.split_once(' ')?;
        let (at, message) = rest.split_once(' ')?;
        Some(Failed::new(attempt.parse().ok()?, time(at.parse().ok()?), message))
    };
    lines.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::failure::line;

    #[test]
    fn failures_are_read_as_they_were_written_and_rubbish_is_passed_over() {
        let text = line(1, 10, "no route") + "rubbish\n" + &line(2, 20, "");
        let read = failures(&text);
        assert_eq!(read, [Failed::new(1, time(10), "no route"), Failed::new(2, time(20), "")]);
    }
}
