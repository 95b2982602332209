//! honker's streams and queues. It runs at synchronous=NORMAL, and has no setting for it. Its payloads are JSON: ours is a string.

use std::thread;
use std::time::{Duration, Instant};

use honker::{Database, EnqueueOpts, Queue, QueueOpts, Stream};

use super::Role;
use crate::measure::{self, Meter, micros};
use crate::payload::{PAYLOAD, SIZE, sent_at, stamped};
use crate::process::{ready, report};
use crate::sample::Report;

const THREADS: usize = 8;
/// Events in one page of a replay.
const PAGE: i64 = 1_000;
const WORKER: &str = "worker";

pub fn play(path: &str, role: Role) {
    let db = Database::open(path).unwrap();
    let stream = db.stream("bench");
    let payload = str::from_utf8(&PAYLOAD).unwrap();
    match role {
        Role::PublishOne { time, .. } => {
            ready();
            report(&measure::repeat(time, || {
                stream.publish(&payload).unwrap();
            }));
        }
        Role::PublishMany { time, .. } => {
            ready();
            report(&publish_many(&db, payload, time));
        }
        Role::Fill { count } => {
            for _ in 0..count / 500 {
                let transaction = db.transaction().unwrap();
                for _ in 0..500 {
                    stream.publish_tx(&transaction, &payload).unwrap();
                }
                transaction.commit().unwrap();
            }
            super::filled();
        }
        Role::Replay { count } => {
            ready();
            report(&measure::replay(count, || replay(&stream)));
        }
        Role::Send { count } => {
            ready();
            report(&measure::send(count, |now| {
                stream.publish(&stamped(now)).unwrap();
            }));
        }
        Role::Receive { count, .. } => {
            // Without saving its place now and then, since the other streams do not either.
            let mut events = stream.subscribe("reader").unwrap().save_every(0);
            ready();
            report(&measure::receive(count, || {
                let event = events.next().unwrap().unwrap();
                // Between the quotes of JSON.
                sent_at(&event.payload[1..=SIZE])
            }));
        }
        Role::Idle { streams, token } => {
            for at in 0..streams {
                let events = db.stream(&format!("{token}.{at}")).subscribe("reader").unwrap();
                thread::spawn(move || {
                    for event in events {
                        event.unwrap();
                    }
                });
            }
            super::idle();
        }
        Role::Serve | Role::Request { .. } => panic!("honker has no requests"),
        Role::Enqueue { count } => {
            let queue = queue(&db);
            for _ in 0..count / 500 {
                let transaction = db.transaction().unwrap();
                for _ in 0..500 {
                    queue.enqueue_tx(&transaction, &payload, EnqueueOpts::default()).unwrap();
                }
                transaction.commit().unwrap();
            }
            super::filled();
        }
        Role::Claim(claim) => {
            let queue = queue(&db);
            ready();
            report(&measure::claims(claim.time, claim.batch, || claim_and_ack(&queue, claim.batch)));
        }
    }
}

fn queue(db: &Database) -> Queue {
    db.queue("bench", QueueOpts::default())
}

fn claim_and_ack(queue: &Queue, batch: usize) -> usize {
    if batch == 1 {
        let Some(job) = queue.claim_one(WORKER).unwrap() else { return 0 };
        assert!(job.ack().unwrap());
        return 1;
    }
    let claimed = queue.claim_batch(WORKER, batch as i64).unwrap();
    let ids: Vec<i64> = claimed.iter().map(|job| job.id).collect();
    assert_eq!(queue.ack_batch(&ids, WORKER).unwrap(), ids.len() as i64);
    ids.len()
}

fn publish_many(db: &Database, payload: &str, time: Duration) -> Report {
    let meter = Meter::start();
    let delays: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (stream, meter) = (db.stream("bench"), &meter);
                scope.spawn(move || {
                    let mut delays = Vec::new();
                    while meter.elapsed() < time {
                        let start = Instant::now();
                        stream.publish(&payload).unwrap();
                        delays.push(micros(start));
                    }
                    delays
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    meter.stop(Some(delays.len()), delays)
}

fn replay(stream: &Stream) -> (usize, usize) {
    let (mut read, mut bytes, mut offset) = (0, 0, 0);
    loop {
        let page = stream.read_since(offset, PAGE).unwrap();
        let Some(last) = page.last() else { return (read, bytes) };
        offset = last.offset;
        read += page.len();
        // Without the quotes of JSON.
        bytes += page.iter().map(|event| event.payload.len() - 2).sum::<usize>();
    }
}
