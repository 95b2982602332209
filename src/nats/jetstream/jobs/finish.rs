//! How a job ends: first what is to be kept of it, and then that the server need not keep it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use chrono::Utc;

use super::desk::{Job, JobDesk};
use super::letter::{Kind, put_reply};
use crate::dead_letter::{DeadLetter, DeadSource};
use crate::error::{Error, ErrorKind, Result};
use crate::handler::HandlerError;
use crate::headers::Headers;
use crate::job_handle::Failure;
use crate::nats::jetstream::answer::{Answer, one_line, tell};
use crate::nats::jetstream::events::to_server;
use crate::nats::jetstream::failure::Unpublished;
use crate::reply::Response;
use crate::retry::pause;
use crate::service::{Finished, Verdict};

/// Parts are kept as long as a reply, from when they are sent, and their job may still run for as long.
const MAY_RUN: Duration = crate::defaults::MAX_RUN;

impl JobDesk {
    /// Writes down how an attempt ended; `false` if it was not this service's any more.
    pub(super) async fn finish(self: &Arc<Self>, finished: &Finished) -> Result<bool> {
        let Some(job) = self.held(finished.ticket) else { return Ok(false) };
        let told = self.end(&job, &finished.verdict).await;
        job.unwritten.store(told.is_err(), Ordering::Relaxed);
        let counted = told?.is_some();
        self.forget(finished.ticket);
        Ok(counted)
    }

    /// Keeps what is to be kept, and tells the server; `None` where nobody there knows of it any more.
    async fn end(self: &Arc<Self>, job: &Job, verdict: &Verdict) -> Result<Option<()>> {
        let jetstream = &self.streams.jetstream;
        match verdict {
            Verdict::Answered(response) => {
                self.keep_final(job, response).await?;
                tell(jetstream, &job.reply, Answer::Done).await
            }
            Verdict::Failed(error) if error.is_fatal() => self.bury(job, error, "failed").await,
            Verdict::Failed(error) if job.attempt >= job.terms.max_attempts => {
                self.bury(job, error, "exhausted").await
            }
            Verdict::Failed(error) => tell(jetstream, &job.reply, Answer::Again(pause_of(job, error))).await,
            Verdict::Released => tell(jetstream, &job.reply, Answer::Again(Duration::ZERO)).await,
        }
    }

    /// A job that comes once more than it is to be tried.
    pub(super) async fn give_up(self: Arc<Self>, job: &Job) {
        let error =
            HandlerError::new("its server was lost, or did not finish it in time, at the last attempt");
        if let Err(error) = self.bury(job, &error, "exhausted").await {
            tracing::debug!(%error, id = %job.id, "a job that is given up on comes once more");
        }
    }

    async fn bury(&self, job: &Job, error: &HandlerError, reason: &str) -> Result<Option<()>> {
        let attempts = job.attempt.min(job.terms.max_attempts);
        let source = DeadSource::Job(job.id.as_ref().into());
        let mut letter = DeadLetter::new(0, source, job.message.subject().clone(), reason);
        letter.payload = job.message.payload().clone();
        letter.headers = job.message.headers().clone();
        letter.attempts = attempts;
        letter.failures = vec![Failure::new(attempts, Utc::now(), one_line(error.message()))];
        letter.created_at = job.terms.created;
        self.streams.bury(letter, &format!("job:{}", job.id)).await?;
        let kind = Kind::Failed(error);
        self.keep(job, &kind, "final", error.body().clone(), &Headers::new(), job.terms.keep_reply).await?;
        tell(&self.streams.jetstream, &job.reply, Answer::Never(reason)).await
    }

    async fn keep_final(&self, job: &Job, response: &Response) -> Result<()> {
        let (payload, headers) = (response.payload().clone(), response.headers());
        match self.keep(job, &Kind::Final, "final", payload, headers, job.terms.keep_reply).await {
            // It would be refused at each further try.
            Err(error) if is_unsendable(&error) => {
                let error =
                    HandlerError::new(format!("the reply cannot be kept: {error}")).with_code("unsendable");
                let kind = Kind::Failed(&error);
                self.keep(job, &kind, "final", Bytes::new(), &Headers::new(), job.terms.keep_reply).await
            }
            kept => kept,
        }
    }

    /// Keeps a part, in the order of parts.
    pub(super) async fn part(&self, job: &Job, part: &Response) -> Result<()> {
        let mut parts = job.parts.lock().await;
        let (kind, once) = (Kind::Part(*parts + 1), format!("{}:{}", job.attempt, *parts + 1));
        let time = job.terms.keep_reply.saturating_add(MAY_RUN);
        self.keep(job, &kind, &once, part.payload().clone(), part.headers(), time).await?;
        *parts += 1;
        Ok(())
    }

    /// Keeps a message among the replies; one that was kept under the same name a short while ago is not kept again.
    async fn keep(
        &self,
        job: &Job,
        kind: &Kind<'_>,
        once: &str,
        payload: Bytes,
        headers: &Headers,
        time: Duration,
    ) -> Result<()> {
        self.streams.state().await?;
        let mut map: HeaderMap = to_server(headers)?;
        put_reply(&mut map, job.attempt, kind)?;
        map.insert("Nats-Msg-Id", format!("reply:{}:{once}", job.id).as_str());
        // The server counts in seconds.
        map.insert("Nats-TTL", format!("{}s", time.as_secs().max(1)).as_str());
        self.streams.connection.check_wire_size(&payload, Some(&map))?;
        let lies = self.streams.subjects.replies(&job.id);
        let message = PublishMessage::build().payload(payload).headers(map);
        match self.streams.put(&lies, lies.clone(), message).await {
            Ok(_) => Ok(()),
            Err(Unpublished::Other(error)) => Err(error),
            Err(Unpublished::WrongSequence(_) | Unpublished::Duplicate) => {
                Err(Error::new(ErrorKind::Busy, "the same reply is being kept"))
            }
        }
    }
}

fn is_unsendable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::PayloadTooLarge { .. } | ErrorKind::InvalidHeader)
}

fn pause_of(job: &Job, error: &HandlerError) -> Duration {
    let wanted = error.retry_time().map(|time| (time - Utc::now()).num_milliseconds().saturating_add(1));
    let (first, longest) = (job.terms.backoff.first_millis(), job.terms.backoff.longest_millis());
    let chance = uuid::Uuid::new_v4().as_u64_pair().0;
    let millis = wanted.unwrap_or_else(|| pause(first, longest, job.attempt.into(), chance));
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
