use std::task::Waker;
use std::time::Duration;

use chrono::DateTime;

use super::*;
use crate::dead_letter::Dead;
use crate::error::ErrorKind;
use crate::filter::Filter;
use crate::handler::HandlerError;
use crate::job::{Job, Unique};
use crate::job_handle::JobState;
use crate::reply::Response;
use crate::request::Request;
use crate::retry::Backoff;
use crate::service::{Finished, Traits, Verdict};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Requests, and a time that stands still until it is moved.
struct Bench {
    requests: Requests,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self { requests: Requests::default(), now: Now { unix: 1_000, awake: 50 } }
    }

    fn wait(&mut self, millis: i64) {
        self.now.unix += millis;
        self.now.awake += millis;
        self.requests.advance(self.now);
    }

    fn submit(&mut self, job: Job) -> Arc<str> {
        self.requests.submit(job.into_parts().unwrap(), self.now).0
    }

    fn call(&mut self, request: Request) -> (Arc<str>, u64) {
        self.requests.open(request.into_parts().unwrap(), true, self.now)
    }

    /// Takes what is next, for a second.
    fn take(&mut self, filter: &str) -> Option<Ticket> {
        let filter = Filter::new(filter).unwrap();
        let run_until = self.now.awake + 1_000;
        let taker = Taker { service: 7, filter: &filter, last: &mut None, lease: 1_000, run_until };
        self.requests.claim(taker, 1).0.pop().map(|claimed| claimed.ticket)
    }

    fn finish(&mut self, ticket: Ticket, verdict: Verdict) -> bool {
        self.requests.finish(&Finished { ticket, traits: Traits::default(), verdict }, self.now)
    }

    fn fail(&mut self, ticket: Ticket) -> bool {
        self.finish(ticket, Verdict::Failed(HandlerError::new("no\n luck")))
    }

    fn answer(&mut self, ticket: Ticket) -> bool {
        self.finish(ticket, Verdict::Answered(Response::new("yes")))
    }

    fn state(&self, id: &str) -> JobState {
        self.requests.info(id).unwrap().state
    }

    fn outcome(&mut self, (id, reader): &(Arc<str>, u64)) -> Option<Result<Reply, ErrorKind>> {
        match self.requests.poll_reply(id, *reader, &mut 0, Waker::noop()) {
            std::task::Poll::Ready(reply) => Some(reply.map_err(|error| error.kind())),
            std::task::Poll::Pending => None,
        }
    }

    fn error(&mut self, caller: &(Arc<str>, u64)) -> ErrorKind {
        self.outcome(caller).unwrap().unwrap_err()
    }

    fn reasons(&self) -> Vec<(u64, String, u32)> {
        let letters = self.requests.dead_letters(&Dead::Of(Filter::everything()), 0, 100);
        letters.into_iter().map(|letter| (letter.id, letter.reason, letter.attempts)).collect()
    }
}

fn no_backoff() -> Backoff {
    Backoff::fixed(Duration::ZERO)
}

#[test]
fn a_ticket_of_an_earlier_attempt_changes_nothing() {
    let mut bench = Bench::new();
    let caller = bench.call(Request::to("a", "").timeout(DAY));
    let first = bench.take("a").unwrap();
    bench.wait(1_000);
    assert_eq!(bench.requests.take_changes().unwanted, [(7, first)]);
    let second = bench.take("a").unwrap();
    assert_eq!((second.sequence, second.attempt), (first.sequence, first.attempt + 1));
    assert!(!bench.answer(first) && !bench.fail(first));
    let part = |bench: &mut Bench, ticket| bench.requests.part(ticket, Response::new("part"));
    assert_eq!(part(&mut bench, first).unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(bench.outcome(&caller), None);
    assert!(bench.answer(second) && !bench.answer(second));
    assert_eq!(part(&mut bench, second).unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(bench.outcome(&caller).unwrap().unwrap().attempt(), 2);
}

#[test]
fn an_attempt_that_was_made_longer_is_left_alone_until_then() {
    let mut bench = Bench::new();
    bench.submit(Job::new("a", ""));
    let ticket = bench.take("a").unwrap();
    bench.requests.extend(ticket, bench.now.awake + 5_000).unwrap();
    bench.requests.extend(ticket, bench.now.awake + 10).unwrap();
    bench.wait(4_999);
    assert_eq!(bench.take("a"), None);
    bench.wait(1);
    assert!(bench.take("a").is_some());
    assert_eq!(bench.requests.extend(ticket, i64::MAX).unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[test]
fn a_request_whose_deadline_has_passed_is_not_given_to_a_server() {
    let mut bench = Bench::new();
    let caller = bench.call(Request::to("a", "").timeout(Duration::from_millis(10)));
    bench.wait(9);
    assert_eq!(bench.outcome(&caller), None);
    bench.wait(1);
    assert_eq!(bench.take("a"), None);
    assert_eq!(bench.error(&caller), ErrorKind::RequestTimeout);
}

#[test]
fn the_wall_clock_moves_no_deadline_and_no_lease() {
    let mut bench = Bench::new();
    let caller = bench.call(Request::to("a", ""));
    let ticket = bench.take("a").unwrap();
    for jump in [3_600_000, -7_200_000] {
        bench.now.unix += jump;
        bench.requests.advance(bench.now);
    }
    assert_eq!(bench.outcome(&caller), None);
    assert!(bench.answer(ticket));
}

#[test]
fn a_request_that_was_not_to_be_given_to_another_is_server_lost() {
    let mut bench = Bench::new();
    let once = || Request::to("a", "").redeliver(false);
    let (released, lapsed) = (bench.call(once()), bench.call(once()));
    let ticket = bench.take("a").unwrap();
    assert!(bench.finish(ticket, Verdict::Released));
    assert_eq!(bench.error(&released), ErrorKind::ServerLost);
    bench.take("a").unwrap();
    bench.wait(1_000);
    assert_eq!(bench.error(&lapsed), ErrorKind::ServerLost);
    assert_eq!(bench.take("a"), None);
}

#[test]
fn a_caller_who_goes_takes_the_request_along() {
    let mut bench = Bench::new();
    let (waits, runs) = (bench.call(Request::to("a", "")), bench.call(Request::to("b", "")));
    let ticket = bench.take("b").unwrap();
    for (id, reader) in [waits, runs] {
        bench.requests.leave(&id, reader, bench.now);
    }
    assert_eq!(bench.requests.take_changes().unwanted, [(7, ticket)]);
    assert_eq!(bench.take("a"), None);
    assert!(!bench.answer(ticket));
    assert_eq!((bench.requests.rows.len(), bench.requests.next_due()), (0, Due::default()));
}

#[test]
fn what_was_given_back_does_not_count_as_tried() {
    let mut bench = Bench::new();
    let id = bench.submit(Job::new("a", "").max_attempts(1));
    for attempt in 1..=5 {
        let ticket = bench.take("a").unwrap();
        assert_eq!(ticket.attempt, attempt);
        assert!(bench.finish(ticket, Verdict::Released));
    }
    let ticket = bench.take("a").unwrap();
    assert!(bench.fail(ticket));
    assert_eq!(bench.state(&id), JobState::Dead);
    assert_eq!(bench.reasons(), [(1, "exhausted".to_owned(), 6)]);
}

#[test]
fn a_job_that_runs_too_long_is_tried_again_and_exhausted_like_one_that_fails() {
    let mut bench = Bench::new();
    let id = bench.submit(Job::new("a", "").max_attempts(2));
    for _ in 0..2 {
        bench.take("a").unwrap();
        bench.wait(1_000);
    }
    assert_eq!(bench.state(&id), JobState::Dead);
    assert_eq!(bench.requests.info(&id).unwrap().failures.len(), 2);
    assert_eq!(bench.reasons(), [(1, "exhausted".to_owned(), 2)]);
}

#[test]
fn a_job_that_failed_waits_for_its_backoff_which_doubles() {
    let mut bench = Bench::new();
    let backoff = Backoff::exponential(Duration::from_millis(100), DAY);
    let id = bench.submit(Job::new("a", "").backoff(backoff));
    for pause in [100, 200, 400] {
        let ticket = bench.take("a").unwrap();
        assert!(bench.fail(ticket));
        assert_eq!(bench.state(&id), JobState::Scheduled);
        bench.wait(pause * 8 / 10 - 1);
        assert_eq!(bench.take("a"), None);
        bench.wait(pause * 4 / 10 + 1);
    }
    let failures = bench.requests.info(&id).unwrap().failures;
    assert_eq!(failures.iter().map(|failure| failure.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(failures.iter().all(|failure| failure.message == "no luck"), "{failures:?}");
    assert!(failures.is_sorted_by_key(|failure| failure.at));
}

#[test]
fn a_handler_may_say_when_to_try_again() {
    let mut bench = Bench::new();
    let id = bench.submit(Job::new("a", ""));
    let ticket = bench.take("a").unwrap();
    let error = HandlerError::new("later").retry_at(DateTime::from_timestamp_millis(9_000).unwrap());
    bench.finish(ticket, Verdict::Failed(error));
    assert_eq!(bench.requests.info(&id).unwrap().run_at.unwrap().timestamp_millis(), 9_000);
    bench.wait(7_999);
    assert_eq!(bench.take("a"), None);
    bench.wait(1);
    assert!(bench.take("a").is_some());
}

#[test]
fn jobs_of_a_key_run_one_at_a_time_in_order_whatever_their_priority() {
    let mut bench = Bench::new();
    let job = |priority| Job::new("a", "").key("k").priority(priority).backoff(no_backoff());
    let ids = [0, 9, 5].map(|priority| bench.submit(job(priority)));
    let other = bench.submit(Job::new("b", "").key("k"));
    assert_eq!(
        ids.each_ref().map(|id| bench.state(id)),
        [JobState::Ready, JobState::Waiting, JobState::Waiting]
    );
    assert_eq!(bench.state(&other), JobState::Ready, "a key is that of its subject");
    let first = bench.take("a").unwrap();
    assert_eq!(bench.take("a"), None);
    bench.fail(first);
    let again = bench.take("a").unwrap();
    assert_eq!(again.sequence, first.sequence, "one that is tried again holds up those behind it");
    assert!(bench.answer(again));
    bench.requests.cancel(&ids[1], bench.now).unwrap();
    let last = bench.take("a").unwrap();
    assert_eq!(bench.state(&ids[2]), JobState::Leased);
    assert!(bench.answer(last));
    assert!(bench.requests.keys.keys().all(|(subject, _)| subject == "b"), "no key without a job");
}

#[test]
fn a_job_that_expires_is_a_dead_letter_and_never_started() {
    let mut bench = Bench::new();
    let job = || Job::new("a", "").expires_in(Duration::from_millis(10)).key("k");
    let ids = [bench.submit(job()), bench.submit(job().delay(DAY)), bench.submit(job())];
    bench.wait(10);
    assert_eq!(bench.take("a"), None);
    for id in &ids {
        assert_eq!(bench.state(id), JobState::Dead);
    }
    assert!(bench.reasons().iter().all(|(_, reason, attempts)| reason == "expired" && *attempts == 0));
    let late = bench.submit(Job::new("a", "").expires_at(DateTime::from_timestamp_millis(1_000).unwrap()));
    assert_eq!(bench.state(&late), JobState::Dead);
}

#[test]
fn one_that_runs_does_not_expire() {
    let mut bench = Bench::new();
    let id = bench.submit(Job::new("a", "").expires_in(Duration::from_millis(10)).backoff(no_backoff()));
    let ticket = bench.take("a").unwrap();
    bench.wait(20);
    assert_eq!(bench.state(&id), JobState::Leased);
    bench.fail(ticket);
    assert_eq!(bench.state(&id), JobState::Dead, "it is not started again");
}

#[test]
fn a_unique_key_is_taken_for_as_long_as_it_was_asked() {
    let mut bench = Bench::new();
    let unique = |how_long| Job::new("a", "").unique_as("u", how_long);
    let first = bench.submit(unique(Unique::WhilePending));
    assert_eq!(bench.submit(unique(Unique::Forever)), first);
    assert_ne!(bench.submit(Job::new("b", "").unique("u")), first, "a key is that of its subject");
    let ticket = bench.take("a").unwrap();
    assert_eq!(bench.submit(unique(Unique::WhilePending)), first);
    bench.answer(ticket);
    let second = bench.submit(unique(Unique::For(Duration::from_millis(100))));
    assert_ne!(second, first);
    bench.requests.cancel(&second, bench.now).unwrap();
    bench.wait(99);
    assert_eq!(bench.submit(unique(Unique::WhilePending)), second);
    bench.wait(1);
    let third = bench.submit(unique(Unique::Forever));
    assert_ne!(third, second);
    let ticket = bench.take("a").unwrap();
    bench.answer(ticket);
    bench.wait(i64::MAX / 2);
    assert_eq!(bench.submit(unique(Unique::WhilePending)), third);
}

#[test]
fn a_reply_is_kept_for_its_time_and_for_those_who_read_it() {
    let mut bench = Bench::new();
    let id = bench.submit(Job::new("a", "").keep_reply(Duration::from_millis(100)));
    let reader = bench.requests.read(&id).unwrap();
    let ticket = bench.take("a").unwrap();
    bench.requests.part(ticket, Response::new("part")).unwrap();
    bench.answer(ticket);
    bench.wait(99);
    assert_eq!(bench.state(&id), JobState::Done);
    bench.wait(1);
    assert_eq!(bench.requests.info(&id).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.requests.read(&id).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.requests.cancel(&id, bench.now).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.outcome(&reader).unwrap().unwrap().payload(), "part");
    bench.requests.leave(&reader.0, reader.1, bench.now);
    assert_eq!((bench.requests.rows.len(), bench.requests.ids.len()), (0, 0));
}

#[test]
fn a_job_that_is_cancelled_while_it_runs_is_done_if_it_answers_and_cancelled_if_not() {
    let mut bench = Bench::new();
    let ends: [fn(&mut Bench, Ticket); 4] = [
        |bench, ticket| assert!(bench.answer(ticket)),
        |bench, ticket| assert!(bench.fail(ticket)),
        |bench, ticket| assert!(bench.finish(ticket, Verdict::Released)),
        |bench, _| bench.wait(1_000),
    ];
    let states = ends.map(|end| {
        let id = bench.submit(Job::new("a", ""));
        let ticket = bench.take("a").unwrap();
        assert!(bench.requests.cancel(&id, bench.now).unwrap());
        assert_eq!(bench.requests.take_changes().unwanted, [(7, ticket)]);
        assert!(bench.requests.info(&id).unwrap().cancel_requested);
        end(&mut bench, ticket);
        assert!(!bench.requests.cancel(&id, bench.now).unwrap());
        bench.state(&id)
    });
    let cancelled = JobState::Cancelled;
    assert_eq!(states, [JobState::Done, cancelled, cancelled, cancelled]);
    assert_eq!(bench.take("a"), None);
}

#[test]
fn a_requeued_letter_is_the_same_job_from_its_first_attempt_on() {
    let mut bench = Bench::new();
    let id = bench.submit(Job::new("a", "body").key("k").unique("u").max_attempts(1));
    let stale = bench.take("a").unwrap();
    bench.fail(stale);
    assert_eq!(bench.reasons(), [(1, "exhausted".to_owned(), 1)]);
    assert_eq!(bench.requests.requeue(&Dead::Letter(1), bench.now, |_, _| Ok(())).unwrap(), 1);
    assert_eq!(
        bench.requests.requeue(&Dead::Letter(1), bench.now, |_, _| Ok(())).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(bench.submit(Job::new("a", "").unique("u")), id, "it has its unique key again");
    let info = bench.requests.info(&id).unwrap();
    assert_eq!((info.state, info.attempt, info.failures.len()), (JobState::Ready, 0, 0));
    let ticket = bench.take("a").unwrap();
    assert!(!bench.answer(stale));
    bench.fail(ticket);
    assert_eq!(bench.reasons(), [(2, "exhausted".to_owned(), 1)]);
    assert_eq!(bench.requests.purge(&Dead::Of(Filter::new("b.>").unwrap())).unwrap(), 0);
    assert_eq!(bench.requests.purge(&Dead::Of(Filter::everything())).unwrap(), 1);
    assert_eq!(bench.requests.info(&id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn dead_letters_are_listed_in_pages() {
    let mut bench = Bench::new();
    for subject in ["a.x", "a.y", "b.x", "a.x"] {
        bench.submit(Job::new(subject, "").expires_at(DateTime::from_timestamp_millis(0).unwrap()));
    }
    let list = |which: Dead, after, limit| -> Vec<u64> {
        bench.requests.dead_letters(&which, after, limit).iter().map(|letter| letter.id).collect()
    };
    let of = |filter: &str| Dead::Of(Filter::new(filter).unwrap());
    assert_eq!(list(of(">"), 0, 2), [1, 2]);
    assert_eq!(list(of(">"), 2, 9), [3, 4]);
    assert_eq!(list(of("a.x"), 0, 9), [1, 4]);
    assert_eq!(list(of("a.x"), u64::MAX, 9), [0; 0]);
    assert_eq!(list(Dead::Letter(3), 0, 9), [3]);
    assert_eq!(list(Dead::Letter(5), 0, 9), [0; 0]);
}

#[test]
fn after_the_end_readers_get_what_there_is_and_nothing_is_kept() {
    let mut bench = Bench::new();
    let (waits, answered) = (bench.call(Request::to("a", "")), bench.call(Request::to("b", "")));
    bench.submit(Job::new("c", "").delay(DAY));
    let ticket = bench.take("b").unwrap();
    bench.answer(ticket);
    bench.requests.close();
    assert_eq!(bench.error(&waits), ErrorKind::Closed);
    assert!(bench.outcome(&answered).unwrap().is_ok());
    assert_eq!(bench.requests.next_due(), Due::default());
    for (id, reader) in [waits, answered] {
        bench.requests.leave(&id, reader, bench.now);
    }
    assert_eq!((bench.requests.rows.len(), bench.requests.ids.len()), (0, 0));
}
