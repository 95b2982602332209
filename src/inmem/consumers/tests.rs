use std::task::{Poll, Waker};
use std::time::Duration;

use super::*;
use crate::consumer::{AckPolicy, Consumer, OnFailure};
use crate::error::ErrorKind;
use crate::handler::HandlerError;
use crate::publish::Publish;
use crate::retry::Backoff;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Consumers and a log, and a time that stands still until it is moved.
struct Bench {
    consumers: Consumers,
    log: Log,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let now = Now { unix: 1_000, awake: 50 };
        Self { consumers: Consumers::default(), log: Log::new(10, usize::MAX), now }
    }

    fn publish(&mut self, subjects: &[&'static str]) {
        for subject in subjects {
            self.log.push(Publish::new(*subject, *subject).into_parts().unwrap(), self.now.unix);
        }
    }

    fn wait(&mut self, millis: i64) {
        self.now.unix += millis;
        self.now.awake += millis;
        self.consumers.advance(self.now);
    }

    fn open(&mut self, consumer: Consumer) -> Seat {
        self.consumers.open(&consumer.into_parts().unwrap(), &self.log, self.now).unwrap()
    }

    fn poll(&mut self, seat: Seat) -> Option<Result<Handed>> {
        match self.consumers.poll(seat, Waker::noop(), &self.log, self.now) {
            Some(Poll::Ready(item)) => Some(item),
            Some(Poll::Pending) | None => None,
        }
    }

    fn take(&mut self, seat: Seat) -> Handed {
        self.poll(seat).expect("something is at hand").unwrap()
    }

    /// The sequence and the attempt of what is next, if anything is.
    fn next(&mut self, seat: Seat) -> Option<(u64, u32)> {
        self.poll(seat).map(|item| item.map(|handed| (handed.message.sequence(), handed.attempt)).unwrap())
    }

    fn settle(&mut self, seat: Seat, handed: &Handed, settlement: Settlement) -> Result<(), ErrorKind> {
        let settled = self.consumers.settle(seat, handed, &settlement, &self.log, self.now);
        settled.map_err(|error| error.kind())
    }

    fn info(&self) -> ConsumerInfo {
        self.consumers.info("c", &self.log, self.now).unwrap()
    }

    fn reasons(&mut self) -> Vec<(String, u32)> {
        let letters = self.consumers.take_changes().letters;
        letters.into_iter().map(|letter| (letter.reason, letter.attempts)).collect()
    }
}

fn explicit() -> Consumer {
    Consumer::durable("c").filter("a.>")
}

fn cumulative() -> Consumer {
    explicit().ack_policy(AckPolicy::Cumulative)
}

#[test]
fn ack_wait_counts_awake_time_from_the_handing_over() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"]);
    let seat = bench.open(explicit().ack_wait(SECOND));
    bench.wait(5_000);
    let held = bench.take(seat);
    assert_eq!(bench.consumers.next_due(), Due { unix: None, awake: Some(bench.now.awake + 1_000) });
    // The machine sleeps.
    bench.now.unix += 3_600_000;
    bench.wait(999);
    assert_eq!(bench.next(seat), None);
    bench.wait(1);
    assert_eq!(bench.settle(seat, &held, Settlement::Ack), Err(ErrorKind::LeaseLost));
    assert_eq!(bench.next(seat), Some((1, 2)));
}

#[test]
fn what_was_extended_is_held_until_then_and_never_for_less() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"]);
    let seat = bench.open(explicit().ack_wait(SECOND));
    let held = bench.take(seat);
    bench.consumers.extend(seat, &held, 5 * SECOND, bench.now).unwrap();
    bench.consumers.extend(seat, &held, Duration::ZERO, bench.now).unwrap();
    bench.wait(4_999);
    assert_eq!(bench.next(seat), None);
    bench.wait(1);
    let error = bench.consumers.extend(seat, &held, HOUR, bench.now).unwrap_err();
    assert_eq!((error.kind(), bench.next(seat)), (ErrorKind::LeaseLost, Some((1, 2))));
}

#[test]
fn a_pause_is_wall_time_and_ten_milliseconds_at_least() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"]);
    let seat = bench.open(explicit().backoff(Backoff::fixed(Duration::ZERO)));
    for (attempt, settlement) in [
        (1, Settlement::Nack(None)),
        (2, Settlement::Nack(Some(Duration::ZERO))),
        (3, Settlement::Failed(HandlerError::new("no").retry_at(chrono::DateTime::UNIX_EPOCH))),
    ] {
        let held = bench.take(seat);
        assert_eq!(held.attempt, attempt);
        bench.settle(seat, &held, settlement).unwrap();
        bench.wait(9);
        assert_eq!((bench.next(seat), bench.info().num_backing_off), (None, 1));
        bench.wait(1);
    }
    let held = bench.take(seat);
    bench.settle(seat, &held, Settlement::Nack(Some(HOUR))).unwrap();
    bench.now.unix += 3_600_000;
    bench.wait(0);
    assert_eq!(bench.next(seat), Some((1, 5)));
}

#[test]
fn what_lapses_for_the_last_time_is_a_letter_that_says_how() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"]);
    let seat = bench.open(explicit().ack_wait(SECOND).max_deliver(2));
    bench.take(seat);
    bench.wait(1_000);
    assert_eq!(bench.reasons(), []);
    bench.take(seat);
    bench.wait(1_000);
    let letters = bench.consumers.take_changes().letters;
    assert_eq!((letters[0].reason.as_str(), letters[0].failures.len()), ("exhausted", 2));
    assert!(letters[0].failures[0].message.contains("ack_wait"));
    let info = bench.info();
    assert_eq!((info.ack_floor, info.num_ack_pending, bench.next(seat)), (1, 0, None));
}

#[test]
fn a_token_of_before_a_seek_or_a_requeue_holds_nothing() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"]);
    let seat = bench.open(explicit());
    let before = bench.take(seat);
    bench.consumers.seek("c", StartAt::Oldest, &bench.log).unwrap();
    let again = bench.take(seat);
    assert_eq!((before.attempt, again.attempt), (1, 1));
    assert_eq!(bench.settle(seat, &before, Settlement::Ack), Err(ErrorKind::LeaseLost));
    bench.settle(seat, &again, Settlement::Term("no".to_owned())).unwrap();
    bench.consumers.requeue("c", 1, &bench.log).unwrap();
    assert_eq!(bench.next(seat), Some((1, 1)));
    assert_eq!(bench.settle(seat, &again, Settlement::Ack), Err(ErrorKind::LeaseLost));
    assert_eq!(bench.info().num_ack_pending, 1);
}

#[test]
fn what_is_in_flight_comes_again_though_the_log_has_forgotten_it() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"]);
    let seat = bench.open(explicit());
    let held = bench.take(seat);
    bench.settle(seat, &held, Settlement::Nack(Some(SECOND))).unwrap();
    bench.publish(&["a.y"; 12]);
    bench.wait(1_000);
    assert_eq!(bench.next(seat), Some((1, 2)));
    let gap = bench.poll(seat).unwrap().unwrap_err();
    assert_eq!(gap.kind(), ErrorKind::Gap { first: 2, last: 3 });
    assert_eq!(bench.next(seat), Some((4, 1)));
}

#[test]
fn a_consumer_without_members_stays_for_its_threshold() {
    let mut bench = Bench::new();
    let consumer = || explicit().inactive_threshold(SECOND);
    let first = bench.open(consumer());
    let second = bench.open(consumer());
    bench.wait(5_000);
    bench.consumers.leave(first, bench.now);
    bench.wait(5_000);
    bench.consumers.leave(second, bench.now);
    bench.wait(999);
    let third = bench.open(consumer());
    bench.wait(5_000);
    bench.consumers.leave(third, bench.now);
    bench.wait(999);
    assert_eq!(
        (bench.info().members, bench.consumers.next_due().awake),
        (Some(0), Some(bench.now.awake + 1))
    );
    bench.wait(1);
    let error = bench.consumers.info("c", &bench.log, bench.now).unwrap_err();
    assert_eq!((error.kind(), bench.consumers.next_due()), (ErrorKind::NotFound, Due::default()));
    bench.publish(&["a.x"]);
    let anew = bench.open(explicit());
    assert_eq!(bench.next(anew), Some((1, 1)));
}

#[test]
fn the_last_of_each_subject_are_those_of_the_beginning_and_then_all() {
    let mut bench = Bench::new();
    bench.publish(&["a.x", "b", "a.y", "a.x"]);
    let seat = bench.open(explicit().from(StartAt::LastPerSubject));
    bench.publish(&["a.x", "a.y", "a.x"]);
    assert_eq!(bench.info().num_pending, 5);
    let got: Vec<u64> = std::iter::from_fn(|| bench.next(seat)).map(|(sequence, _)| sequence).collect();
    assert_eq!(got, [3, 4, 5, 6, 7]);
}

#[test]
fn a_dead_letter_counts_for_nothing_that_its_member_still_holds() {
    let mut bench = Bench::new();
    bench.publish(&["a.x", "b", "a.y", "a.z"]);
    let first = bench.open(cumulative().on_failure(OnFailure::DeadLetter));
    let (one, three) = (bench.take(first), bench.take(first));
    bench.settle(first, &three, Settlement::Term("no".to_owned())).unwrap();
    assert_eq!(bench.reasons(), [("no".to_owned(), 1)]);
    assert_eq!(bench.info().ack_floor, 0);
    assert_eq!(bench.settle(first, &three, Settlement::Ack), Err(ErrorKind::LeaseLost));
    // Who takes over gets what was held, and not what was given up on.
    bench.consumers.leave(first, bench.now);
    assert_eq!(bench.settle(first, &one, Settlement::Ack), Err(ErrorKind::LeaseLost));
    let second = bench.open(cumulative());
    let again = bench.take(second);
    assert_eq!((again.message.sequence(), bench.next(second)), (1, Some((4, 1))));
    bench.settle(second, &again, Settlement::Term("no".to_owned())).unwrap();
    // With what was given up on right behind it.
    assert_eq!(bench.info().ack_floor, 3);
}

#[test]
fn a_nack_takes_back_what_came_behind_it_and_nothing_before() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"; 4]);
    let seat = bench.open(cumulative());
    let held: Vec<Handed> = (0..4).map(|_| bench.take(seat)).collect();
    bench.settle(seat, &held[2], Settlement::Nack(Some(SECOND))).unwrap();
    assert_eq!(bench.next(seat), None);
    assert_eq!(bench.settle(seat, &held[3], Settlement::Ack), Err(ErrorKind::LeaseLost));
    assert_eq!(bench.settle(seat, &held[2], Settlement::Ack), Err(ErrorKind::LeaseLost));
    bench.settle(seat, &held[1], Settlement::Ack).unwrap();
    assert_eq!((bench.info().ack_floor, bench.next(seat)), (2, None));
    bench.wait(1_000);
    assert_eq!((bench.next(seat), bench.next(seat)), (Some((3, 2)), Some((4, 1))));
}

#[test]
fn a_gap_behind_what_the_active_member_holds_leaves_the_position() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"; 3]);
    let seat = bench.open(cumulative());
    let held = bench.take(seat);
    bench.log.forget_through(2);
    let gap = bench.poll(seat).unwrap().unwrap_err();
    assert_eq!((gap.kind(), bench.info().ack_floor), (ErrorKind::Gap { first: 2, last: 2 }, 0));
    bench.settle(seat, &held, Settlement::Ack).unwrap();
    assert_eq!((bench.info().ack_floor, bench.next(seat)), (1, Some((3, 1))));
}

#[test]
fn pending_events_are_counted_up_to_a_bound() {
    let mut bench = Bench::new();
    bench.log = Log::new(20_000, usize::MAX);
    bench.open(explicit());
    bench.publish(&vec!["a.x"; 10_000]);
    assert_eq!((bench.info().num_pending, bench.info().num_pending_is_exact), (10_000, true));
    bench.publish(&["a.x"]);
    assert_eq!((bench.info().num_pending, bench.info().num_pending_is_exact), (10_000, false));
}

#[test]
fn what_is_over_leaves_nothing_to_be_done() {
    let mut bench = Bench::new();
    bench.publish(&["a.x"; 5]);
    let seat = bench.open(explicit());
    for settlement in [Settlement::Ack, Settlement::Nack(None), Settlement::Term("no".to_owned())] {
        let held = bench.take(seat);
        bench.settle(seat, &held, settlement).unwrap();
    }
    bench.take(seat);
    assert_ne!(bench.consumers.next_due(), Due::default());
    bench.consumers.delete("c").unwrap();
    assert_eq!((bench.consumers.next_due(), bench.consumers.wanting.len()), (Due::default(), 0));
}
