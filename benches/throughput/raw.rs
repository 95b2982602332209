//! The limit: SQLite itself, in a loop.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rowbus::Durability;
use rowbus::rusqlite::Connection;

use crate::{PAYLOAD, SUBJECT};

const INSERT: &str = "INSERT INTO raw (subject, data, created_at) VALUES (?1, ?2, ?3)";
const ENQUEUE: &str = "INSERT INTO raw_jobs (subject, data, created_at) VALUES (?1, ?2, ?3)";
const CLAIM: &str = "UPDATE raw_jobs SET state = 'leased', attempt = attempt + 1, lease_until = ?2 WHERE id IN
    (SELECT id FROM raw_jobs WHERE state = 'ready' AND subject = ?1 ORDER BY priority DESC, id LIMIT ?3) RETURNING id, data";
const COMPLETE: &str =
    "UPDATE raw_jobs SET state = 'done', lease_until = NULL WHERE id = ?1 AND state = 'leased'";

fn open(folder: &tempfile::TempDir, durability: Durability) -> Connection {
    let conn = Connection::open(folder.path().join("raw.db")).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode=WAL;
         CREATE TABLE raw (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL, created_at INTEGER NOT NULL);
         CREATE INDEX raw_by_subject ON raw (subject, id);
         CREATE TABLE raw_jobs (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL,
            state TEXT NOT NULL DEFAULT 'ready', priority INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
            lease_until INTEGER, created_at INTEGER NOT NULL);
         CREATE INDEX raw_jobs_ready ON raw_jobs (subject, priority DESC, id) WHERE state = 'ready';",
    )
    .unwrap();
    let level = if durability == Durability::Full { "FULL" } else { "NORMAL" };
    conn.pragma_update(None, "synchronous", level).unwrap();
    conn
}

fn run(conn: &Connection, sql: &str) {
    conn.prepare_cached(sql).unwrap().execute([]).unwrap();
}

pub fn alone(durability: Durability, time: Duration) -> f64 {
    batches(1, durability, time)
}

/// Messages a second, that many in a transaction.
pub fn batches(size: usize, durability: Durability, time: Duration) -> f64 {
    let folder = tempfile::tempdir_in("target").unwrap();
    let conn = open(&folder, durability);
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < time {
        run(&conn, "BEGIN IMMEDIATE");
        let mut insert = conn.prepare_cached(INSERT).unwrap();
        for _ in 0..size {
            insert.execute((SUBJECT, &PAYLOAD[..], 1_700_000_000_000_i64)).unwrap();
        }
        drop(insert);
        run(&conn, "COMMIT");
        done += size;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

/// Messages a second, read with one SELECT.
pub fn replay(count: usize) -> f64 {
    let folder = tempfile::tempdir_in("target").unwrap();
    let conn = open(&folder, Durability::Relaxed);
    run(&conn, "BEGIN IMMEDIATE");
    for _ in 0..count {
        let mut insert = conn.prepare_cached(INSERT).unwrap();
        insert.execute((SUBJECT, &PAYLOAD[..], 1_700_000_000_000_i64)).unwrap();
    }
    run(&conn, "COMMIT");
    let start = Instant::now();
    let mut statement = conn
        .prepare_cached("SELECT id, subject, data, created_at FROM raw WHERE id > 0 ORDER BY id")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let (mut read, mut bytes) = (0, 0);
    while let Some(row) = rows.next().unwrap() {
        bytes += row.get_ref(1).unwrap().as_bytes().unwrap().len()
            + row.get_ref(2).unwrap().as_bytes().unwrap().len();
        read += 1;
    }
    assert_eq!((read, bytes), (count, count * (SUBJECT.len() + PAYLOAD.len())));
    count as f64 / start.elapsed().as_secs_f64()
}

/// Jobs, of which so many wait at the beginning of each measurement.
pub struct Backlog {
    conn: Connection,
    waiting: usize,
    missing: Cell<usize>,
    _folder: tempfile::TempDir,
}

impl Backlog {
    pub fn new(waiting: usize, durability: Durability) -> Self {
        let folder = tempfile::tempdir_in("target").unwrap();
        let conn = open(&folder, durability);
        Self { conn, waiting, missing: Cell::new(waiting), _folder: folder }
    }

    /// Claimed and completed a second, that many at a time, until the time is over or none is left.
    pub fn claims(&self, batch: usize, time: Duration) -> f64 {
        self.fill();
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < time && done < self.waiting {
            done += self.claim_and_complete(batch);
        }
        self.missing.set(done);
        done as f64 / start.elapsed().as_secs_f64()
    }

    /// A commit for the claim, since the work comes between, and one when it is done. How many there were.
    fn claim_and_complete(&self, batch: usize) -> usize {
        run(&self.conn, "BEGIN IMMEDIATE");
        let mut claim = self.conn.prepare_cached(CLAIM).unwrap();
        let claimed = claim.query_map((SUBJECT, 1_700_000_030_000_i64, batch as i64), |row| {
            assert_eq!(row.get_ref(1)?.as_bytes()?.len(), PAYLOAD.len());
            row.get(0)
        });
        let claimed: Vec<i64> = claimed.unwrap().map(Result::unwrap).collect();
        drop(claim);
        run(&self.conn, "COMMIT");
        run(&self.conn, "BEGIN IMMEDIATE");
        let mut complete = self.conn.prepare_cached(COMPLETE).unwrap();
        for id in &claimed {
            assert_eq!(complete.execute([id]).unwrap(), 1);
        }
        drop(complete);
        run(&self.conn, "COMMIT");
        claimed.len()
    }

    fn fill(&self) {
        run(&self.conn, "BEGIN IMMEDIATE");
        for _ in 0..self.missing.take() {
            let mut enqueue = self.conn.prepare_cached(ENQUEUE).unwrap();
            enqueue.execute((SUBJECT, &PAYLOAD[..], 1_700_000_000_000_i64)).unwrap();
        }
        run(&self.conn, "COMMIT");
    }
}
