//! The limit: SQLite itself, in a loop, with cached statements and BEGIN IMMEDIATE. For delivery with a futex in shared
//! memory that is rung after the commit.

use std::time::Duration;

use rowbus::rusqlite::Connection;

use super::{Role, bell::Bell};
use crate::measure::{self, Meter};
use crate::payload::{PAYLOAD, SUBJECT, sent_at, stamped};
use crate::process::{ready, report};
use crate::sample::Report;
use crate::works::NORMAL;

const INSERT: &str = "INSERT INTO raw (subject, data, created_at) VALUES (?1, ?2, ?3)";
const READ: &str = "SELECT id, subject, data, created_at FROM raw WHERE id > ?1 ORDER BY id";
const BATCH: usize = 100;

pub fn play(path: &str, role: Role) {
    match role {
        Role::PublishOne { level, time } => {
            let conn = open(path, &level);
            ready();
            report(&measure::repeat(time, || insert(&conn, 1, &PAYLOAD)));
        }
        Role::PublishMany { level, time } => {
            let conn = open(path, &level);
            ready();
            report(&batches(&conn, time));
        }
        Role::Fill { count } => {
            insert(&open(path, NORMAL), count, &PAYLOAD);
            super::filled();
        }
        Role::Replay { count } => {
            let conn = open(path, NORMAL);
            ready();
            report(&measure::replay(count, || replay(&conn)));
        }
        Role::Send { count } => {
            let (conn, bell) = (open(path, NORMAL), Bell::open(path));
            ready();
            report(&measure::send(count, |now| {
                insert(&conn, 1, stamped(now).as_bytes());
                bell.ring();
            }));
        }
        Role::Receive { count, .. } => {
            let (conn, bell) = (open(path, NORMAL), Bell::open(path));
            ready();
            report(&receive(&conn, &bell, count));
        }
        Role::Idle { .. } => super::idle(),
    }
}

fn open(path: &str, level: &str) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(5)).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode=WAL;
         CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL, created_at INTEGER NOT NULL);
         CREATE INDEX IF NOT EXISTS raw_by_subject ON raw (subject, id);",
    )
    .unwrap();
    conn.pragma_update(None, "synchronous", level).unwrap();
    conn
}

fn run(conn: &Connection, sql: &str) {
    conn.prepare_cached(sql).unwrap().execute([]).unwrap();
}

/// That many rows in one transaction.
fn insert(conn: &Connection, count: usize, payload: &[u8]) {
    run(conn, "BEGIN IMMEDIATE");
    let mut insert = conn.prepare_cached(INSERT).unwrap();
    for _ in 0..count {
        insert.execute((SUBJECT, payload, 1_700_000_000_000_i64)).unwrap();
    }
    drop(insert);
    run(conn, "COMMIT");
}

/// Without delays: nobody waits for a row of a batch.
fn batches(conn: &Connection, time: Duration) -> Report {
    let (meter, mut done) = (Meter::start(), 0);
    while meter.elapsed() < time {
        insert(conn, BATCH, &PAYLOAD);
        done += BATCH;
    }
    meter.stop(Some(done), Vec::new())
}

fn replay(conn: &Connection) -> (usize, usize) {
    let mut statement = conn.prepare_cached(READ).unwrap();
    let mut rows = statement.query([0]).unwrap();
    let (mut read, mut bytes) = (0, 0);
    while let Some(row) = rows.next().unwrap() {
        assert_eq!(row.get_ref(1).unwrap().as_bytes().unwrap().len(), SUBJECT.len());
        bytes += row.get_ref(2).unwrap().as_bytes().unwrap().len();
        read += 1;
    }
    (read, bytes)
}

fn receive(conn: &Connection, bell: &Bell, count: usize) -> Report {
    let mut last = 0_i64;
    measure::receive(count, || {
        loop {
            // Seen before reading: a ring in between is not slept over.
            let seen = bell.rings();
            let mut statement = conn.prepare_cached(READ).unwrap();
            let mut rows = statement.query([last]).unwrap();
            if let Some(row) = rows.next().unwrap() {
                last = row.get(0).unwrap();
                return sent_at(row.get_ref(2).unwrap().as_bytes().unwrap());
            }
            drop(rows);
            bell.wait(seen);
        }
    })
}
