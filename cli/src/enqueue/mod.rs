//! `rowbus enqueue`.

pub(crate) mod args;

use std::io::{self, Write};
use std::sync::Arc;

use rowbus::{Durable, DurableExt, Job, JobHandle, JobId, Messenger, Subject, defaults};

use crate::enqueue::args::Template;
use crate::failure::{Failure, Result};
use crate::format::Format;
use crate::reply::Printer;
use crate::signals::Stop;
use crate::status::Status;
use crate::stdout::Output;
use crate::wait::Wait;
use crate::{job, json, stdin};

/// What is to be enqueued, checked as far as that can be done without the file.
pub(crate) struct Task {
    template: Template,
    source: Source,
    json: bool,
}

enum Source {
    /// One job, and whether its reply is waited for.
    Job(Box<Job>, Option<Wait>),
    /// Each line of standard input.
    Lines,
}

pub(crate) async fn run(bus: &dyn Messenger, task: Task, stop: &Stop, status: &Status) -> Result<()> {
    let Task { template, source, json } = task;
    let mut enqueuer =
        Enqueuer { bus: bus.as_durable()?, stop, out: Output::new(), json, done: Done::default() };
    let enqueued = match source {
        Source::Job(job, wait) => enqueuer.submit(vec![*job]).await.map(|mut jobs| jobs.pop().zip(wait)),
        Source::Lines => enqueuer.lines(&template).await.map(|()| None),
    };
    let Enqueuer { out, done, .. } = enqueuer;
    match enqueued {
        Ok(awaited) => {
            status.say(&done.tell(&template.subject));
            let Some((handle, wait)) = awaited else { return Ok(()) };
            let printer = Printer::of_last(out, Format::of(false, json));
            job::reply::wait_for(handle.replies().await?, handle.id(), wait, printer, stop).await
        }
        Err(failure) if done.jobs > 0 => {
            Err(failure.after(&format!("before it: {}", done.tell(&template.subject))))
        }
        Err(failure) => Err(failure),
    }
}

struct Enqueuer<'a> {
    bus: Arc<dyn Durable>,
    stop: &'a Stop,
    out: Output,
    json: bool,
    done: Done,
}

/// Said where the bus had something that it has not acknowledged.
const UNKNOWN: &str = "told to stop before it was known whether what was under way is enqueued";

impl Enqueuer<'_> {
    /// Enqueues what is there and does not wait for more, as `pub` publishes it.
    async fn lines(&mut self, template: &Template) -> Result<()> {
        let limit = defaults::MAX_PAYLOAD.saturating_sub(template.headers.encoded_len());
        let mut input = stdin::lines(limit)?;
        while let Some(group) = self.stop.unless_told(input.recv()).await? {
            let mut lines = group?.into_iter().map(|line| template.job(line)).peekable();
            while lines.peek().is_some() {
                self.submit(lines.by_ref().take(defaults::BATCH).collect()).await?;
            }
        }
        Ok(())
    }

    async fn submit(&mut self, batch: Vec<Job>) -> Result<Vec<JobHandle>> {
        // What is dropped under way is enqueued as a whole or not at all, and nothing says which.
        let submitted = self.stop.unless_told(self.bus.enqueue_all(batch)).await;
        let jobs = submitted.map_err(|_| Failure::failed(UNKNOWN))??;
        self.done.add(&jobs);
        let json = self.json;
        if self.out.write(|out| write_ids(out, &jobs, json))? && self.out.flush()? {
            return Ok(jobs);
        }
        // Whoever left would never know what of the rest was enqueued.
        Err(Failure::failed("nobody reads the ids any more"))
    }
}

fn write_ids(out: &mut impl Write, jobs: &[JobHandle], json: bool) -> io::Result<()> {
    for job in jobs {
        if json {
            out.write_all(b"{\"id\":")?;
            json::string(out, job.id().as_str())?;
            writeln!(out, ",\"duplicate\":{}}}", job.is_duplicate())?;
        } else {
            writeln!(out, "{}", job.id())?;
        }
    }
    Ok(())
}

/// What has been enqueued so far.
#[derive(Default)]
struct Done {
    jobs: u64,
    /// The job that was there already; only a single job can have a unique key.
    duplicate_of: Option<JobId>,
}

impl Done {
    fn add(&mut self, jobs: &[JobHandle]) {
        for job in jobs {
            if job.is_duplicate() {
                self.duplicate_of = Some(job.id().clone());
            } else {
                self.jobs += 1;
            }
        }
    }

    fn tell(&self, subject: &Subject) -> String {
        match (self.jobs, &self.duplicate_of) {
            (0, Some(id)) => format!("enqueued 0 jobs on {subject} (duplicate of {id})"),
            (1, _) => format!("enqueued 1 job on {subject}"),
            (many, _) => format!("enqueued {many} jobs on {subject}"),
        }
    }
}
