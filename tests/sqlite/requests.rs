//! Requests and jobs on a file: leases, time, and rows that others have written.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use rowbus::{
    Backoff, Call, Clock, Dead, Durability, Durable, DurableExt, ErrorKind, Filter, Job, JobState, Messenger,
    MessengerExt, Request, Serve, SqliteBus, handler_fn,
};
use tokio::sync::Semaphore;

use crate::{PATIENCE, Place, until};

pub(crate) const HOUR: i64 = 3_600_000;

/// Both clocks, to be set.
#[derive(Debug)]
pub(crate) struct Clocks {
    pub(crate) wall: AtomicI64,
    pub(crate) awake: AtomicI64,
}

impl Clock for Clocks {
    fn unix_millis(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn awake_millis(&self) -> i64 {
        self.awake.load(Ordering::SeqCst)
    }
}

impl Clocks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { wall: AtomicI64::new(1_800_000_000_000), awake: AtomicI64::new(HOUR) })
    }

    pub(crate) fn pass(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::SeqCst);
        self.awake.fetch_add(millis, Ordering::SeqCst);
    }
}

async fn open_at(place: &Place, clocks: &Arc<Clocks>) -> SqliteBus {
    let builder = SqliteBus::builder(place.path()).durability(Durability::Relaxed);
    builder.clock(Arc::clone(clocks) as Arc<dyn Clock>).open().await.unwrap()
}

/// A service whose handlers each wait for a permit, and how many have begun.
async fn gated(
    bus: &SqliteBus,
    subject: &str,
    lease: Duration,
) -> (rowbus::Service, Arc<Semaphore>, Arc<AtomicUsize>) {
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (of, count) = (Arc::clone(&gate), Arc::clone(&begun));
    let handler = handler_fn(move |call: Call| {
        let gate = Arc::clone(&of);
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            gate.acquire().await?.forget();
            Ok(format!("attempt {}", call.attempt()))
        }
    });
    let service = bus.serve_with(Serve::on(subject).lease(lease), Arc::new(handler)).await.unwrap();
    (service, gate, begun)
}

fn count(place: &Place, sql: &str) -> i64 {
    place.sql().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_either_way_neither_starves_nor_doubles_a_lease() {
    let place = Place::new();
    let clocks = Clocks::new();
    let (one, two) = (open_at(&place, &clocks).await, open_at(&place, &clocks).await);
    let (first, gate, begun) = gated(&one, "work", Duration::from_secs(30)).await;
    let job = one.enqueue(Job::new("work", "")).await.unwrap();
    until("it begins", || begun.load(Ordering::SeqCst) == 1).await;
    let (second, _, begun_again) = gated(&two, "work", Duration::from_secs(30)).await;
    for jump in [HOUR, -2 * HOUR, HOUR] {
        clocks.wall.fetch_add(jump, Ordering::SeqCst);
        two.nudge();
        one.nudge();
        // Something of its own comes through, so both have looked.
        let other = two.serve("other", |_: Call| async { Ok(()) }).await.unwrap();
        one.request("other", "").await.unwrap();
        other.stop().await.unwrap();
        assert_eq!(begun_again.load(Ordering::SeqCst), 0);
    }
    gate.add_permits(1);
    assert_eq!(job.reply().await.unwrap().text(), Some("attempt 1"));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn an_hour_asleep_ends_no_lease_and_what_was_due_meanwhile_is_done() {
    let place = Place::new();
    let clocks = Clocks::new();
    let (one, two) = (open_at(&place, &clocks).await, open_at(&place, &clocks).await);
    let (first, gate, begun) = gated(&one, "work", Duration::from_secs(30)).await;
    let held = one.enqueue(Job::new("work", "")).await.unwrap();
    until("it begins", || begun.load(Ordering::SeqCst) == 1).await;
    let (second, other_gate, begun_again) = gated(&two, "later", Duration::from_secs(30)).await;
    let later = one.enqueue(Job::new("later", "").delay(Duration::from_secs(1_800))).await.unwrap();
    assert_eq!(later.info().await.unwrap().state, JobState::Scheduled);
    // Awake time stands still in suspend.
    clocks.wall.fetch_add(HOUR, Ordering::SeqCst);
    two.nudge();
    until("what was due begins", || begun_again.load(Ordering::SeqCst) == 1).await;
    other_gate.add_permits(1);
    later.reply().await.unwrap();
    gate.add_permits(1);
    assert_eq!(held.reply().await.unwrap().text(), Some("attempt 1"));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_handler_runs_and_runs_out_after_max_run() {
    let place = Place::new();
    let clocks = Clocks::new();
    let bus = open_at(&place, &clocks).await;
    let (begun, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, told) = (Arc::clone(&begun), Arc::clone(&cancelled));
    let handler = handler_fn(move |call: Call| {
        let (first, told) = (count.fetch_add(1, Ordering::SeqCst) == 0, Arc::clone(&told));
        async move {
            if first {
                call.cancelled().await;
                // Its answer counts no more, and it is told so. (A panic in a handler would be no failure of the test.)
                if call.reply("late").await.is_err_and(|late| late.kind() == ErrorKind::LeaseLost) {
                    told.add_permits(1);
                }
                return Ok(String::from("late"));
            }
            Ok(format!("attempt {}", call.attempt()))
        }
    });
    let serve = Serve::on("work").lease(Duration::from_secs(3)).max_run(Duration::from_secs(10));
    let service = bus.serve_with(serve, Arc::new(handler)).await.unwrap();
    let job = bus.enqueue(Job::new("work", "")).await.unwrap();
    until("it begins", || begun.load(Ordering::SeqCst) == 1).await;
    let lease = || count_lease(&place);
    for second in 1..=6 {
        let before = lease();
        clocks.pass(1_000);
        bus.nudge();
        until("it is renewed", || lease() > before).await;
        assert_eq!(begun.load(Ordering::SeqCst), 1, "after {second} s");
    }
    clocks.pass(4_000);
    bus.nudge();
    assert_eq!(job.reply().await.unwrap().text(), Some("attempt 2"));
    tokio::time::timeout(PATIENCE, cancelled.acquire()).await.expect("it is told").unwrap().forget();
    service.stop().await.unwrap();
}

fn count_lease(place: &Place) -> i64 {
    count(place, "SELECT ifnull(max(lease_until), 0) FROM bus_requests")
}

#[tokio::test]
async fn a_plain_insert_is_a_job_whatever_it_says() {
    let place = Place::new();
    let bus = place.open().await;
    let done = Arc::new(std::sync::Mutex::new(Vec::new()));
    let of = Arc::clone(&done);
    let service = bus
        .serve("plain.>", move |call: Call| {
            of.lock().unwrap().push(call.text().unwrap_or("?").to_owned());
            async { Ok(()) }
        })
        .await
        .unwrap();
    let sql = place.sql();
    sql.execute_batch(
        "INSERT INTO bus_requests (subject, data) VALUES ('plain.a', 'text');
         INSERT INTO bus_requests (subject, data, headers) VALUES ('plain.a', x'62', 'A: b');
         INSERT INTO bus_requests (subject, data, run_at) VALUES ('plain.b', 'due', 5);
         INSERT INTO bus_requests (subject, data, run_at) VALUES ('plain.b', 'far', 9000000000000);
         INSERT INTO bus_requests (subject, data, headers) VALUES ('plain.c', 'damaged', 'no colon');
         INSERT INTO bus_requests (subject, data, attempt, backoff, max_attempts) VALUES ('plain.c', 'odd', -3, 'x', NULL OR 5);
         INSERT INTO bus_requests (subject, data) VALUES ('plain..c', 'no subject');
         INSERT INTO bus_requests (subject, data, key) VALUES ('plain.d', 'first', 'k');
         INSERT INTO bus_requests (subject, data, key) VALUES ('plain.d', 'second', 'k');",
    )
    .unwrap();
    until("all that can be are done", || done.lock().unwrap().len() == 6).await;
    let mut texts = done.lock().unwrap().clone();
    texts.sort();
    assert_eq!(texts, ["b", "due", "first", "odd", "second", "text"]);
    let states = |data: &str| {
        sql.query_row("SELECT state FROM bus_requests WHERE data = ?1", [data], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(states("far"), "scheduled");
    assert_eq!(states("damaged"), "dead");
    let ids = "SELECT count(DISTINCT id) = count(*) AND min(length(id)) = 36 FROM bus_requests";
    assert_eq!(count(&place, ids), 1);
    let dead = bus.dead_letters(Dead::Of(Filter::everything()), 0, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].reason.contains("headers"), "{:?}", dead[0]);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_consumed_or_withdrawn_leaves_no_row() {
    let place = Place::new();
    let bus = place.open().await;
    let service = bus
        .serve("echo", |call: Call| async move {
            call.part("part").await?;
            Ok(call.payload().clone())
        })
        .await
        .unwrap();
    for _ in 0..100 {
        bus.request("echo", "x").await.unwrap();
    }
    let unserved = bus.call(Request::to("nobody", "").timeout(Duration::from_millis(5))).await.unwrap_err();
    assert_eq!(unserved.kind(), ErrorKind::RequestTimeout);
    drop(tokio::time::timeout(Duration::from_millis(5), bus.request("nobody", "")).await);
    let mut replies = bus.request_stream("echo", "y").await.unwrap();
    while replies.next().await.is_some() {}
    drop(replies);
    let rows = "SELECT (SELECT count(*) FROM bus_requests) + (SELECT count(*) FROM bus_replies)";
    until("no row is left", || count(&place, rows) == 0).await;
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_whose_reply_was_kept_long_enough_leaves_no_row() {
    let place = Place::new();
    let clocks = Clocks::new();
    let bus = open_at(&place, &clocks).await;
    let service = bus.serve("work", |_: Call| async { Ok("done") }).await.unwrap();
    let short = bus.enqueue(Job::new("work", "").keep_reply(Duration::from_secs(1))).await.unwrap();
    short.reply().await.unwrap();
    let for_ever = Job::new("work", "").keep_reply(Duration::ZERO).unique_as("u", rowbus::Unique::Forever);
    let for_ever = bus.enqueue(for_ever).await.unwrap();
    for_ever.reply().await.unwrap();
    assert_eq!(short.info().await.unwrap().state, JobState::Done);
    clocks.pass(2_000);
    bus.enqueue(Job::new("work", "")).await.unwrap().reply().await.unwrap();
    assert_eq!(short.info().await.unwrap_err().kind(), ErrorKind::NotFound);
    clocks.pass(HOUR * 24 * 365);
    bus.enqueue(Job::new("work", "")).await.unwrap().reply().await.unwrap();
    let again = bus.enqueue(Job::new("work", "").unique_as("u", rowbus::Unique::Forever)).await.unwrap();
    assert!(again.is_duplicate() && again.id() == for_ever.id());
    service.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_restart_of_the_machine_requests_are_gone_and_leases_free() {
    let place = Place::new();
    let bus = place.open().await;
    bus.enqueue(Job::new("work", "")).await.unwrap();
    bus.close().await.unwrap();
    place
        .sql()
        .execute_batch(
            "UPDATE bus_requests SET ready = NULL, attempt = 1, lease_peer = 7, lease_until = 9000000000000;
             INSERT INTO bus_requests (subject, kind, deadline) VALUES ('ask', 'request', 9000000000000);
             INSERT INTO bus_replies (request, attempt, part) VALUES (2, 1, 1);
             UPDATE bus_meta SET value = 'another' WHERE key = 'boot_id';",
        )
        .unwrap();
    let bus = place.open().await;
    assert_eq!(count(&place, "SELECT count(*) FROM bus_requests WHERE kind = 'request'"), 0);
    assert_eq!(count(&place, "SELECT count(*) FROM bus_replies"), 0);
    let freed = bus.serve("work", |_: Call| async { Ok(()) }).await.unwrap();
    until("it is done", || count(&place, "SELECT count(*) FROM bus_requests WHERE state = 'done'") == 1)
        .await;
    freed.stop().await.unwrap();
    let job = bus.enqueue(Job::new("work", "")).await.unwrap();
    let behind = "SELECT max(sequence) > 1000000 FROM bus_requests";
    assert_eq!(count(&place, behind), 1, "no sequence that may have been lost is given again");
    job.cancel().await.unwrap();
}

#[tokio::test]
async fn retries_wait_for_their_backoff_by_the_wall_clock() {
    let place = Place::new();
    let clocks = Clocks::new();
    let bus = open_at(&place, &clocks).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let of = Arc::clone(&tries);
    let service = bus
        .serve("work", move |_: Call| {
            of.fetch_add(1, Ordering::SeqCst);
            async { Err::<(), _>(rowbus::HandlerError::new("not yet")) }
        })
        .await
        .unwrap();
    let backoff = Backoff::exponential(Duration::from_secs(10), Duration::from_secs(3_600));
    let job = bus.enqueue(Job::new("work", "").backoff(backoff).max_attempts(3)).await.unwrap();
    for (at, pause) in [(1, 10_000), (2, 20_000)] {
        until("it was tried", || tries.load(Ordering::SeqCst) == at).await;
        let id = job.id().as_str().to_owned();
        let state = || {
            let sql = place.sql();
            sql.query_row("SELECT state FROM bus_requests WHERE id = ?1", [&id], |row| {
                row.get::<_, String>(0)
            })
            .unwrap()
        };
        until("it is scheduled", || state() == "scheduled").await;
        let due = job.info().await.unwrap().run_at.unwrap().timestamp_millis();
        let wait = due - clocks.unix_millis();
        assert!((pause * 8 / 10..=pause * 12 / 10).contains(&wait), "attempt {at}: {wait} ms");
        clocks.pass(wait - 1);
        bus.nudge();
        assert_eq!(job.info().await.unwrap().state, JobState::Scheduled);
        clocks.pass(1);
        bus.nudge();
    }
    let dead = tokio::time::timeout(PATIENCE, job.reply()).await.unwrap().unwrap_err();
    assert_eq!((dead.kind(), dead.to_string().as_str()), (ErrorKind::Handler, "not yet"));
    let letters = bus.dead_letters(Dead::Of(Filter::everything()), 0, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].attempts, letters[0].failures.len()), (1, 3, 3));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_one_name_on_several_threads_never_complete_each_others_requests() {
    let place = Place::without_disk();
    let named = || SqliteBus::builder(place.path()).name("worker").durability(Durability::Relaxed).open();
    let buses = [named().await.unwrap(), named().await.unwrap()];
    let begun = Arc::new(std::sync::Mutex::new(std::collections::HashMap::new()));
    let mut services = Vec::new();
    for at in 0..4 {
        let begun = Arc::clone(&begun);
        let handler = handler_fn(move |call: Call| {
            begun.lock().unwrap().insert(call.id().to_owned(), at);
            async move {
                tokio::task::yield_now().await;
                Ok(format!("service {at}"))
            }
        });
        let serve = Serve::on("work").concurrency(3);
        services.push(buses[at % 2].serve_with(serve, Arc::new(handler)).await.unwrap());
    }
    let jobs = buses[0].enqueue_all((0..300).map(|_| Job::new("work", ""))).await.unwrap();
    for job in jobs {
        let reply = tokio::time::timeout(PATIENCE, job.reply()).await.unwrap().unwrap();
        let by = begun.lock().unwrap()[job.id().as_str()];
        assert_eq!((reply.text().unwrap(), reply.attempt()), (format!("service {by}").as_str(), 1));
    }
    for service in services {
        service.stop().await.unwrap();
    }
}

#[tokio::test]
async fn jobs_of_the_first_schema_are_still_done() {
    let place = Place::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-1.db");
    std::fs::copy(fixture, place.path()).unwrap();
    place
        .sql()
        .execute_batch(
            "INSERT INTO bus_requests (subject, data) VALUES ('work', 'gone');
             DELETE FROM bus_requests;
             INSERT INTO bus_requests (subject, data, headers) VALUES ('work', 'old', 'A: b');",
        )
        .unwrap();
    let bus = place.open().await;
    let (tell, told) = std::sync::mpsc::channel();
    let handler = move |call: Call| {
        tell.send((
            call.text().unwrap().to_owned(),
            call.headers().get("A").map(str::to_owned),
            call.sequence(),
        ))
        .unwrap();
        async { Ok(()) }
    };
    let service = bus.serve("work", handler).await.unwrap();
    let found = tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE)).await.unwrap().unwrap();
    assert_eq!((found.0.as_str(), found.1.as_deref()), ("old", Some("b")));
    assert!(found.2 >= 2, "no sequence is given again: {}", found.2);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn rows_that_a_hand_has_spoilt_stop_nobody() {
    let place = Place::new();
    let bus = place.open().await;
    let done = Arc::new(AtomicUsize::new(0));
    let of = Arc::clone(&done);
    let fail = Arc::new(AtomicUsize::new(1));
    let failing = Arc::clone(&fail);
    let handler = move |call: Call| {
        let fails = call.text() == Some("keyed") && failing.swap(0, Ordering::SeqCst) == 1;
        of.fetch_add(1, Ordering::SeqCst);
        async move { if fails { Err(rowbus::HandlerError::new("no").fatal()) } else { Ok(()) } }
    };
    let service = bus.serve(">", handler).await.unwrap();
    place
        .sql()
        .execute_batch(
            "INSERT INTO bus_requests (subject, ready, run_at) VALUES (CAST(x'ff61' AS TEXT), NULL, 1);
             INSERT INTO bus_requests (subject) VALUES (CAST(x'ff62' AS TEXT));
             INSERT INTO bus_requests (subject, data, key) VALUES ('work', 'keyed', x'00');
             INSERT INTO bus_requests (subject, ready, run_at) VALUES ('work', NULL, 1.5);
             INSERT INTO bus_requests (subject, ready, lease_peer, lease_until) VALUES ('work', NULL, 'x', 'soon');
             INSERT INTO bus_requests (subject, ready, lease_until, attempt) VALUES ('work', NULL, 1, 'third');
             INSERT INTO bus_requests (subject, run_at) VALUES ('late', 9e15 + 0.5);",
        )
        .unwrap();
    // The keyed one, the one due at 1.5, and the one whose lease is over.
    until("what can be done is", || done.load(Ordering::SeqCst) >= 3).await;
    let job = bus.enqueue(Job::new("a.b", "").delay(Duration::from_millis(5))).await.unwrap();
    tokio::time::timeout(PATIENCE, job.reply()).await.unwrap().unwrap();
    assert_eq!(
        count(&place, "SELECT count(*) FROM bus_requests WHERE subject = 'late' AND state = 'scheduled'"),
        1
    );
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_wildcard_service_rests_beside_any_number_of_subjects_that_are_not_its_own() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let others = (0..700).map(|at| Job::new(format!("orders.{at}.paid").as_str(), ""));
    bus.enqueue_all(others).await.unwrap();
    let service = bus.serve("orders.*.created", |_: Call| async { Ok("made") }).await.unwrap();
    let version = || {
        let sql = place.sql();
        let pages = "SELECT count(*) FROM bus_requests WHERE state = 'ready'";
        sql.query_row(pages, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    for at in [3, 699, 0] {
        let subject = format!("orders.{at}.created");
        let reply = tokio::time::timeout(PATIENCE, bus.request(subject.as_str(), "")).await.unwrap().unwrap();
        assert_eq!(reply.text(), Some("made"));
    }
    assert_eq!(version(), 700);
    // It sleeps when there is nothing more: a transaction of somebody else is the only one there is.
    let watch = place.sql();
    let seen = || watch.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let mut last = seen();
    let mut quiet = 0;
    until("nobody writes any more", || {
        let now = seen();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        quiet == 20
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_hosts_triggers_and_views_on_requests_outlive_the_migration() {
    let place = Place::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-1.db");
    std::fs::copy(fixture, place.path()).unwrap();
    place
        .sql()
        .execute_batch(
            "CREATE TABLE orders (item TEXT);
             CREATE TRIGGER outbox AFTER INSERT ON orders BEGIN INSERT INTO bus_requests (subject, data) VALUES ('bake', new.item); END;
             CREATE VIEW waiting AS SELECT subject, data FROM bus_requests;
             CREATE VIEW broken AS SELECT * FROM nowhere;",
        )
        .unwrap();
    let bus = place.open().await;
    let service = bus.serve("bake", |_: Call| async { Ok(()) }).await.unwrap();
    place.sql().execute_batch("INSERT INTO orders VALUES ('pizza')").unwrap();
    until("it is baked", || count(&place, "SELECT count(*) FROM bus_requests WHERE state = 'done'") == 1)
        .await;
    assert_eq!(count(&place, "SELECT count(*) FROM waiting WHERE data = 'pizza'"), 1);
    service.stop().await.unwrap();
}
