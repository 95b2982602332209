//! Jobs and consumers on JetStream.

use std::sync::Arc;

use crate::consumer::Consumer;
use crate::consumer_info::ConsumerInfo;
use crate::dead_letter::{Dead, DeadLetter};
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::inbox::Inbox;
use crate::job::Job;
use crate::job_handle::{JobHandle, JobId, JobInfo};
use crate::nats::jetstream::bus::JetStreamBus;
use crate::reply::Replies;
use crate::subject::Subject;
use crate::subscribe::StartAt;

impl Durable for JetStreamBus {
    fn submit(&self, jobs: Vec<Job>) -> BoxFuture<'_, Result<Vec<JobHandle>>> {
        Box::pin(async move {
            let ids = self.streams.submit(jobs).await?;
            let bus: Arc<dyn Durable> = Arc::new(self.clone());
            Ok(ids.into_iter().map(|id| JobHandle::new(JobId::from(id), false, Arc::clone(&bus))).collect())
        })
    }

    fn job(&self, _id: JobId) -> BoxFuture<'_, Result<JobInfo>> {
        Box::pin(async { self.unsupported("how a job fares") })
    }

    fn replies(&self, id: JobId) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async move { Ok(Replies::new(self.streams.replies(id.as_str()).await?)) })
    }

    fn cancel(&self, _id: JobId) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async { self.unsupported("cancelling a job") })
    }

    fn pause(&self, _subject: Subject) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.unsupported("pausing a subject of jobs") })
    }

    fn resume(&self, _subject: Subject) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.unsupported("pausing a subject of jobs") })
    }

    fn dead_letters(&self, which: Dead, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move { self.streams.dead_letters(which, after, limit).await })
    }

    fn requeue(&self, _which: Dead) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async { self.unsupported("making dead letters events or jobs again") })
    }

    fn purge(&self, which: Dead) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { self.streams.purge(which).await })
    }

    fn consumer(&self, consumer: Consumer) -> BoxFuture<'_, Result<Inbox>> {
        Box::pin(async move { self.streams.consumer(consumer.into_parts()?).await })
    }

    fn consumer_info<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ConsumerInfo>> {
        Box::pin(async move { self.streams.consumer_info(name).await })
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>>> {
        Box::pin(async move { self.streams.consumers().await })
    }

    fn seek_consumer<'a>(&'a self, name: &'a str, to: StartAt) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.streams.seek_consumer(name, to).await })
    }

    fn pause_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.streams.pause_consumer(name).await })
    }

    fn resume_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.streams.resume_consumer(name).await })
    }

    fn delete_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.streams.delete_consumer(name).await })
    }
}

impl JetStreamBus {
    /// What JetStream has no means for.
    fn unsupported<T>(&self, what: &str) -> Result<T> {
        if self.streams.gate.is_ending() {
            return Err(Error::closed());
        }
        let message = format!("{what}: JetStream has no means for it; a bus on SQLite does it");
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}
