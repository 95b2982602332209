//! The limit: SQLite itself, in a loop, with cached statements and BEGIN IMMEDIATE. For delivery with a futex in shared
//! memory that is rung after the commit; for requests with one each way, and a commit for the request and one for the reply.

use std::time::Duration;

use rowbus::rusqlite::Connection;

use super::{Role, bell::Bell};
use crate::measure::{self, Meter, WARM_UP};
use crate::payload::{PAYLOAD, SIZE, SUBJECT, sent_at, stamped};
use crate::process::{ready, report};
use crate::sample::Report;
use crate::works::NORMAL;

const INSERT: &str = "INSERT INTO raw (subject, data, created_at) VALUES (?1, ?2, ?3)";
const READ: &str = "SELECT id, subject, data, created_at FROM raw WHERE id > ?1 ORDER BY id";
const BATCH: usize = 100;
const ENQUEUE: &str = "INSERT INTO raw_jobs (subject, data, created_at) VALUES (?1, ?2, ?3)";
const CLAIM: &str = "UPDATE raw_jobs SET state = 'leased', attempt = attempt + 1, lease_until = ?2 WHERE id IN
    (SELECT id FROM raw_jobs WHERE state = 'ready' AND subject = ?1 ORDER BY priority DESC, id LIMIT ?3) RETURNING id, data";
const COMPLETE: &str =
    "UPDATE raw_jobs SET state = 'done', lease_until = NULL WHERE id = ?1 AND state = 'leased'";

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
        Role::Serve => {
            let (conn, (requests, replies)) = (open(path, NORMAL), bells(path));
            let mut last = 0;
            ready();
            loop {
                let data = next(&conn, &requests, &mut last);
                insert(&conn, 1, &data);
                last = conn.last_insert_rowid();
                replies.ring();
            }
        }
        Role::Request { time, callers: 1 } => {
            let (conn, (requests, replies)) = (open(path, NORMAL), bells(path));
            let ask = || {
                insert(&conn, 1, &PAYLOAD);
                let mut last = conn.last_insert_rowid();
                requests.ring();
                assert_eq!(next(&conn, &replies, &mut last), PAYLOAD);
            };
            (0..WARM_UP).for_each(|_| ask());
            ready();
            report(&measure::repeat(time, ask));
        }
        Role::Request { .. } => panic!("one caller and one server have the table between them"),
        Role::Enqueue { count } => {
            enqueue(&open(path, NORMAL), count);
            super::filled();
        }
        Role::Claim(claim) => {
            let conn = open(path, &claim.level);
            ready();
            report(&measure::claims(claim.time, claim.batch, || claim_and_complete(&conn, claim.batch)));
        }
    }
}

fn open(path: &str, level: &str) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(5)).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode=WAL;
         CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL, created_at INTEGER NOT NULL);
         CREATE INDEX IF NOT EXISTS raw_by_subject ON raw (subject, id);
         CREATE TABLE IF NOT EXISTS raw_jobs (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, data BLOB NOT NULL,
            state TEXT NOT NULL DEFAULT 'ready', priority INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
            lease_until INTEGER, created_at INTEGER NOT NULL);
         CREATE INDEX IF NOT EXISTS raw_jobs_ready ON raw_jobs (subject, priority DESC, id) WHERE state = 'ready';",
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
    let mut last = 0;
    measure::receive(count, || sent_at(&next(conn, bell, &mut last)))
}

/// The payload of the next row behind `last`, waited for.
fn next(conn: &Connection, bell: &Bell, last: &mut i64) -> [u8; SIZE] {
    loop {
        // Seen before reading: a ring in between is not slept over.
        let seen = bell.rings();
        let mut statement = conn.prepare_cached(READ).unwrap();
        let mut rows = statement.query([*last]).unwrap();
        if let Some(row) = rows.next().unwrap() {
            *last = row.get(0).unwrap();
            return row.get_ref(2).unwrap().as_bytes().unwrap().try_into().unwrap();
        }
        drop(rows);
        bell.wait(seen);
    }
}

/// For requests, and for replies.
fn bells(path: &str) -> (Bell, Bell) {
    (Bell::open(&format!("{path}-requests")), Bell::open(&format!("{path}-replies")))
}

fn enqueue(conn: &Connection, count: usize) {
    for _ in 0..count / 500 {
        run(conn, "BEGIN IMMEDIATE");
        let mut insert = conn.prepare_cached(ENQUEUE).unwrap();
        for _ in 0..500 {
            insert.execute((SUBJECT, &PAYLOAD[..], 1_700_000_000_000_i64)).unwrap();
        }
        drop(insert);
        run(conn, "COMMIT");
    }
}

/// A commit for the claim, since the work comes between, and one when it is done. How many there were.
fn claim_and_complete(conn: &Connection, batch: usize) -> usize {
    run(conn, "BEGIN IMMEDIATE");
    let mut claim = conn.prepare_cached(CLAIM).unwrap();
    let claimed = claim.query_map((SUBJECT, 1_700_000_030_000_i64, batch as i64), |row| {
        assert_eq!(row.get_ref(1)?.as_bytes()?.len(), SIZE);
        row.get(0)
    });
    let claimed: Vec<i64> = claimed.unwrap().map(Result::unwrap).collect();
    drop(claim);
    run(conn, "COMMIT");
    run(conn, "BEGIN IMMEDIATE");
    let mut complete = conn.prepare_cached(COMPLETE).unwrap();
    for id in &claimed {
        assert_eq!(complete.execute([id]).unwrap(), 1);
    }
    drop(complete);
    run(conn, "COMMIT");
    claimed.len()
}
