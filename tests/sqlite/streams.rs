//! Streams on the log: falling behind and catching up, gaps, and the end of the file under them.

use std::time::Duration;

use rowbus::{ErrorKind, Messenger, MessengerExt, Publish, SqliteBus, StartAt, Subscribe, Subscription};

use crate::{PATIENCE, Place, from_oldest, next, texts, until};

async fn fill(bus: &SqliteBus, subject: &str, from: usize, to: usize) {
    let batch = (from..to).map(|at| Publish::new(subject, at.to_string()));
    bus.publish_all(batch).await.unwrap();
}

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|at| at.to_string()).collect()
}

#[tokio::test]
async fn a_reader_that_fell_behind_reads_on_from_the_log_and_rejoins() {
    let place = Place::new();
    let bus = place.open().await;
    let mut slow = bus.subscribe(Subscribe::to("a").buffer(4)).await.unwrap();
    let mut other = bus.stream("a").await.unwrap();
    fill(&bus, "a", 0, 3_000).await;
    assert_eq!(texts(&mut other, 3_000).await, numbers(0, 3_000));
    assert_eq!(texts(&mut slow, 3_000).await, numbers(0, 3_000));
    for round in 0..20 {
        fill(&bus, "a", round * 7, round * 7 + 7).await;
        assert_eq!(texts(&mut slow, 7).await, numbers(round * 7, round * 7 + 7));
    }
}

#[tokio::test]
async fn a_replay_under_constant_publishing_misses_and_repeats_nothing() {
    let place = Place::new();
    let bus = place.open().await;
    fill(&bus, "a.x", 0, 2_000).await;
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            for at in 2_000..6_000 {
                bus.publish("a.x", at.to_string()).await.unwrap();
                if at % 3 == 0 {
                    bus.publish("b.x", "not wanted").await.unwrap();
                }
            }
        }
    });
    for filter in ["a.x", "a.*", "a.>"] {
        let mut stream = from_oldest(&bus, filter).await;
        assert_eq!(texts(&mut stream, 6_000).await, numbers(0, 6_000), "{filter}");
    }
    publishing.await.unwrap();
}

#[tokio::test]
async fn commits_of_another_process_arrive_in_order_between_our_own() {
    let place = Place::new();
    let ours = place.open().await;
    let theirs = place.open().await;
    let mut stream = ours.stream(">").await.unwrap();
    for at in 0..300 {
        let bus = if at % 3 == 0 { &theirs } else { &ours };
        bus.publish("a", at.to_string()).await.unwrap();
    }
    assert_eq!(texts(&mut stream, 300).await, numbers(0, 300));
}

#[tokio::test]
async fn events_removed_before_they_were_read_are_one_gap_and_the_stream_goes_on() {
    let place = Place::new();
    let bus = place.open().await;
    fill(&bus, "a", 1, 11).await;
    fill(&bus, "b", 11, 12).await;
    place
        .sql()
        .execute_batch(
            "DELETE FROM bus_events WHERE id <= 6;
             UPDATE bus_retention SET pruned_through = 6 WHERE filter = '>';",
        )
        .unwrap();
    let start = |sequence| Subscribe::to("a").from(StartAt::Sequence(sequence));
    let mut stream = bus.subscribe(start(3)).await.unwrap();
    let gap = next(&mut stream).await.unwrap_err();
    assert!(matches!(gap.kind(), ErrorKind::Gap { first: 3, last: 6, .. }), "{gap:?}");
    assert_eq!(texts(&mut stream, 4).await, numbers(7, 11));
    bus.publish("a", "live").await.unwrap();
    assert_eq!(texts(&mut stream, 1).await, ["live"]);
    // Who asks for what is there, or for whatever is there, is told of no gap.
    assert_eq!(texts(&mut bus.subscribe(start(7)).await.unwrap(), 1).await, ["7"]);
    assert_eq!(texts(&mut from_oldest(&bus, "a").await, 1).await, ["7"]);
}

#[tokio::test]
async fn a_gap_concerns_only_streams_whose_subjects_the_policy_covers() {
    let place = Place::new();
    let bus = place.open().await;
    fill(&bus, "a", 1, 6).await;
    place
        .sql()
        .execute_batch("INSERT INTO bus_retention (filter, pruned_through) VALUES ('b.>', 4)")
        .unwrap();
    let mut stream = bus.subscribe(Subscribe::to("a").from(StartAt::Sequence(2))).await.unwrap();
    assert_eq!(texts(&mut stream, 4).await, numbers(2, 6));
}

#[tokio::test]
async fn a_stream_that_is_pruned_while_it_lags_gets_its_gap() {
    let place = Place::new();
    let bus = place.open().await;
    let mut slow = bus.subscribe(Subscribe::to("a").buffer(2)).await.unwrap();
    fill(&bus, "a", 1, 101).await;
    place
        .sql()
        .execute_batch("DELETE FROM bus_events WHERE id <= 50; UPDATE bus_retention SET pruned_through = 50")
        .unwrap();
    assert_eq!(texts(&mut slow, 2).await, ["1", "2"]);
    let gap = next(&mut slow).await.unwrap_err();
    assert!(matches!(gap.kind(), ErrorKind::Gap { first: 3, last: 50, .. }), "{gap:?}");
    assert_eq!(texts(&mut slow, 50).await, numbers(51, 101));
}

#[tokio::test]
async fn an_unread_replay_pins_no_snapshot() {
    let place = Place::new();
    let bus = place.open().await;
    fill(&bus, "a", 0, 5_000).await;
    let mut stream = from_oldest(&bus, "a").await;
    texts(&mut stream, 1).await;
    fill(&bus, "a", 5_000, 6_000).await;
    let conn = place.sql();
    let truncates =
        || conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).unwrap() == 0;
    until("a checkpoint gets through", truncates).await;
    assert_eq!(std::fs::metadata(place.join("bus.db-wal")).unwrap().len(), 0);
    assert_eq!(texts(&mut stream, 5_999).await, numbers(1, 6_000));
}

#[tokio::test]
async fn a_position_beyond_the_end_is_told_and_one_at_the_end_waits() {
    let place = Place::new();
    let bus = place.open().await;
    fill(&bus, "a", 1, 4).await;
    let start = |sequence| bus.subscribe(Subscribe::to("a").from(StartAt::Sequence(sequence)));
    let error = start(5).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CursorAhead { newest: 3, .. }), "{error:?}");
    let mut waits = start(4).await.unwrap();
    bus.publish("a", "4").await.unwrap();
    assert_eq!(texts(&mut waits, 1).await, ["4"]);
}

#[cfg(unix)] // Windows does not let go of a file that is open.
#[tokio::test]
async fn a_deleted_or_replaced_file_ends_streams_and_refuses_publishes() {
    for replace in [false, true] {
        let place = Place::new();
        let bus = place.open().await;
        let mut stream = bus.stream("a").await.unwrap();
        bus.publish("a", "1").await.unwrap();
        texts(&mut stream, 1).await;
        for name in ["bus.db", "bus.db-wal", "bus.db-shm"] {
            std::fs::rename(place.join(name), place.join(&format!("away-{name}"))).unwrap();
        }
        if replace {
            place.open().await.close().await.unwrap();
        }
        let error = next(&mut stream).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileReplaced, "{error}");
        assert!(stream.next().await.is_none(), "an error that a stream does not survive is its last item");
        let mut refused = None;
        let start = std::time::Instant::now();
        while refused.is_none() && start.elapsed() < PATIENCE {
            refused = bus.publish("a", "2").await.err();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(refused.unwrap().kind(), ErrorKind::FileReplaced);
    }
}

/// An older state of the file, put back under whoever has it open: its last event is the third.
fn restore(place: &Place) {
    place
        .sql()
        .execute_batch(
            "BEGIN;
             DELETE FROM bus_events WHERE id > 3;
             UPDATE sqlite_sequence SET seq = 3 WHERE name = 'bus_events';
             COMMIT;",
        )
        .unwrap();
}

/// The next item says that the log ends before the stream's position, and there is no other.
async fn ends_as_ahead(stream: &mut Subscription) {
    let error = next(stream).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CursorAhead { newest: 3, .. }), "{error:?}");
    let end = tokio::time::timeout(PATIENCE, stream.next()).await;
    assert!(
        end.expect("the end in time").is_none(),
        "an error that a stream does not survive is its last item"
    );
}

#[tokio::test]
async fn a_live_stream_is_told_that_the_file_was_restored_under_it() {
    let place = Place::new();
    let (bus, other) = (place.open().await, place.open().await);
    let mut live = bus.stream("a").await.unwrap();
    let mut elsewhere = other.stream("a").await.unwrap();
    fill(&bus, "a", 1, 11).await;
    texts(&mut live, 10).await;
    texts(&mut elsewhere, 10).await;
    restore(&place);
    ends_as_ahead(&mut live).await;
    ends_as_ahead(&mut elsewhere).await;
}

#[tokio::test]
async fn a_stream_that_lags_is_told_that_the_file_was_restored_under_it() {
    let place = Place::new();
    let bus = place.open().await;
    let mut slow = bus.subscribe(Subscribe::to("a").buffer(5)).await.unwrap();
    let mut live = bus.stream("a").await.unwrap();
    fill(&bus, "a", 1, 11).await;
    // What this one has, the slow one was offered, and had no room for.
    texts(&mut live, 10).await;
    drop(live);
    restore(&place);
    assert_eq!(texts(&mut slow, 5).await, numbers(1, 6));
    ends_as_ahead(&mut slow).await;
}

#[tokio::test]
async fn a_replay_is_told_that_the_file_was_restored_under_it() {
    let place = Place::new();
    let bus = place.open().await;
    fill(&bus, "a", 1, 3_001).await;
    let mut replay = from_oldest(&bus, "a").await;
    // One page has been read by now, and the next ones are under way; the end is far.
    texts(&mut replay, 1).await;
    restore(&place);
    let mut read = 1;
    let error = loop {
        match next(&mut replay).await {
            Ok(message) => {
                read += 1;
                assert_eq!(message.text().unwrap(), read.to_string());
            }
            Err(error) => break error,
        }
    };
    assert!(read < 3_000);
    assert!(matches!(error.kind(), ErrorKind::CursorAhead { newest: 3, .. }), "{error:?}");
    let end = tokio::time::timeout(PATIENCE, replay.next()).await;
    assert!(end.expect("the end in time").is_none());
}

#[tokio::test]
async fn the_last_event_of_each_subject_comes_in_the_order_of_the_log_however_large() {
    const SUBJECTS: usize = 100;
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.publish_all((0..SUBJECTS).map(|at| Publish::new(format!("a.{at}"), "old"))).await.unwrap();
    // The first subject is the last to get its newest event.
    for at in (0..SUBJECTS).rev() {
        bus.publish(format!("a.{at}"), vec![at as u8; 1 << 20]).await.unwrap();
    }
    let mut stream = bus.subscribe(Subscribe::to("a.*").from(StartAt::LastPerSubject)).await.unwrap();
    for (at, sequence) in (0..SUBJECTS).rev().zip(SUBJECTS as u64 + 1..) {
        let message = next(&mut stream).await.unwrap();
        assert_eq!((message.subject().as_str(), message.sequence()), (&*format!("a.{at}"), sequence));
        assert!(message.payload().len() == 1 << 20 && message.payload().iter().all(|byte| *byte == at as u8));
    }
    bus.publish("a.0", "new").await.unwrap();
    assert_eq!(texts(&mut stream, 1).await, ["new"]);
}

#[tokio::test]
async fn unsubscribing_behind_hands_over_all_that_was_published_and_ends() {
    let place = Place::new();
    let bus = place.open().await;
    let mut live = bus.subscribe(Subscribe::to("a").buffer(2)).await.unwrap();
    fill(&bus, "a", 0, 2_000).await;
    let mut replay = from_oldest(&bus, "a").await;
    live.unsubscribe().await.unwrap();
    replay.unsubscribe().await.unwrap();
    fill(&bus, "a", 2_000, 2_100).await;
    for stream in [&mut live, &mut replay] {
        assert_eq!(texts(stream, 2_000).await, numbers(0, 2_000));
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn unsubscribing_while_a_page_is_read_ends_as_well() {
    let place = Place::new();
    let bus = place.open().await;
    fill(&bus, "a", 0, 3).await;
    for _ in 0..50 {
        // Never polled: its first page is under way, or waits to be taken.
        let mut stream = from_oldest(&bus, "a").await;
        stream.unsubscribe().await.unwrap();
        assert_eq!(texts(&mut stream, 3).await, numbers(0, 3));
        let end = tokio::time::timeout(PATIENCE, stream.next()).await;
        assert!(end.expect("the end in time").is_none());
    }
}

#[tokio::test]
async fn the_window_of_a_message_id_is_counted_from_the_first_by_the_clock_given() {
    #[derive(Debug, Default)]
    struct Hand(std::sync::atomic::AtomicI64);
    impl rowbus::Clock for Hand {
        fn unix_millis(&self) -> i64 {
            self.0.load(std::sync::atomic::Ordering::SeqCst)
        }
    }
    let (place, clock) = (Place::new(), std::sync::Arc::new(Hand::default()));
    let bus = SqliteBus::builder(place.path())
        .clock(clock.clone())
        .dedup_window(Duration::from_secs(10))
        .open()
        .await
        .unwrap();
    let mut acks = Vec::new();
    for time in [0, 6_000, 9_999, 10_000, 19_999] {
        clock.0.store(time, std::sync::atomic::Ordering::SeqCst);
        let ack = bus.send(Publish::new("a", "x").message_id("one")).await.unwrap();
        acks.push((ack.sequence, ack.duplicate));
    }
    assert_eq!(acks, [(1, false), (1, true), (1, true), (2, false), (2, true)]);
    let kept: i64 = place.sql().query_row("SELECT count(*) FROM bus_dedup", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn the_wal_begins_anew_while_publishers_and_readers_go_on() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let mut unread = from_oldest(&bus, "a").await;
    let (mut longest, mut published) = (0, 0);
    // A WAL that never begins anew is always longer than what was published; how soon it does is the machine's affair.
    while published * 4096 < (64 << 20).max(2 * longest) {
        bus.publish_all((0..50).map(|_| Publish::new("a", vec![b'x'; 4096]))).await.unwrap();
        published += 50;
        longest = longest.max(std::fs::metadata(place.join("bus.db-wal")).unwrap().len());
        assert!(published * 4096 < 1 << 30, "the WAL has {longest} bytes and grows");
    }
    for _ in 0..published {
        assert_eq!(next(&mut unread).await.unwrap().payload().len(), 4096);
    }
}
