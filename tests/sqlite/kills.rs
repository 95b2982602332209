//! Processes that are killed at any point of what they do for requests and jobs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rowbus::rusqlite::trace::{TraceEvent, TraceEventCodes};
use rowbus::{
    Backoff, Call, Dead, Durability, Durable, DurableExt, ErrorKind, Filter, HandlerError, Job, Messenger,
    MessengerExt, Request, Serve, SqliteBus, handler_fn,
};

use crate::child::{Process, hear, say};
use crate::lines::{self, Lines};
use crate::{PATIENCE, Place, until};

/// Statements until the process kills itself; 0 while it is not to.
static STATEMENTS_LEFT: AtomicU64 = AtomicU64::new(0);

/// Called as each statement of any connection begins.
fn count_down(_: TraceEvent<'_>) {
    if STATEMENTS_LEFT.load(Ordering::SeqCst) > 0 && STATEMENTS_LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        // SAFETY: plain system calls.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

fn quick() -> Backoff {
    Backoff::fixed(Duration::from_millis(1))
}

/// Does one job, fails one once, gives up on one and requeues it; and dies as its so-manieth statement begins.
pub(crate) async fn die_at(path: &str, statement: u64) {
    let builder = SqliteBus::builder(path).durability(Durability::Relaxed);
    let trace = |conn: &rowbus::rusqlite::Connection| {
        conn.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(count_down));
        Ok(())
    };
    let bus = builder.on_connect(trace).open().await.unwrap();
    say("ready");
    hear();
    STATEMENTS_LEFT.store(statement, Ordering::SeqCst);
    let handler = |call: Call| async move {
        match (call.text(), call.attempt()) {
            (Some("fails once"), 1) => Err(HandlerError::new("once")),
            (Some("is given up on"), 1) => Err(HandlerError::new("no").fatal()),
            _ => Ok(()),
        }
    };
    let service = bus.serve("work", handler).await.unwrap();
    let is_dead =
        || async { bus.dead_letters(Dead::Of(Filter::everything()), 0, 1).await.unwrap().len() == 1 };
    while !is_dead().await {}
    service.stop().await.unwrap();
    let service = bus.serve("work", |_: Call| async { Ok(()) }).await.unwrap();
    bus.requeue(Dead::Of(Filter::everything())).await.unwrap();
    for id in ["a", "b", "c"] {
        bus.reply(id.into()).await.unwrap();
    }
    service.stop().await.unwrap();
    STATEMENTS_LEFT.store(0, Ordering::SeqCst);
    say("done");
}

/// What the file says of the three jobs: state and number of dead letters.
fn states(place: &Place) -> Vec<(String, i64)> {
    let sql = place.sql();
    let state = |id: &str| {
        sql.query_row(
            "SELECT (SELECT state FROM bus_requests WHERE id = ?1), (SELECT count(*) FROM bus_dead_letters WHERE source_id = ?1)",
            [id],
            |row| Ok((row.get::<_, Option<String>>(0)?.unwrap_or_else(|| "gone".to_owned()), row.get(1)?)),
        )
        .unwrap()
    };
    ["a", "b", "c"].map(state).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_as_any_statement_begins_leaves_every_job_in_one_state() {
    let mut seen = std::collections::HashSet::new();
    for statement in 1.. {
        let place = Place::without_disk();
        place.open().await.close().await.unwrap();
        place
            .sql()
            .execute_batch(
                "INSERT INTO bus_requests (id, subject, data, backoff, backoff_max) VALUES
                 ('a', 'work', 'is done', 1, 1), ('b', 'work', 'fails once', 1, 1), ('c', 'work', 'is given up on', 1, 1)",
            )
            .unwrap();
        let mut victim = Process::start("die-at", &[place.path().to_str().unwrap(), &statement.to_string()]);
        assert_eq!(victim.hear(), "ready");
        victim.tell("go");
        let survived = victim.hear_if_it_lives().is_some();
        let found = states(&place);
        for (state, letters) in &found {
            let one_state = match state.as_str() {
                "ready" | "scheduled" | "leased" | "done" => *letters == 0,
                "dead" => *letters == 1,
                _ => false,
            };
            assert!(one_state, "killed at statement {statement}: {found:?}");
            seen.insert(state.clone());
        }
        if survived {
            assert!(found.iter().all(|(state, _)| state == "done"), "{found:?}");
            break;
        }
        // Whoever comes next finds all of it, and does it.
        let bus = place.open().await;
        let service = bus.serve("work", |_: Call| async { Ok(()) }).await.unwrap();
        bus.requeue(Dead::Of(Filter::everything())).await.unwrap();
        for id in ["a", "b", "c"] {
            tokio::time::timeout(PATIENCE, bus.reply(id.into())).await.unwrap().unwrap();
        }
        service.stop().await.unwrap();
        bus.close().await.unwrap();
    }
    for state in ["ready", "leased", "done", "dead"] {
        assert!(seen.contains(state), "never killed while one was {state}");
    }
}

/// Serves jobs and requests, and writes a line as each begins and ends.
pub(crate) async fn toil(path: &str, out: &str) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    let log = Arc::new(Lines::open(out));
    let chance = Arc::new(AtomicU64::new(u64::from(std::process::id())));
    let handler = handler_fn(move |call: Call| {
        let (log, chance) = (Arc::clone(&log), chance.fetch_add(0x9e37_79b9, Ordering::Relaxed));
        async move {
            let line = |what: &str| format!("{what} {} {}", call.id(), call.attempt());
            log.write(line("begins"));
            tokio::time::sleep(Duration::from_micros(chance % 4_000)).await;
            log.write(line("ends"));
            Ok(call.payload().clone())
        }
    });
    let handler = Arc::new(handler);
    let jobs = bus.serve_with(Serve::on("work.>").concurrency(4), Arc::clone(&handler) as _).await.unwrap();
    let mut asked = bus.serve_with(Serve::on("ask").concurrency(4), handler).await.unwrap();
    say("ready");
    asked.ended().await.unwrap();
    drop(jobs);
}

/// Servers are killed at random: for 4 s, or as many as `ROWBUS_TORTURE_SECONDS` says, by the seed in `ROWBUS_SEED`.
#[tokio::test(flavor = "multi_thread")]
async fn while_servers_are_killed_at_random_every_job_is_done_none_twice_at_once_and_every_request_ends_once()
{
    let from_env = |name: &str, or: u64| std::env::var(name).map_or(or, |value| value.parse().unwrap());
    let (seconds, seed) = (from_env("ROWBUS_TORTURE_SECONDS", 4), from_env("ROWBUS_SEED", 7));
    let place = Place::quiet();
    let (path, out) = (place.path(), place.join("log"));
    let bus = place.open().await;
    let start = || {
        let mut server = Process::start("toil", &[path.to_str().unwrap(), out.to_str().unwrap()]);
        assert_eq!(server.hear(), "ready");
        server
    };
    let mut servers: Vec<_> = (0..3).map(|_| start()).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let asking = bus.clone();
    let asked = tokio::spawn(async move {
        let (mut answered, mut timed_out) = (0, 0);
        while Instant::now() < end {
            let request = Request::to("ask", answered.to_string()).timeout(PATIENCE);
            match asking.call(request).await {
                Ok(reply) => {
                    assert_eq!(reply.text(), Some(answered.to_string().as_str()));
                    answered += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::RequestTimeout, "{error}");
                    timed_out += 1;
                }
            }
        }
        (answered, timed_out)
    });
    let (mut jobs, mut kills, mut state) = (Vec::new(), 0, seed);
    let mut chance = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    while Instant::now() < end {
        for _ in 0..chance(20) {
            let subject = format!("work.{}", chance(3));
            let mut job = Job::new(subject.as_str(), "").max_attempts(1_000_000).backoff(quick());
            if chance(4) == 0 {
                job = job.key("one at a time");
            }
            jobs.push(bus.enqueue(job).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(chance(80))).await;
        let victim = usize::try_from(chance(3)).unwrap();
        servers[victim].kill();
        servers[victim] = start();
        kills += 1;
    }
    let (answered, timed_out) = asked.await.unwrap();
    for job in &jobs {
        tokio::time::timeout(PATIENCE, job.reply()).await.expect("every job is done").unwrap();
    }
    eprintln!("{kills} kills, {} jobs, {answered} requests answered, {timed_out} timed out", jobs.len());
    let log = lines::read(&out);
    // By id: the last attempt that began, and the last that ended.
    let mut attempts: HashMap<&str, (u32, u32)> = HashMap::new();
    for line in &log {
        let words: Vec<_> = line.split(' ').collect();
        let (attempt, of) = (words[2].parse::<u32>().unwrap(), attempts.entry(words[1]).or_default());
        if words[0] == "begins" {
            assert!(attempt > of.0, "attempt {attempt} of {} began after attempt {}", words[1], of.0);
            of.0 = attempt;
        } else {
            assert_eq!(
                attempt, of.0,
                "attempt {attempt} of {} was still at work when another began",
                words[1]
            );
            of.1 = attempt;
        }
    }
    let (sql, done) = (place.sql(), "SELECT state, attempt FROM bus_requests WHERE id = ?1");
    for job in &jobs {
        let id = job.id().as_str();
        let (state, attempt): (String, u32) =
            sql.query_row(done, [id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let (_, ended) = attempts[id];
        assert_eq!((state.as_str(), attempt), ("done", ended), "{id}");
    }
    let left = "SELECT count(*) FROM bus_requests WHERE kind = 'request' OR state != 'done'";
    until("no request is left over", || sql.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap() == 0)
        .await;
    assert!(kills > 0 && answered > 0);
}
