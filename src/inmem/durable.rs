//! Jobs and consumers, as the test double of a bus that keeps them: they end with the bus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::consumer::Consumer;
use crate::consumer_info::ConsumerInfo;
use crate::dead_letter::{Dead, DeadLetter};
use crate::durable::Durable;
use crate::error::Result;
use crate::future::BoxFuture;
use crate::inbox::Inbox;
use crate::inmem::InMemBus;
use crate::inmem::broker::{State, runtime};
use crate::inmem::callers::Caller;
use crate::inmem::consumers::{Consumers, Member};
use crate::inmem::log::Log;
use crate::inmem::requests::Now;
use crate::job::Job;
use crate::job_handle::{JobHandle, JobId, JobInfo};
use crate::reply::Replies;
use crate::subject::Subject;
use crate::subscribe::StartAt;

impl InMemBus {
    fn submit_now(&self, jobs: Vec<Job>) -> Result<Vec<JobHandle>> {
        let broker = self.broker();
        let checked = |job: Job| {
            let parts = job.into_parts()?;
            parts.check_size(broker.max_payload)?;
            Ok(parts)
        };
        let jobs = jobs.into_iter().map(checked).collect::<Result<Vec<_>>>()?;
        let submitted = self.step(|state, now| {
            Ok(jobs.into_iter().map(|parts| state.requests.submit(parts, now)).collect::<Vec<_>>())
        })?;
        let bus: Arc<dyn Durable> = Arc::new(self.clone());
        let handles = submitted
            .into_iter()
            .map(|(id, duplicate)| JobHandle::new(JobId::from(id), duplicate, Arc::clone(&bus)));
        Ok(handles.collect())
    }

    fn replies_now(&self, id: &JobId) -> Result<Replies> {
        let (id, reader) = self.step(|state, _| state.requests.read(id.as_str()))?;
        Ok(Replies::new(Caller::new(Arc::clone(self.broker()), id, reader)))
    }

    fn consumer_now(&self, consumer: Consumer) -> Result<Inbox> {
        let parts = consumer.into_parts()?;
        runtime()?;
        let (broker, shared) = (self.broker(), self.shared());
        broker.has_consumers.store(true, Ordering::Release);
        let seat = broker.step(|state, now| {
            state.open()?;
            shared.read(|log| state.consumers.open(&parts, log, now))
        })?;
        let member = Member::new(Arc::clone(broker), Arc::clone(shared), seat, &parts.name);
        Ok(Inbox::new(parts.name, member))
    }

    /// A step of the consumers, which are shown the log.
    fn with_log<T>(&self, act: impl FnOnce(&mut Consumers, &Log, Now) -> Result<T>) -> Result<T> {
        self.step(|state, now| self.shared().read(|log| act(&mut state.consumers, log, now)))
    }

    fn step<T>(&self, act: impl FnOnce(&mut State, Now) -> Result<T>) -> Result<T> {
        self.broker().step(|state, now| {
            state.not_closed()?;
            act(state, now)
        })
    }
}

impl Durable for InMemBus {
    fn submit(&self, jobs: Vec<Job>) -> BoxFuture<'_, Result<Vec<JobHandle>>> {
        Box::pin(async move { self.submit_now(jobs) })
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<JobInfo>> {
        Box::pin(async move { self.step(|state, _| state.requests.info(id.as_str())) })
    }

    fn replies(&self, id: JobId) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async move { self.replies_now(&id) })
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move { self.step(|state, now| state.requests.cancel(id.as_str(), now)) })
    }

    fn pause(&self, subject: Subject) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.step(|state, _| {
                state.requests.pause(subject);
                Ok(())
            })
        })
    }

    fn resume(&self, subject: Subject) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.step(|state, _| {
                state.requests.resume(&subject);
                Ok(())
            })
        })
    }

    fn dead_letters(&self, which: Dead, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move { self.step(|state, _| Ok(state.requests.dead_letters(&which, after, limit))) })
    }

    fn requeue(&self, which: Dead) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.step(|state, now| {
                let State { requests, consumers, .. } = state;
                self.shared().read(|log| {
                    requests.requeue(&which, now, |name, sequence| consumers.requeue(name, sequence, log))
                })
            })
        })
    }

    fn purge(&self, which: Dead) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { self.step(|state, _| state.requests.purge(&which)) })
    }

    fn consumer(&self, consumer: Consumer) -> BoxFuture<'_, Result<Inbox>> {
        Box::pin(async move { self.consumer_now(consumer) })
    }

    fn consumer_info<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ConsumerInfo>> {
        Box::pin(async move { self.with_log(|consumers, log, now| consumers.info(name, log, now)) })
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>>> {
        Box::pin(async move { self.with_log(|consumers, log, now| Ok(consumers.list(log, now))) })
    }

    fn seek_consumer<'a>(&'a self, name: &'a str, to: StartAt) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.with_log(|consumers, log, _| consumers.seek(name, to, log)) })
    }

    fn pause_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.step(|state, _| state.consumers.pause(name)) })
    }

    fn resume_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.step(|state, _| state.consumers.resume(name)) })
    }

    fn delete_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.step(|state, _| state.consumers.delete(name)) })
    }
}
