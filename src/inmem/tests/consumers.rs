//! Consumers on a whole bus: its timer, its locks and its end.

use futures_core::Stream;

use super::*;
use crate::consumer::Consumer;
use crate::durable::Durable;
use crate::inbox::Inbox;

/// Both kinds of time, set by hand.
#[derive(Debug, Default)]
struct ByHand(AtomicI64);

impl Clock for ByHand {
    fn unix_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn awake_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn bus_by_hand() -> (InMemBus, Arc<ByHand>) {
    let clock = Arc::new(ByHand::default());
    (InMemBus::builder().clock(clock.clone()).build().unwrap(), clock)
}

fn poll(inbox: &mut Inbox, waker: &Waker) -> Poll<Option<Result<crate::Delivery>>> {
    std::pin::Pin::new(inbox).poll_next(&mut Context::from_waker(waker))
}

#[tokio::test]
async fn a_member_that_waits_is_woken_by_the_timer_when_an_ack_wait_is_over() {
    let (bus, clock) = bus_by_hand();
    bus.publish("a", "").await.unwrap();
    let mut inbox = bus.consumer(Consumer::durable("c").ack_wait(Duration::from_secs(1))).await.unwrap();
    let held = inbox.next().await.unwrap().unwrap();
    let next = tokio::spawn(async move { inbox.next().await.unwrap().unwrap().attempt() });
    tokio::task::yield_now().await;
    clock.0.store(1_000, Ordering::SeqCst);
    bus.nudge();
    assert_eq!(next.await.unwrap(), 2);
    assert_eq!(held.ack().await.unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[tokio::test]
async fn a_consumer_without_members_is_deleted_when_its_time_is_over() {
    let (bus, clock) = bus_by_hand();
    let consumer = Consumer::durable("c").inactive_threshold(Duration::from_secs(1));
    drop(bus.consumer(consumer).await.unwrap());
    clock.0.store(999, Ordering::SeqCst);
    assert_eq!(bus.consumer_info("c").await.unwrap().members, Some(0));
    clock.0.store(1_000, Ordering::SeqCst);
    assert_eq!(bus.consumer_info("c").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_member_that_is_woken_may_use_the_bus_at_once() {
    let bus = InMemBus::new();
    let mut inbox = bus.consumer(Consumer::durable("c").filter("a")).await.unwrap();
    let publisher = Arc::new(Publisher { bus: Arc::downgrade(bus.shared()), woken: AtomicUsize::new(0) });
    let waker = Waker::from(publisher.clone());
    assert!(poll(&mut inbox, &waker).is_pending());
    bus.publish("a", "").await.unwrap();
    assert_eq!(publisher.woken.load(Ordering::Relaxed), 1);
    assert!(poll(&mut inbox, &waker).is_ready());
    assert!(poll(&mut inbox, &waker).is_pending());
    bus.close().await.unwrap();
    assert!(matches!(poll(&mut inbox, Waker::noop()), Poll::Ready(None)));
}

#[tokio::test]
async fn an_inbox_ends_with_the_last_handle_and_without_a_gap() {
    let bus = InMemBus::new();
    bus.publish("a", "").await.unwrap();
    let mut inbox = bus.consumer(Consumer::durable("c")).await.unwrap();
    drop(bus);
    assert!(inbox.next().await.is_none());
}
