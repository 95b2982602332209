//! Enqueueing: a job is acknowledged when the server has said that it keeps it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use super::feed;
use super::letter::Terms;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, JobParts};
use crate::nats::jetstream::batch::Untaken;
use crate::nats::jetstream::events;
use crate::nats::jetstream::failure::Unpublished;
use crate::nats::jetstream::publish::{Ready, check_durability};
use crate::nats::jetstream::streams::Streams;
use crate::subject::Subject;

/// Subjects of which it was noted that they have jobs.
#[derive(Debug, Default)]
pub(in crate::nats::jetstream) struct Known {
    subjects: Mutex<HashSet<Subject>>,
}

impl Known {
    fn has(&self, subject: &Subject) -> bool {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner).contains(subject)
    }

    fn add(&self, subject: Subject) {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner).insert(subject);
    }
}

impl Streams {
    /// Enqueues all of them or none; their ids.
    pub(in crate::nats::jetstream) async fn submit(self: &Arc<Self>, jobs: Vec<Job>) -> Result<Vec<String>> {
        let jobs = jobs.into_iter().map(Job::into_parts).collect::<Result<Vec<_>>>()?;
        let now = Utc::now();
        let mut ids = Vec::with_capacity(jobs.len());
        let mut ready = Vec::with_capacity(jobs.len());
        let mut subjects = HashSet::new();
        for parts in jobs {
            let id = Uuid::now_v7().to_string();
            subjects.insert(parts.subject.clone());
            ready.push(self.ready_job(&id, parts, now)?);
            ids.push(id);
        }
        if ready.is_empty() {
            return Ok(ids);
        }
        let _pass = self.enter().await?;
        self.jobs().await?;
        for subject in subjects {
            self.note(subject).await?;
        }
        match self.send_batch(ready).await {
            Ok(_) => Ok(ids),
            Err(Untaken::Error(error) | Untaken::One(Unpublished::Other(error))) => Err(error),
            Err(Untaken::One(Unpublished::WrongSequence(_) | Unpublished::Duplicate)) => Err(Error::new(
                ErrorKind::Refused,
                "the NATS server takes the job for another; nothing was enqueued",
            )),
        }
    }

    /// Refuses what a work queue has no means for, and makes a message of the rest.
    fn ready_job(&self, id: &str, parts: JobParts, now: DateTime<Utc>) -> Result<Ready> {
        parts.check_size(self.connection.max_payload())?;
        check_durability(parts.durability)?;
        check_means(&parts)?;
        feed::check_subject(&parts.subject)?;
        let mut headers: HeaderMap = events::to_server(&parts.headers)?;
        Terms::of(&parts, now).put(&mut headers)?;
        headers.insert("Nats-Msg-Id", id);
        let lies = self.subjects.job(id, &parts.subject);
        let due = parts.run.unix_millis(now.timestamp_millis());
        let lies = if due <= now.timestamp_millis() {
            lies
        } else {
            let at = DateTime::from_timestamp_millis(due).unwrap_or(DateTime::<Utc>::MAX_UTC);
            let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            headers.insert("Nats-Schedule", format!("@at {at}").as_str());
            headers.insert("Nats-Schedule-Target", lies.as_str());
            self.subjects.scheduled(id)
        };
        self.connection.check_wire_size(&parts.payload, Some(&headers))?;
        Ok(Ready { subject: parts.subject, lies, headers, payload: parts.payload, expects: None })
    }

    /// Makes a note of a subject, once in all processes, before it has a job.
    async fn note(&self, subject: Subject) -> Result<()> {
        if self.known.has(&subject) {
            return Ok(());
        }
        self.state().await?;
        let lies = self.subjects.known(subject.as_str());
        let note = PublishMessage::build().expected_last_subject_sequence(0);
        match self.put(&lies, lies.clone(), note).await {
            Err(Unpublished::Other(error)) => return Err(error),
            // There is one.
            Ok(_) | Err(_) => self.known.add(subject),
        }
        Ok(())
    }
}

fn check_means(parts: &JobParts) -> Result<()> {
    let what = if parts.priority != 0 {
        "a priority: a work queue is in the order of its sequences"
    } else if parts.key.is_some() {
        "a key: a work queue deals out what is next, whatever else runs"
    } else if parts.unique.is_some() {
        "a unique key: a stream's duplicate window is one for all messages, and does not tell which job has the key"
    } else if parts.expires.is_some() {
        "an expiry: a stream forgets what has expired, and makes no dead letter of it"
    } else {
        return Ok(());
    };
    let message = format!("a job on JetStream cannot have {what}; nothing was enqueued");
    Err(Error::new(ErrorKind::Unsupported, message))
}
