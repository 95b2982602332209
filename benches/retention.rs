//! What retention costs: publishing while many rows are pruned, and beside as many rows that stay.
//!
//! `cargo bench --bench retention -- ROWS SECONDS`, 10 million rows and 10 seconds unless said; `ROWBUS_BENCH_DIR` is where the
//! file lies. Figures of one run are comparable with each other and with nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)] // a program for people

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowbus::rusqlite::Connection;
use rowbus::{Durability, DurableExt, Job, Messenger, MessengerExt, Retention, SqliteBus};

const PAYLOAD: [u8; 128] = [7; 128];
/// One after the other, or so many a second.
const PACES: [(&str, Option<u32>); 2] = [("closed loop", None), ("2000 a second", Some(2_000))];
const PRUNING: &str = "while pruning";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let (rows, seconds) =
        (numbers.first().copied().unwrap_or(10_000_000), numbers.get(1).copied().unwrap_or(10));
    let folder = match std::env::var_os("ROWBUS_BENCH_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let path = folder.path().join("bus.db");
    let length = Duration::from_secs(seconds);
    println!("{:<44}{:>10}{:>10}{:>10}{:>12}", "", "p50 µs", "p99 µs", "p99.9 µs", "a second");
    let mut seen = Seen::default();
    let bus = open(&path).await;
    bus.set_retention(">", Retention::keep_everything()).await.unwrap();
    let full = format!("{rows} rows");
    for place in ["empty file", &full] {
        if place != "empty file" {
            fill(&path, rows);
        }
        for pace in PACES {
            publish(&mut seen, place, &bus, length, pace).await;
        }
        tail(&mut seen, place, &bus).await;
        requests(&mut seen, place, &bus).await;
        claims(&mut seen, place, &bus).await;
    }
    // All but a few are too many from here on, and pruning goes on beside.
    bus.set_retention(">", Retention::new().max_messages(1000)).await.unwrap();
    let pruner = bus.clone();
    let (start, before) = (Instant::now(), bus.retention().await.unwrap()[0].pruned_through);
    // It counts anew first. It need not come to an end here.
    let pruning = tokio::spawn(async move { pruner.prune().await.is_ok() });
    while bus.retention().await.unwrap()[0].pruned_through == before {
        assert!(!pruning.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("it begins to remove after {:.1} s", start.elapsed().as_secs_f64());
    for pace in PACES {
        let before = left(&path);
        let start = Instant::now();
        let published = publish(&mut seen, PRUNING, &bus, length, pace).await;
        let removed = (before + published).saturating_sub(left(&path));
        println!("    {:.0} rows removed a second", removed as f64 / start.elapsed().as_secs_f64());
    }
    let (start, before) = (Instant::now(), left(&path));
    tokio::time::sleep(length).await;
    let removed = before.saturating_sub(left(&path));
    println!("idle: {:.0} rows removed a second", removed as f64 / start.elapsed().as_secs_f64());
    seen.compare(&full);
    bus.close().await.unwrap();
}

async fn open(path: &std::path::Path) -> SqliteBus {
    SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap()
}

fn fill(path: &std::path::Path, rows: u64) {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn.execute_batch("PRAGMA synchronous = off").unwrap();
    let mut left = rows;
    while left > 0 {
        let now = left.min(100_000);
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO bus_events (subject, data) SELECT 'fill.' || (i % 100), ?2 FROM n",
            (now as i64, &PAYLOAD[..]),
        )
        .unwrap();
        left -= now;
    }
}

/// Rows that are there: from the first to the newest, as none is missing in between.
fn left(path: &std::path::Path) -> u64 {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn.query_row("SELECT max(id) - min(id) FROM bus_events", [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

/// Publishes for so long, one after the other or so many a second, and gives how many it were. At a pace the time counts from when
/// it was due, so that one that is held up is not left out with those behind it.
async fn publish(
    seen: &mut Seen,
    place: &str,
    bus: &SqliteBus,
    length: Duration,
    (how, pace): (&'static str, Option<u32>),
) -> u64 {
    let (start, mut times, mut number) = (Instant::now(), Vec::new(), 0_u32);
    while start.elapsed() < length {
        let mut due = Instant::now();
        if let Some(pace) = pace {
            due = start + Duration::from_secs(1) / pace * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        bus.publish("publish.x", &PAYLOAD[..]).await.unwrap();
        times.push(due.elapsed());
        number += 1;
    }
    seen.report(place, how, times, start.elapsed());
    u64::from(number)
}

/// From publish to a live stream.
async fn tail(seen: &mut Seen, place: &str, bus: &SqliteBus) {
    let mut stream = bus.stream("tail.x").await.unwrap();
    let (start, mut times) = (Instant::now(), Vec::new());
    for _ in 0..10_000 {
        let sent = Instant::now();
        bus.publish("tail.x", &PAYLOAD[..]).await.unwrap();
        stream.next().await.unwrap().unwrap();
        times.push(sent.elapsed());
    }
    seen.report(place, "publish to a live stream", times, start.elapsed());
}

async fn requests(seen: &mut Seen, place: &str, bus: &SqliteBus) {
    let service = bus.serve("request.x", |_| async { Ok::<_, rowbus::HandlerError>("") }).await.unwrap();
    let (start, mut times) = (Instant::now(), Vec::new());
    for _ in 0..5_000 {
        let sent = Instant::now();
        bus.request("request.x", &PAYLOAD[..]).await.unwrap();
        times.push(sent.elapsed());
    }
    seen.report(place, "request to reply", times, start.elapsed());
    service.stop().await.unwrap();
}

/// Jobs that wait are claimed and finished one after the other: the time of each.
async fn claims(seen: &mut Seen, place: &str, bus: &SqliteBus) {
    const JOBS: usize = 5_000;
    let jobs = (0..JOBS).map(|_| Job::new("claim.x", &PAYLOAD[..]));
    bus.enqueue_all(jobs).await.unwrap();
    let (told, mut done) = tokio::sync::mpsc::unbounded_channel();
    let start = Instant::now();
    let handler = move |_: rowbus::Call| {
        let _ = told.send(Instant::now());
        async { Ok::<_, rowbus::HandlerError>("") }
    };
    let service = rowbus::Serve::on("claim.x").concurrency(1);
    let service = bus.serve_with(service, Arc::new(rowbus::handler_fn(handler))).await.unwrap();
    let (mut times, mut last) = (Vec::new(), start);
    for _ in 0..JOBS {
        let at = done.recv().await.unwrap();
        times.push(at - last);
        last = at;
    }
    seen.report(place, "claim of a job", times, start.elapsed());
    service.stop().await.unwrap();
}

/// What was measured: p50 and p99 in microseconds, by place and work.
#[derive(Default)]
struct Seen(HashMap<(String, &'static str), (f64, f64)>);

impl Seen {
    fn report(&mut self, place: &str, work: &'static str, mut times: Vec<Duration>, took: Duration) {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        let rate = times.len() as f64 / took.as_secs_f64();
        let name = format!("{place}, {work}");
        println!("{name:<44}{:>10.0}{:>10.0}{:>10.0}{rate:>12.0}", at(0.5), at(0.99), at(0.999));
        self.0.insert((place.to_owned(), work), (at(0.5), at(0.99)));
    }

    fn compare(&self, full: &str) {
        let of = |place: &str, work| self.0[&(place.to_owned(), work)];
        println!();
        for work in [PACES[0].0, PACES[1].0, "publish to a live stream", "request to reply", "claim of a job"]
        {
            let (empty, full) = (of("empty file", work), of(full, work));
            println!(
                "{work}, with the rows / without: p50 {:.2}, p99 {:.2}",
                full.0 / empty.0,
                full.1 / empty.1
            );
        }
        for (work, _) in PACES {
            let (full, pruning) = (of(full, work), of(PRUNING, work));
            println!(
                "{work}, while pruning / before: p50 {:.2}, p99 {:.2}",
                pruning.0 / full.0,
                pruning.1 / full.1
            );
        }
    }
}
