//! effectum in a role of benches/peers, which starts it: `rowbus-peers-effectum FILE idle N`.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use effectum::{JobRunner, Queue, RunningJob, Worker};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, role, kinds] = &args[..] else { panic!("FILE idle N") };
    assert_eq!(role, "idle");
    set_to_wal(path);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let queue = runtime.block_on(Queue::new(Path::new(path))).unwrap();
    let _worker = runtime.block_on(worker(&queue, kinds.parse().unwrap()));
    println!("ready");
    // Until it is told to begin, and until it is ended.
    for line in std::io::stdin().lock().lines() {
        line.unwrap();
    }
}

/// effectum's `PRAGMA journal=wal` does nothing; the mode is the file's, and stays.
fn set_to_wal(path: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mode: String = conn.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

/// One that waits for so many kinds of jobs.
async fn worker(queue: &Queue, kinds: usize) -> Worker {
    let jobs = (0..kinds).map(|at| JobRunner::builder(format!("idle.{at}"), nothing).build());
    let jobs: Vec<_> = jobs.collect();
    Worker::builder(queue, Arc::new(())).jobs(jobs).build().await.unwrap()
}

async fn nothing(_job: RunningJob, _context: Arc<()>) -> Result<(), String> {
    Ok(())
}
