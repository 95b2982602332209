//! Positions that the log does not have: beyond its end, and behind what was removed.

use std::time::Duration;

use rowbus::{AckPolicy, Consumer, Durable, ErrorKind, Inbox, Messenger, MessengerExt, SqliteBus, StartAt};

use super::{BOTH, consumer, next, next_number, publish_numbers};
use crate::{PATIENCE, Place};

/// An older state of the log under the position that a consumer has now: its last event is the third.
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

/// The first so many events, up to this one, are removed, as the one who prunes says it.
fn prune(place: &Place, through: u64) {
    place
        .sql()
        .execute_batch(&format!(
            "BEGIN;
             DELETE FROM bus_events WHERE id <= {through};
             UPDATE bus_retention SET pruned_through = {through} WHERE filter = '>';
             COMMIT;"
        ))
        .unwrap();
}

/// Handles so many, of the numbers from this one on.
async fn handle(inbox: &mut Inbox, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let delivery = next(inbox).await.unwrap();
        assert_eq!(delivery.text(), Some(number.to_string().as_str()));
        delivery.ack().await.unwrap();
    }
}

/// The next item says that the log ends before the position, and there is no other; a seek mends it.
async fn is_ahead_until_it_seeks(bus: &SqliteBus, mut inbox: Inbox, mut open: impl AsyncFnMut() -> Inbox) {
    let error = next(&mut inbox).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CursorAhead { newest: 3, .. }), "{error:?}");
    let end = tokio::time::timeout(PATIENCE, inbox.next()).await.expect("the end in time");
    assert!(end.is_none(), "an error that an inbox does not survive is its last item");
    drop(inbox);
    // Opening it again changes nothing.
    let error = next(&mut open().await).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CursorAhead { newest: 3, .. }), "{error:?}");
    bus.seek_consumer("it", StartAt::Sequence(2)).await.unwrap();
    let mut mended = open().await;
    assert_eq!(next_number(&mut mended).await, 2);
    publish_numbers(bus, "number", 4..5, 1).await;
    assert_eq!((next_number(&mut mended).await, next_number(&mut mended).await), (3, 4));
    mended.leave().await.unwrap();
}

#[tokio::test]
async fn a_position_beyond_the_end_of_a_restored_file_is_the_first_item_and_a_seek_mends_it() {
    for policy in BOTH {
        let place = Place::new();
        let bus = place.open().await;
        publish_numbers(&bus, "number", 1..11, 10).await;
        let mut inbox = bus.consumer(consumer(policy)).await.unwrap();
        handle(&mut inbox, 1..11).await;
        inbox.leave().await.unwrap();
        bus.close().await.unwrap();
        restore(&place);
        let bus = place.open().await;
        let open = async || bus.consumer(consumer(policy)).await.unwrap();
        is_ahead_until_it_seeks(&bus, open().await, open).await;
        bus.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_open_inbox_is_told_that_the_file_was_restored_under_it() {
    for policy in BOTH {
        let place = Place::new();
        let bus = place.open().await;
        let open = async || bus.consumer(consumer(policy)).await.unwrap();
        let mut inbox = open().await;
        publish_numbers(&bus, "number", 1..11, 10).await;
        handle(&mut inbox, 1..11).await;
        restore(&place);
        is_ahead_until_it_seeks(&bus, inbox, open).await;
        bus.close().await.unwrap();
    }
}

#[tokio::test]
async fn events_removed_before_a_consumer_got_them_are_one_gap_and_it_goes_on() {
    for policy in BOTH {
        let place = Place::new();
        let bus = place.open().await;
        publish_numbers(&bus, "number", 1..11, 10).await;
        publish_numbers(&bus, "other", 11..12, 1).await;
        let mut inbox = bus.consumer(consumer(policy)).await.unwrap();
        handle(&mut inbox, 1..3).await;
        inbox.leave().await.unwrap();
        prune(&place, 6);
        let mut inbox = bus.consumer(consumer(policy)).await.unwrap();
        let gap = next(&mut inbox).await.unwrap_err();
        assert!(matches!(gap.kind(), ErrorKind::Gap { first: 3, last: 6, .. }), "{policy}: {gap:?}");
        handle(&mut inbox, 7..11).await;
        publish_numbers(&bus, "number", 12..13, 1).await;
        handle(&mut inbox, 12..13).await;
        inbox.leave().await.unwrap();
        // Told once.
        publish_numbers(&bus, "number", 13..14, 1).await;
        let mut inbox = bus.consumer(consumer(policy)).await.unwrap();
        handle(&mut inbox, 13..14).await;
        inbox.leave().await.unwrap();
        bus.close().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_leaves_moves_the_position_over_what_is_of_no_concern_and_never_over_what_is() {
    let place = Place::new();
    let bus = place.open().await;
    for policy in BOTH {
        let name = policy.as_str();
        let consumer = || Consumer::durable(name).filter("number").ack_policy(policy);
        let last = bus.publish("number", "1").await.unwrap().sequence;
        let mut held = bus.consumer(consumer().from(StartAt::Sequence(last))).await.unwrap();
        let delivery = next(&mut held).await.unwrap();
        publish_numbers(&bus, "other", 0..50, 10).await;
        // It looks at the log to its end before it says that there is nothing.
        let idle = Duration::from_millis(20);
        assert!(tokio::time::timeout(idle, held.next()).await.is_err());
        held.leave().await.unwrap();
        assert!(bus.consumer_info(name).await.unwrap().ack_floor < last, "{name}: it was not handled");
        let mut again = bus.consumer(consumer()).await.unwrap();
        if policy == AckPolicy::Explicit {
            delivery.ack().await.unwrap();
        } else {
            next(&mut again).await.unwrap().ack().await.unwrap();
        }
        let start = std::time::Instant::now();
        while bus.consumer_info(name).await.unwrap().lag > 0 {
            assert!(start.elapsed() < PATIENCE, "{:?}", bus.consumer_info(name).await);
            assert!(tokio::time::timeout(idle, again.next()).await.is_err());
            again.leave().await.unwrap();
            again = bus.consumer(consumer()).await.unwrap();
        }
    }
}
