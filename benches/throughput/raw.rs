//! The limit: SQLite itself, in a loop.

use std::time::{Duration, Instant};

use rowbus::Durability;
use rowbus::rusqlite::Connection;

use crate::{PAYLOAD, SUBJECT};

const INSERT: &str = "INSERT INTO raw (subject, data, created_at) VALUES (?1, ?2, ?3)";

fn open(folder: &tempfile::TempDir, durability: Durability) -> Connection {
    let conn = Connection::open(folder.path().join("raw.db")).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode=WAL;
         CREATE TABLE raw (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL, created_at INTEGER NOT NULL);
         CREATE INDEX raw_by_subject ON raw (subject, id);",
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
