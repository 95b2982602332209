//! What a disk and a process can do to a bus.

use std::time::Duration;

use futures_util::FutureExt;
use rowbus::{Durability, ErrorKind, Messenger, MessengerExt, Publish, SqliteBus};

use crate::child::Process;
use crate::{PATIENCE, Place, from_oldest, next, texts};

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
    assert!(
        seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]),
        "each at most once, in order"
    );
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
