//! What retention costs: publishing while many rows are pruned, and beside as many rows that stay.
//!
//! `cargo bench --bench retention -- ROWS SECONDS`, 10 million rows and 10 seconds unless said; `ROWBUS_BENCH_DIR` is where the
//! file lies. Figures of one run are comparable with each other and with nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)] // a program for people

use std::time::{Duration, Instant};

use rowbus::rusqlite::Connection;
use rowbus::{Durability, Messenger, MessengerExt, Retention, SqliteBus};

const PAYLOAD: [u8; 128] = [7; 128];

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
    let bus = open(&path).await;
    bus.set_retention(">", Retention::keep_everything()).await.unwrap();
    measure("empty file", &bus, length).await;
    tail("empty file", &bus).await;
    fill(&path, rows);
    for pace in [None, Some(2_000)] {
        let name = pace.map_or("closed loop".to_owned(), |pace| format!("{pace} a second"));
        measure_at(&format!("{rows} rows, {name}"), &bus, length, pace).await;
    }
    tail(&format!("{rows} rows"), &bus).await;
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
    for pace in [None, Some(2_000)] {
        let name = pace.map_or("closed loop".to_owned(), |pace| format!("{pace} a second"));
        let before = left(&path);
        let start = Instant::now();
        let published = measure_at(&format!("while pruning, {name}"), &bus, length, pace).await;
        let removed = (before + published).saturating_sub(left(&path));
        println!("    {:.0} rows removed a second", removed as f64 / start.elapsed().as_secs_f64());
    }
    let (start, before) = (Instant::now(), left(&path));
    tokio::time::sleep(length).await;
    let removed = before.saturating_sub(left(&path));
    println!("idle: {:.0} rows removed a second", removed as f64 / start.elapsed().as_secs_f64());
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

async fn measure(name: &str, bus: &SqliteBus, length: Duration) {
    for pace in [None, Some(2_000)] {
        let how = pace.map_or("closed loop".to_owned(), |pace| format!("{pace} a second"));
        measure_at(&format!("{name}, {how}"), bus, length, pace).await;
    }
}

/// Publishes for so long, one after the other or at a pace, and gives how many it were. At a pace the time counts from when it
/// was due, so that one that is held up is not left out with those behind it.
async fn measure_at(name: &str, bus: &SqliteBus, length: Duration, pace: Option<u64>) -> u64 {
    let (start, mut times, mut number) = (Instant::now(), Vec::new(), 0_u32);
    while start.elapsed() < length {
        let mut due = Instant::now();
        if let Some(pace) = pace {
            due = start + Duration::from_secs(1) / pace as u32 * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        bus.publish("publish.x", &PAYLOAD[..]).await.unwrap();
        times.push(due.elapsed().as_nanos() as f64 / 1e3);
        number += 1;
    }
    report(name, times, start.elapsed());
    u64::from(number)
}

/// From publish to a live stream.
async fn tail(name: &str, bus: &SqliteBus) {
    let mut stream = bus.stream("tail.x").await.unwrap();
    let (start, mut times) = (Instant::now(), Vec::new());
    for _ in 0..10_000 {
        let sent = Instant::now();
        bus.publish("tail.x", &PAYLOAD[..]).await.unwrap();
        stream.next().await.unwrap().unwrap();
        times.push(sent.elapsed().as_nanos() as f64 / 1e3);
    }
    report(&format!("{name}, to a live stream"), times, start.elapsed());
    let mut times = Vec::new();
    let start = Instant::now();
    let service = bus.serve("claim.x", |_| async { Ok::<_, rowbus::HandlerError>("") }).await.unwrap();
    for _ in 0..5_000 {
        let sent = Instant::now();
        bus.request("claim.x", &PAYLOAD[..]).await.unwrap();
        times.push(sent.elapsed().as_nanos() as f64 / 1e3);
    }
    report(&format!("{name}, request to reply"), times, start.elapsed());
    service.stop().await.unwrap();
}

fn report(name: &str, mut times: Vec<f64>, took: Duration) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let rate = times.len() as f64 / took.as_secs_f64();
    println!("{name:<44}{:>10.0}{:>10.0}{:>10.0}{rate:>12.0}", at(0.5), at(0.99), at(0.999));
}
