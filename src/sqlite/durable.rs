//! Jobs, consumers and dead letters of a bus on a file.

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
use crate::publish::Durability;
use crate::reply::Replies;
use crate::sqlite::consume::Change;
use crate::sqlite::tables::requests::look;
use crate::sqlite::tables::{consumers, dead_letters};
use crate::sqlite::work::dead::{self, Deed, SeeTo};
use crate::sqlite::work::jobs::{self, Cancel, Enqueue, Hold, NewJob};
use crate::sqlite::{SqliteBus, off_runtime};
use crate::subject::Subject;
use crate::subscribe::StartAt;

impl SqliteBus {
    async fn see_to(&self, deed: Deed, which: Dead) -> Result<u64> {
        // Those that die anew meanwhile are not among them.
        let log = Arc::clone(&self.core().readers().log);
        let through = off_runtime(move || log.read("reading dead letters", dead_letters::newest)).await?;
        let (mut count, mut after) = (0, Some(0));
        // A transaction a step: however many there are, others write in between.
        while let Some(behind) = after {
            let (work, durability) = (Arc::clone(self.core().work()), self.core().options().durability);
            let step = SeeTo { work, deed, which: which.clone(), after: behind, through, durability };
            let seen = self.core().writer().run(step).await?;
            count += seen.count;
            after = seen.next;
        }
        Ok(count)
    }

    async fn hold(&self, subject: Subject, paused: bool) -> Result<()> {
        let durability = self.core().options().durability;
        self.core().writer().run(Hold { subject, paused, durability }).await
    }
}

impl Durable for SqliteBus {
    fn submit(&self, jobs: Vec<Job>) -> BoxFuture<'_, Result<Vec<JobHandle>>> {
        Box::pin(async move {
            let options = self.core().options();
            let checked = jobs.into_iter().map(|job| {
                let job = job.into_parts()?;
                job.check_size(options.max_payload)?;
                Ok(NewJob::new(job))
            });
            let jobs = checked.collect::<Result<Vec<_>>>()?;
            let strongest = jobs.iter().map(|new| new.job.durability.unwrap_or(options.durability)).max();
            let durability = strongest.unwrap_or(Durability::Relaxed);
            let work = Arc::clone(self.core().work());
            let enqueued = self.core().writer().run(Enqueue { work, jobs, durability }).await?;
            let bus: Arc<dyn Durable> = Arc::new(self.clone());
            let handle = |job: jobs::Enqueued| JobHandle::new(job.id, job.duplicate, Arc::clone(&bus));
            Ok(enqueued.into_iter().map(handle).collect())
        })
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<JobInfo>> {
        Box::pin(async move {
            self.core().check_process()?;
            let log = Arc::clone(&self.core().readers().log);
            let now = self.core().options().clock.unix_millis();
            off_runtime(move || {
                let found = log.read("looking for a job", |conn| look::info(conn, id.as_str(), now))?;
                let info = found.ok_or_else(|| Error::no_such_job(id.as_str()))?;
                jobs::info(id, info)
            })
            .await
        })
    }

    fn replies(&self, id: JobId) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async move {
            self.core().check_process()?;
            let (log, work) = (Arc::clone(&self.core().readers().log), Arc::clone(self.core().work()));
            let now = self.core().options().clock.unix_millis();
            off_runtime(move || {
                let found = log.read("looking for a job", |conn| look::by_id(conn, id.as_str(), now))?;
                let found = found.ok_or_else(|| Error::no_such_job(id.as_str()))?;
                work.follow_job(found.sequence, id.as_str())
            })
            .await
        })
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move {
            let (work, durability) = (Arc::clone(self.core().work()), self.core().options().durability);
            self.core().writer().run(Cancel { work, id, durability }).await
        })
    }

    fn pause(&self, subject: Subject) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.hold(subject, true))
    }

    fn resume(&self, subject: Subject) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.hold(subject, false))
    }

    fn dead_letters(&self, which: Dead, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move {
            self.core().check_process()?;
            let log = Arc::clone(&self.core().readers().log);
            off_runtime(move || {
                log.read("reading dead letters", |conn| match &which {
                    Dead::Letter(id) => {
                        let id = i64::try_from(*id).unwrap_or(i64::MAX);
                        Ok(dead_letters::get(conn, id)?.and_then(dead::letter).into_iter().collect())
                    }
                    Dead::Of(filter) => {
                        dead::list(conn, filter, i64::try_from(after).unwrap_or(i64::MAX), limit)
                    }
                })
            })
            .await
        })
    }

    fn requeue(&self, which: Dead) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.see_to(Deed::Requeue, which))
    }

    fn purge(&self, which: Dead) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.see_to(Deed::Purge, which))
    }

    fn consumer(&self, consumer: Consumer) -> BoxFuture<'_, Result<Inbox>> {
        Box::pin(async move {
            self.core().check_process()?;
            self.core().consumers().open(consumer.into_parts()?).await
        })
    }

    fn consumer_info<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ConsumerInfo>> {
        Box::pin(async move {
            self.core().check_process()?;
            let (consumers, of) = (Arc::clone(self.core().consumers()), name.to_owned());
            let log = Arc::clone(&self.core().readers().log);
            off_runtime(move || {
                let info = log.read("looking at a consumer", |conn| {
                    let row = consumers::by_name(conn, &of)?;
                    row.map(|row| consumers.info(conn, row)).transpose()
                });
                info?.ok_or_else(|| Error::no_such_consumer(&of))
            })
            .await
        })
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>>> {
        Box::pin(async move {
            self.core().check_process()?;
            let keeper = Arc::clone(self.core().consumers());
            let log = Arc::clone(&self.core().readers().log);
            off_runtime(move || {
                let (mut all, mut after) = (Vec::new(), String::new());
                // A snapshot each: there may be many.
                while let Some(name) =
                    log.read("looking for consumers", |conn| consumers::next_name(conn, &after))?
                {
                    let info = log.read("looking at a consumer", |conn| {
                        let row = consumers::by_name(conn, &name)?;
                        row.map(|row| keeper.info(conn, row)).transpose()
                    });
                    match info {
                        Ok(info) => all.extend(info),
                        // One that a hand has spoilt hides none of the others.
                        Err(error) if error.kind() == ErrorKind::Database => {
                            tracing::warn!(%error, consumer = name, "a consumer cannot be read");
                        }
                        Err(error) => return Err(error),
                    }
                    after = name;
                }
                Ok(all)
            })
            .await
        })
    }

    fn seek_consumer<'a>(&'a self, name: &'a str, to: StartAt) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.core().check_process()?;
            self.core().consumers().seek(name, to).await
        })
    }

    fn pause_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core().consumers().manage(name, Change::Pause))
    }

    fn resume_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core().consumers().manage(name, Change::Resume))
    }

    fn delete_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.core().consumers().manage(name, Change::Delete))
    }
}
