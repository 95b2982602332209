//! One request or job, and all that is known of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use chrono::{DateTime, Utc};

use crate::dead_letter::{DeadLetter, DeadSource};
use crate::error::Result;
use crate::job::JobParts;
use crate::job_handle::{Failure, JobId, JobInfo, JobState};
use crate::message::Message;
use crate::reply::Reply;
use crate::retry::Backoff;
use crate::service::{Ticket, Traits};
use crate::subject::Subject;

#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: Arc<str>,
    pub(super) sequence: i64,
    /// As its server gets it.
    pub(super) message: Message,
    pub(super) terms: Terms,
    pub(super) state: State,
    /// Counts the starts: the fencing token.
    pub(super) attempt: i64,
    /// Counts the starts that were not given back.
    pub(super) charged: u32,
    pub(super) failures: Vec<Failure>,
    pub(super) parts: Parts,
    /// Set once, when it is over.
    pub(super) outcome: Option<Result<Reply>>,
    pub(super) finished_at: Option<i64>,
    /// Who reads the replies, and how to wake those who wait.
    pub(super) readers: HashMap<u64, Option<Waker>>,
    /// No longer kept: it is there for its readers alone.
    pub(super) forgotten: bool,
    pub(super) due: Due,
}

/// When something is to be done about it though nobody asks: the entries of the row in both queues of due times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::inmem) struct Due {
    /// In Unix milliseconds.
    pub(in crate::inmem) unix: Option<i64>,
    /// In awake milliseconds.
    pub(in crate::inmem) awake: Option<i64>,
}

#[derive(Debug)]
pub(super) enum Terms {
    Request(RequestTerms),
    Job(JobTerms),
}

#[derive(Debug)]
pub(super) struct RequestTerms {
    /// In awake milliseconds.
    pub(super) deadline: i64,
    pub(super) redeliver: bool,
    /// Its caller reads the parts; else they are checked and dropped.
    pub(super) wants_parts: bool,
}

#[derive(Debug)]
pub(super) struct JobTerms {
    pub(super) run_at: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) priority: i32,
    pub(super) key: Option<Box<str>>,
    pub(super) unique: Option<Box<str>>,
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    /// In milliseconds.
    pub(super) keep_reply: i64,
}

#[derive(Debug)]
pub(super) enum State {
    Scheduled,
    Waiting,
    Ready,
    Leased(Lease),
    Done,
    Dead(Letter),
    Cancelled,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) service: u64,
    /// In awake milliseconds.
    pub(super) run_until: i64,
    pub(super) cancel_requested: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    pub(super) id: u64,
    pub(super) reason: &'static str,
}

impl JobTerms {
    pub(super) fn new(parts: &JobParts, now: i64) -> Self {
        Self {
            run_at: parts.run.unix_millis(now),
            expires_at: parts.expires.map(|at| at.unix_millis(now)),
            priority: parts.priority,
            key: parts.key.clone(),
            unique: parts.unique.as_ref().map(|(key, _)| key.clone()),
            max_attempts: parts.max_attempts,
            backoff: parts.backoff,
            keep_reply: crate::retry::millis(parts.keep_reply),
        }
    }
}

impl Row {
    pub(super) fn new(id: Arc<str>, sequence: i64, message: Message, terms: Terms) -> Self {
        Self {
            id,
            sequence,
            message,
            terms,
            state: State::Waiting,
            attempt: 0,
            charged: 0,
            failures: Vec::new(),
            parts: Parts::default(),
            outcome: None,
            finished_at: None,
            readers: HashMap::new(),
            forgotten: false,
            due: Due::default(),
        }
    }

    pub(super) fn subject(&self) -> &Subject {
        self.message.subject()
    }

    pub(super) fn job(&self) -> Option<&JobTerms> {
        match &self.terms {
            Terms::Job(job) => Some(job),
            Terms::Request(_) => None,
        }
    }

    pub(super) fn priority(&self) -> i32 {
        self.job().map_or(0, |job| job.priority)
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease) => Some(lease),
            _ => None,
        }
    }

    /// Under which its jobs run one at a time.
    pub(super) fn key(&self) -> Option<(Subject, Box<str>)> {
        Some((self.subject().clone(), self.job()?.key.clone()?))
    }

    pub(super) fn unique(&self) -> Option<(Subject, Box<str>)> {
        Some((self.subject().clone(), self.job()?.unique.clone()?))
    }

    /// That of the attempt that runs, or ran last.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket { sequence: self.sequence, attempt: self.attempt }
    }

    pub(super) fn attempt(&self) -> u32 {
        u32::try_from(self.attempt).unwrap_or(u32::MAX)
    }

    pub(super) fn traits(&self) -> Traits {
        let job = self.job();
        Traits {
            is_request: job.is_none(),
            caller: None,
            has_key: job.is_some_and(|job| job.key.is_some()),
            is_unique: job.is_some_and(|job| job.unique.is_some()),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Dead(_) | State::Cancelled)
    }

    /// When something is to be done about it, as it is now.
    pub(super) fn next_due(&self) -> Due {
        match (&self.terms, &self.state) {
            (Terms::Request(_), State::Done | State::Dead(_) | State::Cancelled) => Due::default(),
            (Terms::Request(request), State::Leased(lease)) => {
                Due { unix: None, awake: Some(request.deadline.min(lease.run_until)) }
            }
            (Terms::Request(request), _) => Due { unix: None, awake: Some(request.deadline) },
            (Terms::Job(job), State::Scheduled) => {
                let expires_at = job.expires_at.unwrap_or(i64::MAX);
                Due { unix: Some(job.run_at.min(expires_at)), awake: None }
            }
            (Terms::Job(job), State::Waiting | State::Ready) => Due { unix: job.expires_at, awake: None },
            (Terms::Job(_), State::Leased(lease)) => Due { unix: None, awake: Some(lease.run_until) },
            (Terms::Job(job), State::Done | State::Cancelled) => {
                let kept_until = self.finished_at.map(|at| at.saturating_add(job.keep_reply));
                Due { unix: kept_until, awake: None }
            }
            (Terms::Job(_), State::Dead(_)) => Due::default(),
        }
    }

    pub(super) fn info(&self) -> Option<JobInfo> {
        let job = self.job()?;
        let state = match &self.state {
            State::Scheduled => JobState::Scheduled,
            State::Waiting => JobState::Waiting,
            State::Ready => JobState::Ready,
            State::Leased(_) => JobState::Leased,
            State::Done => JobState::Done,
            State::Dead(_) => JobState::Dead,
            State::Cancelled => JobState::Cancelled,
        };
        let id = JobId::from(Arc::clone(&self.id));
        let mut info = JobInfo::new(id, self.subject().clone(), state, self.message.time());
        info.attempt = self.attempt();
        info.max_attempts = job.max_attempts;
        info.priority = job.priority;
        info.run_at = (state == JobState::Scheduled).then(|| time(job.run_at));
        info.finished_at = self.finished_at.map(time);
        info.cancel_requested = self.lease().is_some_and(|lease| lease.cancel_requested);
        info.failures.clone_from(&self.failures);
        Some(info)
    }

    pub(super) fn dead_letter(&self) -> Option<DeadLetter> {
        let State::Dead(Letter { id, reason }) = self.state else {
            return None;
        };
        let job = JobId::from(Arc::clone(&self.id));
        let mut letter = DeadLetter::new(id, DeadSource::Job(job), self.subject().clone(), reason);
        letter.payload = self.message.payload().clone();
        letter.headers = self.message.headers().clone();
        letter.attempts = self.attempt();
        letter.failures.clone_from(&self.failures);
        letter.created_at = self.message.time();
        letter.died_at = self.finished_at.map(time).unwrap_or_default();
        Some(letter)
    }
}

/// A time outside of what `chrono` can express is shown as the Unix epoch, as that of an event is.
pub(in crate::inmem) fn time(unix_millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(unix_millis).unwrap_or_default()
}

/// The parts that were sent, numbered from 0 over the whole life of the row.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The number of the first that is still here.
    first: usize,
    list: VecDeque<Reply>,
}

impl Parts {
    pub(super) fn push(&mut self, part: Reply) {
        self.list.push_back(part);
    }

    /// The one at the cursor or behind it, which is moved on.
    pub(super) fn next(&mut self, cursor: &mut usize) -> Option<Reply> {
        *cursor = (*cursor).max(self.first);
        let part = self.list.get(*cursor - self.first)?.clone();
        *cursor += 1;
        Some(part)
    }

    /// Lets go of those before this number.
    pub(super) fn forget_before(&mut self, number: usize) {
        while self.first < number && self.list.pop_front().is_some() {
            self.first += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.first += self.list.len();
        self.list.clear();
    }
}
