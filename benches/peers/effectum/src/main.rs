//! effectum in a role of benches/peers, which starts it: `rowbus-peers-effectum FILE idle|enqueue|claim …`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use effectum::{Job, JobBuilder, JobRunner, Queue, RunningJob, Worker};

// The modules of benches/peers, so that it is measured as the others are. Not all of each is wanted here.
#[allow(dead_code)]
#[path = "../../src/measure.rs"]
mod measure;
#[allow(dead_code)]
#[path = "../../src/payload.rs"]
mod payload;
#[allow(dead_code)]
#[path = "../../src/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../../src/sample.rs"]
mod sample;
#[path = "../../src/tally.rs"]
mod tally;
#[allow(dead_code)]
#[path = "../../src/usage.rs"]
mod usage;

use measure::Meter;
use payload::{PAYLOAD, SIZE, SUBJECT};
use process::{linger, ready, report};
use sample::Report;
use tally::Tally;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [path, role @ ..] = &args[..] else { panic!("FILE and a role") };
    set_to_wal(path);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let queue = runtime.block_on(Queue::new(Path::new(path))).unwrap();
    match *role {
        ["idle", kinds, _] => {
            let _worker = runtime.block_on(idle(&queue, kinds.parse().unwrap()));
            ready();
            linger();
        }
        ["enqueue", count] => {
            runtime.block_on(enqueue(&queue, count.parse().unwrap()));
            ready();
            report(&());
        }
        // It has no setting for the level, and is at NORMAL.
        ["claim", _, seconds, batch, waiting] => {
            let time = Duration::from_secs_f64(seconds.parse().unwrap());
            let (batch, waiting) = (batch.parse().unwrap(), waiting.parse().unwrap());
            ready();
            report(&runtime.block_on(claims(&queue, time, batch, waiting)));
        }
        _ => panic!("unknown role {role:?}"),
    }
}

/// effectum's `PRAGMA journal=wal` does nothing; the mode is the file's, and stays.
fn set_to_wal(path: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mode: String = conn.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

/// A worker that waits for so many kinds of jobs.
async fn idle(queue: &Queue, kinds: usize) -> Worker {
    let jobs = (0..kinds).map(|at| JobRunner::builder(format!("idle.{at}"), nothing).build());
    let jobs: Vec<_> = jobs.collect();
    Worker::builder(queue, Arc::new(())).jobs(jobs).build().await.unwrap()
}

async fn nothing(_job: RunningJob, _context: Arc<()>) -> Result<(), String> {
    Ok(())
}

async fn enqueue(queue: &Queue, count: usize) {
    for _ in 0..count / 500 {
        let jobs = (0..500).map(|_| -> Job { JobBuilder::new(SUBJECT).payload(PAYLOAD.to_vec()).build() });
        queue.add_jobs(jobs.collect()).await.unwrap();
    }
}

async fn claims(queue: &Queue, time: Duration, batch: u16, waiting: usize) -> Report {
    let (meter, tally) = (Meter::start(), Tally::new(waiting));
    let jobs = [JobRunner::builder(SUBJECT, count).build()];
    let worker = Worker::builder(queue, Arc::clone(&tally)).jobs(jobs).max_concurrency(batch);
    let worker = worker.build().await.unwrap();
    tally.wait(time).await;
    worker.unregister(None).await.unwrap();
    tally.stop(meter, batch.into())
}

async fn count(job: RunningJob, tally: Arc<Tally>) -> Result<(), String> {
    assert_eq!(job.payload.len(), SIZE);
    tally.count();
    Ok(())
}
