//! This bus. Its runtime has two workers, as `#[tokio::main]` would make them on two cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rowbus::{
    Call, Durability, DurableExt, Job, Messenger, MessengerExt, Publish, Serve, SqliteBus, StartAt, Subject,
    Subscribe, Subscription, handler_fn,
};

use super::{Claim, Role};
use crate::measure::{self, Meter, WARM_UP, micros};
use crate::payload::{FILTER, PAYLOAD, SIZE, SUBJECT, stamped};
use crate::process::{ready, report};
use crate::sample::Report;
use crate::tally::Tally;
use crate::works::{FULL, NORMAL};

const WAITING: usize = 256;

pub fn play(path: &str, role: Role) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let open = |level: &str| {
        let durability = if level == FULL { Durability::Full } else { Durability::Relaxed };
        runtime.block_on(SqliteBus::builder(path).durability(durability).open()).unwrap()
    };
    match role {
        Role::PublishOne { level, time } => {
            let (bus, subject) = (open(&level), Subject::new(SUBJECT).unwrap());
            ready();
            report(&runtime.block_on(measure::repeat_async(time, async || {
                bus.publish(&subject, &PAYLOAD[..]).await.unwrap();
            })));
        }
        Role::PublishMany { level, time } => {
            let bus = open(&level);
            ready();
            report(&runtime.block_on(publish_many(&bus, time)));
        }
        Role::Fill { count } => {
            runtime.block_on(fill(&open(NORMAL), count));
            super::filled();
        }
        Role::Replay { count } => {
            let bus = open(NORMAL);
            ready();
            report(&measure::replay(count, || runtime.block_on(replay(&bus, count))));
        }
        Role::Send { count } => {
            let (bus, subject) = (open(NORMAL), Subject::new(SUBJECT).unwrap());
            ready();
            report(&measure::send(count, |now| {
                runtime.block_on(bus.publish(&subject, stamped(now))).unwrap();
            }));
        }
        Role::Receive { count, idle_streams } => {
            let bus = open(NORMAL);
            let _idle = runtime.block_on(streams(&bus, idle_streams, "idle"));
            let mut stream = runtime.block_on(bus.stream(FILTER)).unwrap();
            ready();
            report(&measure::receive_payloads(count, || {
                runtime.block_on(stream.next()).unwrap().unwrap().payload().to_vec()
            }));
        }
        Role::Idle { streams: count, token } => {
            let bus = open(NORMAL);
            let _idle = runtime.block_on(streams(&bus, count, &token));
            super::idle();
        }
        Role::Serve => {
            let bus = open(NORMAL);
            let echo = |call: Call| async move { Ok(call.payload().clone()) };
            let _service = runtime.block_on(bus.serve(SUBJECT, echo)).unwrap();
            super::idle();
        }
        Role::Request { time, callers } => {
            let (bus, subject) = (open(NORMAL), Subject::new(SUBJECT).unwrap());
            let ask = move || {
                let (bus, subject) = (bus.clone(), subject.clone());
                async move {
                    assert_eq!(bus.request(&subject, &PAYLOAD[..]).await.unwrap().payload(), &PAYLOAD[..])
                }
            };
            runtime.block_on(async {
                for _ in 0..WARM_UP {
                    ask().await;
                }
            });
            ready();
            report(&runtime.block_on(measure::requests(callers, time, ask)));
        }
        Role::Enqueue { count } => {
            runtime.block_on(enqueue(&open(NORMAL), count));
            super::filled();
        }
        Role::Claim(claim) => {
            let bus = open(&claim.level);
            ready();
            report(&runtime.block_on(claims(&bus, &claim)));
        }
    }
}

async fn streams(bus: &SqliteBus, count: usize, token: &str) -> Vec<Subscription> {
    let mut streams = Vec::new();
    for at in 0..count {
        streams.push(bus.stream(format!("{token}.{at}.>")).await.unwrap());
    }
    streams
}

async fn publish_many(bus: &SqliteBus, time: Duration) -> Report {
    let subject = Subject::new(SUBJECT).unwrap();
    let publisher = |stop: Arc<AtomicBool>| {
        let (bus, subject) = (bus.clone(), subject.clone());
        async move {
            let mut delays = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                bus.publish(&subject, &PAYLOAD[..]).await.unwrap();
                delays.push(micros(start));
            }
            delays
        }
    };
    measure::at_once(WAITING, time, publisher).await
}

async fn fill(bus: &SqliteBus, count: usize) {
    let subject = Subject::new(SUBJECT).unwrap();
    for _ in 0..count / 500 {
        bus.publish_all((0..500).map(|_| Publish::new(&subject, &PAYLOAD[..]))).await.unwrap();
    }
    bus.close().await.unwrap();
}

async fn replay(bus: &SqliteBus, count: usize) -> (usize, usize) {
    let mut stream = bus.subscribe(Subscribe::to(FILTER).from(StartAt::Oldest)).await.unwrap();
    let mut bytes = 0;
    for _ in 0..count {
        bytes += stream.next().await.unwrap().unwrap().payload().len();
    }
    (count, bytes)
}

async fn enqueue(bus: &SqliteBus, count: usize) {
    let subject = Subject::new(SUBJECT).unwrap();
    for _ in 0..count / 500 {
        bus.enqueue_all((0..500).map(|_| Job::new(&subject, &PAYLOAD[..]))).await.unwrap();
    }
    bus.close().await.unwrap();
}

async fn claims(bus: &SqliteBus, claim: &Claim) -> Report {
    let (meter, tally) = (Meter::start(), Tally::new(claim.waiting));
    let serve = Serve::on(SUBJECT).concurrency(claim.batch);
    let handler = {
        let tally = Arc::clone(&tally);
        handler_fn(move |call: Call| {
            assert_eq!(call.payload().len(), SIZE);
            tally.count();
            async { Ok(()) }
        })
    };
    let service = bus.serve_with(serve, Arc::new(handler)).await.unwrap();
    tally.wait(claim.time).await;
    service.stop().await.unwrap();
    tally.stop(meter, claim.batch)
}
