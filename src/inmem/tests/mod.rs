mod consumers;
mod services;

use std::sync::Weak;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::subscribe::StartAt;

#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn unix_millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TestClock {
    fn set(&self, unix_millis: i64) {
        self.0.store(unix_millis, Ordering::Relaxed);
    }
}

fn clocked() -> (InMemBus, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    let bus =
        InMemBus::builder().dedup_window(Duration::from_millis(100)).clock(clock.clone()).build().unwrap();
    (bus, clock)
}

/// What is there without waiting, and whether the stream is over.
fn drain(stream: &mut Subscription) -> (Vec<Result<u64, ErrorKind>>, bool) {
    let mut items = Vec::new();
    let mut stream = std::pin::pin!(stream);
    loop {
        match futures_core::Stream::poll_next(stream.as_mut(), &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(item)) => {
                items.push(item.map(|message| message.sequence()).map_err(|error| error.kind()));
            }
            Poll::Ready(None) => return (items, true),
            Poll::Pending => return (items, false),
        }
    }
}

#[tokio::test]
async fn event_times_are_those_of_the_clock() {
    let (bus, clock) = clocked();
    clock.set(-7);
    bus.publish("a", "").await.unwrap();
    assert_eq!(bus.last(Subject::new("a").unwrap()).await.unwrap().unwrap().unix_millis(), -7);
}

#[tokio::test]
async fn the_window_against_duplicates_is_counted_from_the_first_and_does_not_slide() {
    let (bus, clock) = clocked();
    let mut answers = Vec::new();
    for now in [0, 60, 99, 100, 199, 200] {
        clock.set(now);
        let ack = bus.send(Publish::new("a", "").message_id("x")).await.unwrap();
        answers.push((ack.sequence, ack.duplicate));
    }
    assert_eq!(answers, [(1, false), (1, true), (1, true), (2, false), (2, true), (3, false)]);
}

#[tokio::test]
async fn an_id_is_remembered_longer_than_its_event() {
    let bus = InMemBus::builder().log_capacity(1).build().unwrap();
    bus.send(Publish::new("a", "").message_id("x")).await.unwrap();
    bus.publish("b", "").await.unwrap();
    let again = bus.send(Publish::new("a", "").message_id("x")).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (1, true));
}

#[tokio::test]
async fn a_full_buffer_is_told_where_it_overflowed_and_the_stream_goes_on() {
    let bus = InMemBus::new();
    let mut stream = bus.subscribe(Subscribe::to("a").buffer(2)).await.unwrap();
    for _ in 0..5 {
        bus.publish("a", "").await.unwrap();
    }
    let overflow = Err(ErrorKind::Overflow { dropped: 3 });
    assert_eq!(drain(&mut stream), (vec![Ok(1), Ok(2), overflow], false));
    bus.publish("a", "").await.unwrap();
    assert_eq!(drain(&mut stream), (vec![Ok(6)], false));
}

#[tokio::test]
async fn a_gap_comes_first_then_the_backlog_then_what_is_new() {
    let bus = InMemBus::builder().log_capacity(2).build().unwrap();
    for _ in 0..5 {
        bus.publish("a", "").await.unwrap();
    }
    let mut stream = bus.subscribe(Subscribe::to("a").from(StartAt::Sequence(2)).buffer(1)).await.unwrap();
    bus.publish("a", "").await.unwrap();
    let gap = Err(ErrorKind::Gap { first: 2, last: 3 });
    assert_eq!(drain(&mut stream), (vec![gap, Ok(4), Ok(5), Ok(6)], false));
}

#[tokio::test]
async fn closing_hands_over_what_is_buffered_and_then_ends() {
    let bus = InMemBus::new();
    bus.publish("a", "").await.unwrap();
    let mut replay = bus.subscribe(Subscribe::to("a").from(StartAt::Oldest)).await.unwrap();
    let mut live = bus.stream("a").await.unwrap();
    bus.publish("a", "").await.unwrap();
    bus.close().await.unwrap();
    assert_eq!(drain(&mut replay), (vec![Ok(1), Ok(2)], true));
    assert_eq!(drain(&mut live), (vec![Ok(2)], true));
    assert_eq!(live.unsubscribe().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn closing_one_handle_closes_them_all() {
    let bus = InMemBus::new();
    bus.clone().close().await.unwrap();
    assert_eq!(bus.publish("a", "").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_streams() {
    let bus = InMemBus::new();
    let mut stream = bus.stream("a").await.unwrap();
    let other = bus.clone();
    drop(bus);
    other.publish("a", "").await.unwrap();
    assert_eq!(drain(&mut stream), (vec![Ok(1)], false));
    drop(other);
    assert_eq!(drain(&mut stream), (vec![], true));
}

#[tokio::test]
async fn unsubscribing_hands_over_what_is_buffered_and_may_be_repeated() {
    let bus = InMemBus::new();
    let mut stream = bus.stream("a").await.unwrap();
    bus.publish("a", "").await.unwrap();
    stream.unsubscribe().await.unwrap();
    stream.unsubscribe().await.unwrap();
    bus.publish("a", "").await.unwrap();
    assert_eq!(drain(&mut stream), (vec![Ok(1)], true));
}

#[tokio::test]
async fn a_stream_that_is_dropped_or_unsubscribed_leaves_no_listener_behind() {
    let bus = InMemBus::new();
    let mut unsubscribed = bus.stream("a.>").await.unwrap();
    let dropped = bus.stream("a.>").await.unwrap();
    assert_eq!(bus.shared().listeners(), 2);
    drop(dropped);
    assert_eq!(bus.shared().listeners(), 1);
    unsubscribed.unsubscribe().await.unwrap();
    assert_eq!(bus.shared().listeners(), 0);
}

#[tokio::test]
async fn a_duplicate_is_no_wrong_sequence() {
    let bus = InMemBus::new();
    let publish = || Publish::new("a", "").message_id("x").expect_last(0);
    assert!(!bus.send(publish()).await.unwrap().duplicate);
    assert!(bus.send(publish()).await.unwrap().duplicate);
    let acks = bus.publish_all([publish(), Publish::new("a", "").expect_last(1)]).await.unwrap();
    assert_eq!(acks, [PubAck::new(1, true), PubAck::new(2, false)]);
}

#[tokio::test]
async fn debug_shows_no_payload() {
    let bus = InMemBus::new();
    bus.publish("a", "secret").await.unwrap();
    assert_eq!(format!("{bus:?}"), "InMemBus { .. }");
}

/// Publishes in the middle of being woken, as an executor that polls at once may do.
struct Publisher {
    bus: Weak<Shared>,
    woken: AtomicUsize,
}

impl Wake for Publisher {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        let bus = self.bus.upgrade().unwrap();
        bus.send(Publish::new("b", "").into_parts().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_is_woken_may_use_the_bus_at_once() {
    let bus = InMemBus::new();
    let publisher = Arc::new(Publisher { bus: Arc::downgrade(bus.shared()), woken: AtomicUsize::new(0) });
    let waker = Waker::from(publisher.clone());
    let mut stream = bus.stream("a").await.unwrap();
    let mut next = std::pin::pin!(stream.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    bus.publish_all([Publish::new("a", ""), Publish::new("a", "")]).await.unwrap();
    assert_eq!(publisher.woken.load(Ordering::Relaxed), 1);
    assert_eq!(bus.last(Subject::new("b").unwrap()).await.unwrap().unwrap().sequence(), 3);
}
