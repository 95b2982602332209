//! Jobs: when they are begun, which of them, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::fixture::Fixture;
use super::support::{
    Gate, ask, asked, assert_state, durable, fares, heard, heard_all, kind, reply_text, serve_echo,
    serve_telling, subject, told, within,
};
use crate::call::Call;
use crate::defaults::MAX_PAYLOAD;
use crate::durable::DurableExt;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::handler::{HandlerError, handler_fn};
use crate::job::{Job, Unique};
use crate::job_handle::JobState;
use crate::request::Request;
use crate::retry::Backoff;
use crate::serve::Serve;

const HOUR: Duration = Duration::from_secs(3600);

pub(super) async fn where_jobs_are_not_kept_they_are_unsupported(fixture: &Fixture) {
    let kept = fixture.bus.capabilities().jobs;
    match fixture.bus.as_durable() {
        Ok(_) => assert!(kept, "a bus that gives jobs says so"),
        Err(error) => assert!(!kept && error.kind() == ErrorKind::Unsupported, "{error:?}"),
    }
}

pub(super) async fn a_job_is_run_once_and_its_reply_is_kept(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    let mut enqueued = Vec::new();
    for number in 0..20 {
        let job = Job::new("a", number.to_string()).header("Number", &number.to_string());
        enqueued.push(jobs.enqueue(job).await.unwrap());
    }
    assert_state(fixture, &jobs, &enqueued[0], JobState::Ready).await;
    let (tell, mut calls) = told();
    let handle = move |call: Call| {
        tell.send((asked(&call), call.id().to_owned(), call.headers().get("Number").map(str::to_owned)))
            .unwrap();
        async move { Ok(format!("did {}", asked(&call))) }
    };
    let service = fixture.second().serve("a", handle).await.unwrap();
    for (number, job) in enqueued.iter().enumerate() {
        assert!(!job.is_duplicate());
        for _ in 0..2 {
            let reply = within(job.reply()).await.unwrap();
            assert_eq!((reply_text(&reply), reply.attempt()), (format!("did {number}"), 1));
        }
        let reply = within(elsewhere.reply(job.id().clone())).await.unwrap();
        assert_eq!(reply_text(&reply), format!("did {number}"));
        if let Some(info) = fares(fixture, &elsewhere, job).await {
            assert_eq!((info.id, info.state, info.attempt), (job.id().clone(), JobState::Done, 1));
            assert!(info.finished_at >= Some(info.created_at) && info.failures.is_empty());
        }
    }
    service.stop().await.unwrap();
    let mut handled = heard_all(&mut calls, 20).await;
    assert_eq!(calls.recv().await, None, "each was run once");
    handled.sort_by_key(|(number, ..)| number.parse::<usize>().unwrap());
    for (number, (text, id, header)) in handled.into_iter().enumerate() {
        let number_text = number.to_string();
        assert_eq!((text, header), (number_text.clone(), Some(number_text)));
        assert_eq!(id, enqueued[number].id().as_str());
    }
}

pub(super) async fn a_job_is_not_run_before_its_time(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let (tell, mut calls) = told();
    let handle = move |call: Call| {
        tell.send((asked(&call), Utc::now())).unwrap();
        async { Ok(()) }
    };
    let service = fixture.second().serve("a", handle).await.unwrap();
    let never = jobs.enqueue(Job::new("a", "never").delay(HOUR)).await.unwrap();
    for delay in [1, 7, 30] {
        let (time, before) = (Duration::from_millis(delay), Utc::now().timestamp_millis());
        let delay = TimeDelta::milliseconds(delay.cast_signed());
        jobs.enqueue(Job::new("a", "delay").delay(time)).await.unwrap();
        let (text, at) = heard(&mut calls).await;
        assert_eq!(text, "delay");
        assert!(at.timestamp_millis() >= before + delay.num_milliseconds(), "it was run too early");
        let run_at = Utc::now() + delay;
        jobs.enqueue(Job::new("a", "run_at").run_at(run_at)).await.unwrap();
        let (text, at) = heard(&mut calls).await;
        assert_eq!(text, "run_at");
        assert!(at.timestamp_millis() >= run_at.timestamp_millis(), "it was run too early");
    }
    jobs.enqueue(Job::new("a", "past").run_at(Utc::now() - TimeDelta::days(1))).await.unwrap();
    assert_eq!(heard(&mut calls).await.0, "past");
    if let Some(info) = fares(fixture, &jobs, &never).await {
        assert_eq!((info.state, info.attempt), (JobState::Scheduled, 0));
        assert_eq!(info.run_at, Some(info.created_at + HOUR));
    }
    service.stop().await.unwrap();
}

pub(super) async fn of_a_subject_the_higher_priority_is_first_and_then_the_older(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_priorities {
        return;
    }
    for (number, priority) in [0, 5, -3, 5, 0, i32::MAX, i32::MIN].into_iter().enumerate() {
        let bus = [&jobs, &elsewhere][number % 2];
        bus.enqueue(Job::new("a", format!("{priority} {number}")).priority(priority)).await.unwrap();
    }
    let (service, mut calls) = serve_telling(&fixture.bus, Serve::on("a").concurrency(1)).await;
    let order = heard_all(&mut calls, 7).await;
    assert_eq!(order, ["2147483647 5", "5 1", "5 3", "0 0", "0 4", "-3 2", "-2147483648 6"]);
    service.stop().await.unwrap();
}

pub(super) async fn a_wildcard_server_goes_round_the_subjects_that_wait(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().fair_subjects {
        return;
    }
    let mut batch = Vec::new();
    for subject in ["a.x", "a.y", "a.z"] {
        batch.extend((0..4).map(|_| Job::new(subject, subject).relaxed()));
    }
    jobs.enqueue_all(batch).await.unwrap();
    let (service, mut calls) = serve_telling(&fixture.bus, Serve::on("a.*").concurrency(1)).await;
    for _ in 0..4 {
        let mut round = heard_all(&mut calls, 3).await;
        round.sort_unstable();
        assert_eq!(round, ["a.x", "a.y", "a.z"], "a subject waits while another is served twice");
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_job_whose_unique_key_is_pending_is_the_one_that_has_it(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_uniqueness {
        return;
    }
    let unique = || Job::new("a", "").unique("u");
    let first = jobs.enqueue(unique()).await.unwrap();
    let batch =
        elsewhere.enqueue_all([unique(), Job::new("a", ""), Job::new("b", "").unique("u")]).await.unwrap();
    assert_eq!((batch[0].id(), batch[0].is_duplicate()), (first.id(), true));
    assert!(batch[1..].iter().all(|job| job.id() != first.id() && !job.is_duplicate()));
    let service = serve_echo(&fixture.bus, "a").await;
    within(first.reply()).await.unwrap();
    let second = elsewhere.enqueue(unique().delay(HOUR)).await.unwrap();
    assert!(second.id() != first.id() && !second.is_duplicate(), "it was done");
    assert!(jobs.enqueue(unique()).await.unwrap().is_duplicate());
    assert!(second.cancel().await.unwrap());
    assert!(!jobs.enqueue(unique()).await.unwrap().is_duplicate(), "it was cancelled");
    service.stop().await.unwrap();
}

pub(super) async fn a_unique_key_may_be_for_a_time_or_for_ever(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_uniqueness {
        return;
    }
    let service = serve_echo(&fixture.bus, "a").await;
    for (key, how_long) in [("for ever", Unique::Forever), ("for an hour", Unique::For(HOUR))] {
        let job = || Job::new("a", "").unique_as(key, how_long);
        let first = jobs.enqueue(job()).await.unwrap();
        within(first.reply()).await.unwrap();
        let again = elsewhere.enqueue(job()).await.unwrap();
        assert_eq!((again.id(), again.is_duplicate()), (first.id(), true), "{key}");
    }
    let short = || Job::new("a", "").unique_as("short", Unique::For(Duration::from_millis(5)));
    let first = jobs.enqueue(short()).await.unwrap();
    within(async {
        while jobs.enqueue(short()).await.unwrap().id() == first.id() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    service.stop().await.unwrap();
}

pub(super) async fn jobs_of_a_key_run_one_at_a_time_and_in_order(fixture: &Fixture) {
    const JOBS: usize = 20;
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_keys {
        return;
    }
    let running = Arc::new(AtomicUsize::new(0));
    let (tell, mut calls) = told();
    let mut services = Vec::new();
    for bus in fixture.handles() {
        let (running, tell) = (Arc::clone(&running), tell.clone());
        let handle = move |call: Call| {
            let (running, tell) = (Arc::clone(&running), tell.clone());
            async move {
                let beside = running.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                tell.send((asked(&call), beside)).unwrap();
                // Those behind it wait until it is done, however often it is tried.
                if asked(&call) == "3" && call.attempt() < 3 {
                    return Err(HandlerError::new("not yet"));
                }
                Ok(())
            }
        };
        services.push(bus.serve("a", handle).await.unwrap());
    }
    for number in 0..JOBS {
        let job = Job::new("a", number.to_string()).key("k").priority(i32::try_from(number).unwrap());
        let job = job.backoff(Backoff::fixed(Duration::from_millis(2)));
        [&jobs, &elsewhere][number % 2].enqueue(job).await.unwrap();
    }
    for number in [0, 1, 2, 3, 3].into_iter().chain(3..JOBS) {
        assert_eq!(heard(&mut calls).await, (number.to_string(), 0));
    }
    for service in services {
        service.stop().await.unwrap();
    }
}

pub(super) async fn jobs_of_other_keys_do_not_wait(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_keys {
        return;
    }
    let held = jobs.enqueue(Job::new("a", "held").key("k").delay(HOUR)).await.unwrap();
    let behind = jobs.enqueue(Job::new("a", "behind").key("k")).await.unwrap();
    jobs.enqueue(Job::new("a", "another key").key("l")).await.unwrap();
    jobs.enqueue(Job::new("a", "no key")).await.unwrap();
    let (service, mut calls) = serve_telling(&fixture.bus, Serve::on("a").concurrency(1)).await;
    assert_eq!(heard_all(&mut calls, 2).await, ["another key", "no key"]);
    assert_eq!(behind.info().await.unwrap().state, JobState::Waiting);
    held.cancel().await.unwrap();
    assert_eq!(heard(&mut calls).await, "behind");
    service.stop().await.unwrap();
}

pub(super) async fn what_waits_on_a_paused_subject_is_begun_when_it_is_resumed(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_pauses {
        return;
    }
    elsewhere.pause(subject("a.x")).await.unwrap();
    let (service, mut calls) = serve_telling(&fixture.bus, Serve::on("a.*").concurrency(1)).await;
    let (direct, mut direct_calls) = serve_telling(fixture.second(), Serve::on("a.x")).await;
    let job = jobs.enqueue(Job::new("a.x", "held back")).await.unwrap();
    if fixture.bus.capabilities().waits_for_servers {
        let request = Request::to("a.x", "").timeout(Duration::from_millis(10));
        assert_eq!(kind(within(fixture.bus.call(request)).await), ErrorKind::RequestTimeout);
    }
    for round in 0..3 {
        let text = format!("round {round}");
        assert_eq!(ask(&fixture.bus, "a.y", &text).await, text);
        assert_eq!(heard(&mut calls).await, text);
    }
    assert_eq!(job.info().await.unwrap().state, JobState::Ready);
    jobs.resume(subject("a.x")).await.unwrap();
    assert_eq!(within(job.reply()).await.unwrap().text(), Some("held back"));
    assert_eq!(ask(&fixture.bus, "a.x", "goes on").await, "goes on");
    jobs.resume(subject("a.x")).await.expect("resuming what is not paused is no error");
    for service in [service, direct] {
        service.stop().await.unwrap();
    }
    let mut handled = Vec::new();
    while let Ok(text) = calls.try_recv() {
        handled.push(text);
    }
    while let Ok(text) = direct_calls.try_recv() {
        handled.push(text);
    }
    handled.sort_unstable();
    assert_eq!(handled, ["goes on", "held back"]);
}

pub(super) async fn an_expired_job_is_a_dead_letter_and_never_run(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_expiry {
        return;
    }
    let expired = jobs.enqueue(Job::new("a", "expired").expires_in(Duration::from_millis(2))).await.unwrap();
    let error = within(expired.reply()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler);
    let kept = jobs.enqueue(Job::new("a", "in time").expires_in(HOUR)).await.unwrap();
    let (service, mut calls) = serve_telling(fixture.second(), Serve::on("a").concurrency(1)).await;
    within(kept.reply()).await.unwrap();
    assert_eq!(heard(&mut calls).await, "in time");
    let info = expired.info().await.unwrap();
    assert_eq!((info.state, info.attempt), (JobState::Dead, 0));
    let letters = super::dead::letters(&jobs, ">").await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason.as_str(), letters[0].attempts), ("expired", 0));
    assert_eq!(letters[0].job().unwrap(), expired.id());
    service.stop().await.unwrap();
}

pub(super) async fn enqueueing_a_batch_is_all_or_none_and_in_order(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let limit = MAX_PAYLOAD as u64;
    let too_large = Job::new("a", vec![0; MAX_PAYLOAD + 1]);
    let mistakes = [
        (too_large, ErrorKind::PayloadTooLarge { size: limit + 1, limit }),
        (Job::new("a..b", ""), ErrorKind::InvalidSubject),
        (Job::new("a", "").max_attempts(0), ErrorKind::InvalidOption),
        (Job::new("a", "").unique(""), ErrorKind::InvalidOption),
        (Job::new("a", "").key("k\n"), ErrorKind::InvalidOption),
        (Job::new("a", "").delay(Duration::MAX), ErrorKind::InvalidOption),
        (Job::new("a", "").header("not a name", ""), ErrorKind::InvalidHeader),
    ];
    for (mistake, expected) in mistakes {
        let batch = [Job::new("a", "too early"), mistake.clone(), Job::new("a", "too late")];
        assert_eq!(kind(jobs.enqueue_all(batch).await), expected);
        assert_eq!(kind(jobs.enqueue(mistake).await), expected);
    }
    assert!(jobs.enqueue_all([]).await.unwrap().is_empty());
    let enqueued = jobs.enqueue_all((0..5).map(|number| Job::new("a", number.to_string()))).await.unwrap();
    let (service, mut calls) = serve_telling(&fixture.bus, Serve::on("a").concurrency(1)).await;
    assert_eq!(heard_all(&mut calls, 5).await, ["0", "1", "2", "3", "4"]);
    for (number, job) in enqueued.iter().enumerate() {
        assert_eq!(reply_text(&within(job.reply()).await.unwrap()), number.to_string());
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_released_job_is_run_again_and_the_attempt_does_not_count(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().free_releases {
        return;
    }
    let job = jobs.enqueue(Job::new("a", "").max_attempts(1)).await.unwrap();
    let gate = Gate::shut();
    let (tell, mut calls) = told();
    let handler = Arc::new(handler_fn(move |call: Call| {
        let gate = gate.clone();
        tell.send(call.attempt()).unwrap();
        async move {
            gate.pass().await;
            Ok(())
        }
    }));
    for attempt in 1..=3 {
        let serve = Serve::on("a").grace(Duration::ZERO);
        let service = fixture.bus.serve_with(serve, handler.clone()).await.unwrap();
        assert_eq!(heard(&mut calls).await, attempt);
        within(service.stop()).await.unwrap();
        assert_eq!(job.info().await.unwrap().state, JobState::Ready);
    }
    let handle = |call: Call| async move { Ok(call.attempt().to_string()) };
    let service = fixture.second().serve("a", handle).await.unwrap();
    assert_eq!(reply_text(&within(job.reply()).await.unwrap()), "4");
    service.stop().await.unwrap();
}

pub(super) async fn what_jobs_cannot_have_is_unsupported_before_anything_is_enqueued(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    let has = fixture.bus.capabilities();
    let job = || Job::new("a", "not to be run");
    let asked_for = [
        (has.job_priorities, job().priority(1)),
        (has.job_keys, job().key("k")),
        (has.job_uniqueness, job().unique("u")),
        (has.job_uniqueness, job().unique_as("u", Unique::Forever)),
        (has.job_expiry, job().expires_in(HOUR)),
    ];
    for (_, wanted) in asked_for.into_iter().filter(|(supported, _)| !supported) {
        assert_eq!(kind(jobs.enqueue(wanted.clone()).await), ErrorKind::Unsupported);
        assert_eq!(kind(elsewhere.enqueue_all([job(), wanted]).await), ErrorKind::Unsupported);
    }
    let next = jobs.enqueue(Job::new("a", "next")).await.unwrap();
    if !has.job_info {
        assert_eq!(kind(next.info().await), ErrorKind::Unsupported);
    }
    if !has.job_cancellation {
        assert_eq!(kind(next.cancel().await), ErrorKind::Unsupported);
    }
    if !has.job_pauses {
        assert_eq!(kind(jobs.pause(subject("a")).await), ErrorKind::Unsupported);
        assert_eq!(kind(jobs.resume(subject("a")).await), ErrorKind::Unsupported);
    }
    if !has.requeue {
        assert_eq!(kind(jobs.requeue(super::dead::of("a")).await), ErrorKind::Unsupported);
    }
    let (service, mut calls) = serve_telling(&fixture.bus, Serve::on("a").concurrency(1)).await;
    assert_eq!(heard(&mut calls).await, "next");
    service.stop().await.unwrap();
}
