//! Jobs that fail: tried again, given up on, asked for again.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::fixture::Fixture;
use super::support::{
    ask, asked, durable, fares, heard, heard_all, kind, reply_text, serve_echo, told, within,
};
use crate::call::Call;
use crate::dead_letter::{Dead, DeadLetter};
use crate::durable::{Durable, DurableExt};
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::filter::Filter;
use crate::handler::HandlerError;
use crate::job::Job;
use crate::job_handle::JobState;
use crate::retry::Backoff;

/// All dead letters of a filter.
pub(super) async fn letters(jobs: &Arc<dyn Durable>, filter: &str) -> Vec<DeadLetter> {
    jobs.dead_letters(of(filter), 0, 1_000).await.unwrap()
}

pub(super) fn of(filter: &str) -> Dead {
    Dead::Of(Filter::new(filter).unwrap())
}

pub(super) async fn a_job_that_fails_is_tried_again_after_its_backoff(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let (tell, mut times) = told();
    let service = fixture.second().serve("a", move |call: Call| {
        tell.send(Utc::now()).unwrap();
        async move {
            if call.attempt() < 4 {
                Err(HandlerError::new(format!("failure\n{}", call.attempt())))
            } else {
                Ok("at last")
            }
        }
    });
    let service = service.await.unwrap();
    let backoff = Backoff::exponential(Duration::from_millis(5), Duration::from_millis(10));
    let job = jobs.enqueue(Job::new("a", "").backoff(backoff).max_attempts(4)).await.unwrap();
    let reply = within(job.reply()).await.unwrap();
    assert_eq!((reply_text(&reply), reply.attempt()), ("at last".to_owned(), 4));
    let begun = heard_all(&mut times, 4).await;
    // A fifth less than 5 and 10 ms.
    for (number, least) in [(1, 4), (2, 8)] {
        let pause = begun[number] - begun[number - 1];
        assert!(pause >= TimeDelta::milliseconds(least), "{pause} between {number} and the next");
    }
    if let Some(info) = fares(fixture, &jobs, &job).await {
        assert_eq!((info.state, info.attempt, info.max_attempts), (JobState::Done, 4, 4));
        let failures: Vec<_> = info.failures.iter().map(|one| (one.attempt, one.message.as_str())).collect();
        assert_eq!(failures, [(1, "failure 1"), (2, "failure 2"), (3, "failure 3")]);
        for (number, least) in [(1, 4), (2, 8)] {
            let pause = info.failures[number].at - info.failures[number - 1].at;
            assert!(pause >= TimeDelta::milliseconds(least), "{pause} between {number} and the next");
        }
    }
    assert!(letters(&jobs, ">").await.is_empty());
    service.stop().await.unwrap();
}

pub(super) async fn a_job_whose_attempts_are_exhausted_is_a_dead_letter(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    let service = fixture.second().serve("a", |call: Call| async move {
        let error = HandlerError::new(format!("failure {}", call.attempt()));
        Err::<(), _>(error.with_code("E_AGAIN").with_body(asked(&call)))
    });
    let service = service.await.unwrap();
    let job = Job::new("a", "body").header("Trace", "7f2c").max_attempts(3);
    let job = jobs.enqueue(job.backoff(Backoff::fixed(Duration::from_millis(2)))).await.unwrap();
    for reply in [within(job.reply()).await, within(elsewhere.reply(job.id().clone())).await] {
        let error = reply.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Handler, "failure 3"));
        assert_eq!((error.code(), error.body().as_ref()), (Some("E_AGAIN"), b"body".as_slice()));
    }
    let info = fares(fixture, &jobs, &job).await;
    if let Some(info) = &info {
        assert_eq!((info.state, info.attempt), (JobState::Dead, 3));
    }
    let letters = letters(&elsewhere, "a").await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(
        (letter.job().unwrap(), letter.subject.as_str(), letter.reason.as_str()),
        (job.id(), "a", "exhausted")
    );
    assert_eq!((letter.payload.as_ref(), letter.headers.get("Trace")), (b"body".as_slice(), Some("7f2c")));
    assert_eq!(letter.attempts, 3);
    assert!(info.is_none_or(|info| info.created_at == letter.created_at));
    let failures: Vec<_> = letter.failures.iter().map(|one| (one.attempt, one.message.as_str())).collect();
    let all = [(1, "failure 1"), (2, "failure 2"), (3, "failure 3")];
    assert_eq!(failures, if fixture.bus.capabilities().failure_history { &all[..] } else { &all[2..] });
    assert!(letter.failures.is_sorted_by_key(|failure| failure.at));
    let last = letter.failures.last().unwrap();
    assert!(letter.failures[0].at >= letter.created_at && letter.died_at >= last.at);
    assert_eq!(ask_is_failure(fixture).await, "failure 1", "the service goes on");
    service.stop().await.unwrap();
}

async fn ask_is_failure(fixture: &Fixture) -> String {
    within(fixture.bus.request("a", "")).await.unwrap_err().to_string()
}

pub(super) async fn a_fatal_error_is_a_dead_letter_at_once(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let service = fixture
        .second()
        .serve("a", |_: Call| async { Err::<(), _>(HandlerError::new("never").fatal()) })
        .await
        .unwrap();
    let job = jobs.enqueue(Job::new("a", "")).await.unwrap();
    let error = within(job.reply()).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Handler, "never"));
    let letters = letters(&jobs, ">").await;
    let found: Vec<_> = letters.iter().map(|letter| (letter.reason.as_str(), letter.attempts)).collect();
    assert_eq!(found, [("failed", 1)]);
    service.stop().await.unwrap();
}

pub(super) async fn a_panic_of_a_jobs_handler_is_a_failure_like_any_other(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let service = fixture.second().serve("a", |call: Call| async move {
        assert!(call.attempt() > 1, "the first attempt panics");
        Ok("the second does not")
    });
    let service = service.await.unwrap();
    let job = Job::new("a", "").backoff(Backoff::fixed(Duration::from_millis(1)));
    let job = jobs.enqueue(job).await.unwrap();
    assert_eq!(within(job.reply()).await.unwrap().text(), Some("the second does not"));
    if let Some(info) = fares(fixture, &jobs, &job).await {
        let failures = info.failures;
        assert!(
            failures.len() == 1 && failures[0].message.contains("the first attempt panics"),
            "{failures:?}"
        );
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_handler_may_say_when_its_job_is_tried_again(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let (tell, mut times) = told();
    let service = fixture.second().serve("a", move |call: Call| {
        let tell = tell.clone();
        async move {
            let now = Utc::now();
            let at = now + TimeDelta::milliseconds(15);
            tell.send((now, at)).unwrap();
            if call.attempt() > 1 { Ok(()) } else { Err(HandlerError::new("not yet").retry_at(at)) }
        }
    });
    let service = service.await.unwrap();
    // The backoff would be an hour.
    let hour = Duration::from_secs(3600);
    let job = jobs.enqueue(Job::new("a", "").backoff(Backoff::fixed(hour))).await.unwrap();
    within(job.reply()).await.unwrap();
    let times = heard_all(&mut times, 2).await;
    assert!(times[1].0.timestamp_millis() >= times[0].1.timestamp_millis(), "it was tried too early");
    service.stop().await.unwrap();
}

/// Dead letters of these subjects, in this order.
async fn bury(fixture: &Fixture, jobs: &Arc<dyn Durable>, subjects: &[&'static str]) {
    let fails = |_: Call| async { Err::<(), _>(HandlerError::new("no").fatal()) };
    let service = fixture.second().serve(">", fails).await.unwrap();
    for subject in subjects {
        let job = jobs.enqueue(Job::new(*subject, *subject)).await.unwrap();
        assert_eq!(kind(within(job.reply()).await), ErrorKind::Handler);
    }
    service.stop().await.unwrap();
}

pub(super) async fn dead_letters_are_listed_in_the_order_of_their_deaths_and_in_pages(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    assert!(letters(&jobs, ">").await.is_empty());
    bury(fixture, &jobs, &["a.x", "b.x", "a.y", "a.x"]).await;
    let all = letters(&elsewhere, ">").await;
    assert_eq!(
        all.iter().map(|letter| letter.subject.as_str()).collect::<Vec<_>>(),
        ["a.x", "b.x", "a.y", "a.x"]
    );
    assert!(all[0].id >= 1 && all.is_sorted_by_key(|letter| letter.id));
    let ids = async |which: Dead, after: u64, limit: usize| -> Vec<u64> {
        jobs.dead_letters(which, after, limit).await.unwrap().iter().map(|letter| letter.id).collect()
    };
    assert_eq!(ids(of(">"), 0, 3).await, [all[0].id, all[1].id, all[2].id]);
    assert_eq!(ids(of(">"), all[2].id, 3).await, [all[3].id]);
    assert_eq!(ids(of("a.x"), 0, 9).await, [all[0].id, all[3].id]);
    assert_eq!(ids(of("a.*"), all[0].id, 1).await, [all[2].id]);
    assert_eq!(ids(Dead::Letter(all[1].id), 0, 9).await, [all[1].id]);
    assert_eq!(ids(Dead::Letter(all[3].id + 1), 0, 9).await, [0; 0]);
    assert_eq!(ids(of("c"), 0, 9).await, [0; 0]);
}

pub(super) async fn a_requeued_letter_is_the_same_job_with_all_attempts_before_it(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().requeue {
        return;
    }
    bury(fixture, &jobs, &["a.x", "b.x", "a.y"]).await;
    let dead = letters(&jobs, ">").await;
    assert_eq!(elsewhere.requeue(Dead::Letter(dead[1].id)).await.unwrap(), 1);
    assert_eq!(kind(jobs.requeue(Dead::Letter(dead[1].id)).await), ErrorKind::NotFound);
    assert_eq!(jobs.requeue(of("a.*")).await.unwrap(), 2);
    assert_eq!(jobs.requeue(of("a.*")).await.unwrap(), 0);
    assert!(letters(&elsewhere, ">").await.is_empty());
    let (tell, mut calls) = told();
    let service = fixture.second().serve(">", move |call: Call| {
        tell.send((call.id().to_owned(), call.attempt())).unwrap();
        async move { Ok(format!("{} at last", asked(&call))) }
    });
    let service = service.await.unwrap();
    for letter in &dead {
        let reply = within(jobs.reply(letter.job().unwrap().clone())).await.unwrap();
        assert_eq!(reply_text(&reply), format!("{} at last", letter.subject));
        let info = jobs.job(letter.job().unwrap().clone()).await.unwrap();
        assert_eq!((info.state, info.attempt, info.created_at), (JobState::Done, 1, letter.created_at));
    }
    for _ in &dead {
        let (id, attempt) = heard(&mut calls).await;
        assert!(attempt == 1 && dead.iter().any(|letter| letter.job().unwrap().as_str() == id));
    }
    service.stop().await.unwrap();
}

pub(super) async fn purged_letters_are_gone_for_good(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    bury(fixture, &jobs, &["a.x", "b.x", "a.y"]).await;
    let dead = letters(&jobs, ">").await;
    assert_eq!(elsewhere.purge(Dead::Letter(dead[1].id)).await.unwrap(), 1);
    assert_eq!(kind(elsewhere.purge(Dead::Letter(dead[1].id)).await), ErrorKind::NotFound);
    assert_eq!(jobs.purge(of("a.x")).await.unwrap(), 1);
    let left = letters(&jobs, ">").await;
    assert_eq!(left.iter().map(|letter| letter.id).collect::<Vec<_>>(), [dead[2].id]);
    let has = fixture.bus.capabilities();
    for letter in dead[..2].iter().filter(|_| has.job_info) {
        assert_eq!(kind(jobs.job(letter.job().unwrap().clone()).await), ErrorKind::NotFound);
    }
    assert_eq!(jobs.purge(of(">")).await.unwrap(), 1);
    if has.requeue {
        assert_eq!(jobs.requeue(of(">")).await.unwrap(), 0);
    }
    let service = serve_echo(&fixture.bus, ">").await;
    assert_eq!(ask(&fixture.bus, "a.x", "goes on").await, "goes on");
    service.stop().await.unwrap();
}
