//! What a disk and a process can do to a bus.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use rowbus::{Durability, ErrorKind, Messenger, MessengerExt, Publish, SqliteBus};

use crate::child::Process;
use crate::{PATIENCE, Place, from_oldest, listed, next, texts, until};

#[tokio::test]
async fn a_locked_file_is_waited_for_and_then_busy_without_anything_written() {
    let place = Place::new();
    let builder = SqliteBus::builder(place.path()).busy_deadline(Duration::from_millis(100));
    let bus = builder.durability(Durability::Relaxed).open().await.unwrap();
    let mut holder = Process::start("hold", &[place.path().to_str().unwrap()]);
    assert_eq!(holder.hear(), "held");
    let error = bus.publish("a", "refused").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let patient = SqliteBus::builder(place.path()).busy_deadline(PATIENCE).open().await.unwrap();
    let waiting = tokio::spawn(async move { patient.publish("a", "waited").await });
    holder.tell("go");
    holder.ends_well();
    waiting.await.unwrap().unwrap();
    bus.publish("a", "free").await.unwrap();
    assert_eq!(texts(&mut from_oldest(&bus, "a").await, 2).await, ["waited", "free"]);
}

#[tokio::test]
async fn a_dropped_publish_is_there_whole_or_not_at_all_and_the_writer_goes_on() {
    let place = Place::new();
    let bus = place.open().await;
    let load: Vec<_> = (0..8)
        .map(|task| {
            let bus = bus.clone();
            tokio::spawn(async move {
                for at in 0..500 {
                    bus.publish("load", format!("{task}.{at}")).await.unwrap();
                }
            })
        })
        .collect();
    let body = |at: usize| vec![(at % 251) as u8; 64 + at % 4096];
    let (mut seed, mut finished) = (0x2545_f491_4f6c_dd1d_u64, Vec::new());
    for at in 0..10_000_usize {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let durability = if at % 100 == 0 { Durability::Full } else { Durability::Relaxed };
        let publish = Publish::new("dropped", body(at)).header("At", &at.to_string()).durability(durability);
        let mut publishing = bus.send(publish);
        // On a slow disk none would be done within a few polls.
        if seed % 64 == 0 {
            publishing.await.unwrap();
            finished.push(at);
            continue;
        }
        // Polled a few times and dropped, wherever it is by then.
        for _ in 0..seed % 4 {
            if (&mut publishing).now_or_never().is_some_and(|ack| ack.is_ok()) {
                finished.push(at);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    for task in load {
        task.await.unwrap();
    }
    bus.publish("dropped", "end").await.unwrap();
    let mut stream = from_oldest(&bus, "dropped").await;
    let mut seen = Vec::new();
    loop {
        let message = next(&mut stream).await.unwrap();
        if message.text() == Some("end") {
            break;
        }
        let at: usize = message.headers().get("At").unwrap().parse().unwrap();
        assert_eq!(message.payload()[..], body(at)[..]);
        seen.push(at);
    }
    let disorder: Vec<_> = seen.windows(2).filter(|pair| pair[0] >= pair[1]).collect();
    assert!(disorder.is_empty(), "each at most once, in order: {disorder:?}");
    assert!(finished.iter().all(|at| seen.binary_search(at).is_ok()), "what was acknowledged is there");
    assert!(!finished.is_empty() && finished.len() < 10_000);
    let mut load = from_oldest(&bus, "load").await;
    texts(&mut load, 4_000).await;
}

#[tokio::test]
async fn a_refused_operation_does_not_fail_its_neighbours() {
    let place = Place::new();
    let bus = place.open().await;
    bus.publish("a", "1").await.unwrap();
    let sends = (0..64).map(|at| {
        let publish = Publish::new("a", at.to_string());
        bus.send(if at % 2 == 0 { publish.expect_last(999) } else { publish })
    });
    let outcomes = futures_util::future::join_all(sends).await;
    for (at, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(_) => assert_eq!(at % 2, 1),
            Err(error) => {
                assert_eq!(at % 2, 0);
                assert!(matches!(error.kind(), ErrorKind::WrongSequence { .. }), "{error}");
            }
        }
    }
    let batch = [Publish::new("b", "1"), Publish::new("b", "2").expect_last(7), Publish::new("b", "3")];
    let error = bus.publish_all(batch).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongSequence { .. }), "{error}");
    assert!(bus.last("b".try_into().unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_table_that_a_host_has_altered_fails_its_own_messages_and_no_others() {
    let place = Place::new();
    let bus = place.open().await;
    place
        .sql()
        .execute_batch(
            "CREATE TRIGGER picky BEFORE INSERT ON bus_events WHEN new.data = x'62616421'
             BEGIN SELECT raise(ABORT, 'not in my file'); END",
        )
        .unwrap();
    let sends = (0..64).map(|at| bus.publish("a", if at == 40 { "bad!".to_owned() } else { at.to_string() }));
    let outcomes = futures_util::future::join_all(sends).await;
    let failed: Vec<_> =
        outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).map(|(at, _)| at).collect();
    assert_eq!(failed, [40]);
    assert_eq!(texts(&mut from_oldest(&bus, "a").await, 63).await.len(), 63);
}

/// Panics when it is asked for the time, once.
#[derive(Debug, Default)]
struct Bomb {
    armed: AtomicBool,
}

impl rowbus::Clock for Bomb {
    fn unix_millis(&self) -> i64 {
        assert!(!self.armed.swap(false, Ordering::SeqCst), "the clock was to panic");
        1
    }
}

async fn a_clock_that_panics_locks_nothing() {
    let (place, clock) = (Place::new(), Arc::new(Bomb::default()));
    let bus = SqliteBus::builder(place.path()).clock(clock.clone()).open().await.unwrap();
    listed(&bus).await;
    let publish = async |body: &str, durability| {
        let publishing = bus.send(Publish::new("a", body.to_owned()).durability(durability));
        let outcome = tokio::time::timeout(PATIENCE, AssertUnwindSafe(publishing).catch_unwind()).await;
        matches!(outcome.expect("an end in time"), Ok(Ok(_)))
    };
    let mut expected = Vec::new();
    for (round, panicking) in [Durability::Relaxed, Durability::Full].into_iter().cycle().take(4).enumerate()
    {
        clock.armed.store(true, Ordering::SeqCst);
        assert!(!publish("lost", panicking).await, "{panicking:?}: acknowledged in spite of a panic");
        assert!(!clock.armed.load(Ordering::SeqCst), "it was to panic here");
        let mut other = Process::start("lock", &[place.path().to_str().unwrap()]);
        assert_eq!(other.hear(), "locked", "after a panic in a publish that is {panicking:?}");
        other.ends_well();
        for durability in [Durability::Full, Durability::Relaxed, Durability::Full] {
            let body = format!("{round}, {durability:?}");
            assert!(publish(&body, durability).await, "{body}: refused after {panicking:?}");
            expected.push(body);
        }
    }
    assert_eq!(texts(&mut from_oldest(&bus, "a").await, expected.len()).await, expected);
}

#[tokio::test]
async fn a_clock_that_panics_locks_nothing_on_a_runtime_of_one_thread() {
    a_clock_that_panics_locks_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_panics_locks_nothing_on_a_runtime_with_workers() {
    a_clock_that_panics_locks_nothing().await;
}

type Publishing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task with the last handle of a bus; both end where the task is woken.
#[derive(Default)]
struct LastHandle {
    task: Mutex<Option<Publishing>>,
    woken: AtomicBool,
}

impl Wake for LastHandle {
    fn wake(self: Arc<Self>) {
        let task = self.task.lock().unwrap().take();
        drop(task);
        self.woken.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_waker_that_drops_the_last_handle_of_the_bus_closes_it() {
    let place = Place::new();
    let bus = SqliteBus::builder(place.path()).busy_deadline(PATIENCE).open().await.unwrap();
    // So that the publish waits, and is answered by the writer's thread.
    let lock = place.sql();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut task: Publishing = Box::pin(async move {
        let _ = bus.send(Publish::new("a", "1").durability(Durability::Full)).await;
    });
    let handle = Arc::new(LastHandle::default());
    let waker = Waker::from(handle.clone());
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    *handle.task.lock().unwrap() = Some(task);
    drop(lock);
    until("the waker has returned", || handle.woken.load(Ordering::SeqCst)).await;
    // The last connection that closes removes it.
    until("the file is closed", || !place.join("bus.db-wal").exists()).await;
    let next = place.open().await;
    next.publish("a", "2").await.unwrap();
    assert_eq!(texts(&mut from_oldest(&next, "a").await, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn a_bus_that_is_full_tells_so_keeps_what_was_acknowledged_and_is_survived() {
    let place = Place::new();
    // SQLite takes a limit of the file for a disk that is full.
    let small = SqliteBus::builder(place.path())
        .on_connect(|conn| conn.pragma_update(None, "max_page_count", 120))
        .durability(Durability::Relaxed);
    let bus = small.open().await.unwrap();
    let body = |at: usize| vec![at as u8; 20_000];
    let mut acknowledged = 0;
    let error = loop {
        match bus.publish("a", body(acknowledged)).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 120, "more than there is room for");
    };
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(error.is_transient() && acknowledged > 0);
    // The same by way of the writer's thread, and for several at once.
    let full = bus.send(Publish::new("a", body(0)).durability(Durability::Full)).await;
    assert_eq!(full.unwrap_err().kind(), ErrorKind::DiskFull);
    let together = futures_util::future::join_all((0..8).map(|_| bus.publish("a", body(0)))).await;
    assert!(together.into_iter().all(|outcome| outcome.is_err_and(|e| e.kind() == ErrorKind::DiskFull)));
    let mut stream = from_oldest(&bus, "a").await;
    for at in 0..acknowledged {
        assert_eq!(next(&mut stream).await.unwrap().payload()[..], body(at)[..]);
    }
    place.sql().execute("DELETE FROM bus_events WHERE id <= ?1", [acknowledged as i64 / 2]).unwrap();
    bus.publish("a", "room again").await.unwrap();
    bus.send(Publish::new("a", "and flushed").durability(Durability::Full)).await.unwrap();
    assert_eq!(texts(&mut stream, 2).await, ["room again", "and flushed"]);
}

#[cfg(unix)] // elsewhere a file that is open cannot be removed
#[tokio::test]
async fn a_bus_that_has_waited_for_something_closes_though_its_file_is_gone() {
    let place = Place::new();
    let bus = place.open().await;
    let request = rowbus::Request::to("nobody", "").timeout(std::time::Duration::from_millis(20));
    assert_eq!(bus.call(request).await.unwrap_err().kind(), ErrorKind::RequestTimeout);
    std::fs::remove_dir_all(place.path().parent().unwrap()).unwrap();
    let mut stream = bus.stream(">").await;
    // Once it is known to be gone, whoever looks for it looks in vain.
    while let Ok(open) = &mut stream {
        if !matches!(tokio::time::timeout(crate::PATIENCE, open.next()).await.unwrap(), Some(Ok(_))) {
            break;
        }
    }
    tokio::time::timeout(crate::PATIENCE, bus.close()).await.expect("it closes").unwrap();
}
