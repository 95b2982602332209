//! What is asked of a job by its id: its replies, its state, its end.

use std::time::Duration;

use super::fixture::Fixture;
use super::support::{
    Gate, ask, asked, assert_state, durable, heard, joined, kind, poll_once, reply_text, serve_telling, told,
    within,
};
use crate::call::Call;
use crate::dead_letter::Dead;
use crate::durable::DurableExt;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::handler::HandlerError;
use crate::job::Job;
use crate::job_handle::{JobId, JobState};
use crate::reply::Replies;
use crate::serve::Serve;

/// The parts and the final reply.
async fn read(replies: &mut Replies) -> Vec<String> {
    let mut read = Vec::new();
    while let Some(reply) = within(replies.next()).await {
        let reply = reply.unwrap();
        read.push(reply_text(&reply));
        assert!(reply.is_final() || read.last().unwrap().starts_with("part"));
    }
    read
}

pub(super) async fn the_replies_of_a_job_are_for_whoever_asks_from_the_first_part_on(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    let gate = Gate::shut();
    let waits = gate.clone();
    let service = fixture.second().serve("a", move |call: Call| {
        let gate = waits.clone();
        async move {
            for number in 0..3 {
                call.part(format!("part {number}")).await?;
            }
            gate.pass().await;
            call.part("part 3").await?;
            Ok("end")
        }
    });
    let service = service.await.unwrap();
    let job = jobs.enqueue(Job::new("a", "")).await.unwrap();
    let mut early = job.replies().await.unwrap();
    for number in 0..3 {
        assert_eq!(reply_text(&within(early.next()).await.unwrap().unwrap()), format!("part {number}"));
    }
    assert!(poll_once(std::pin::pin!(early.next())).await.is_pending());
    assert_state(fixture, &jobs, &job, JobState::Leased).await;
    // A reader who goes disturbs neither the job nor others.
    drop(elsewhere.replies(job.id().clone()).await.unwrap());
    let mut midway = elsewhere.replies(job.id().clone()).await.unwrap();
    assert_eq!(reply_text(&within(midway.next()).await.unwrap().unwrap()), "part 0");
    gate.open(1);
    assert_eq!(read(&mut early).await, ["part 3", "end"]);
    assert_eq!(read(&mut midway).await, ["part 1", "part 2", "part 3", "end"]);
    for bus in [&jobs, &elsewhere] {
        let mut late = bus.replies(job.id().clone()).await.unwrap();
        assert_eq!(read(&mut late).await, ["part 0", "part 1", "part 2", "part 3", "end"]);
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_reply_is_waited_for_by_the_id_alone(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    let job = jobs.enqueue(Job::new("a", "body")).await.unwrap();
    let id = JobId::from(job.id().as_str());
    drop(job);
    let waits = tokio::spawn(async move { elsewhere.reply(id).await });
    let (service, _calls) = serve_telling(&fixture.bus, Serve::on("a")).await;
    assert_eq!(reply_text(&joined(waits).await.unwrap()), "body");
    service.stop().await.unwrap();
}

pub(super) async fn a_job_that_never_was_is_not_found(fixture: &Fixture) {
    let Some(handles) = durable(fixture) else {
        return;
    };
    let has = fixture.bus.capabilities();
    for jobs in handles {
        for id in ["", "nothing", "01890a5d-ac96-774b-bcce-b302099a8057"] {
            if has.job_info {
                assert_eq!(kind(jobs.job(id.into()).await), ErrorKind::NotFound);
            }
            assert_eq!(kind(within(jobs.reply(id.into())).await), ErrorKind::NotFound);
            if has.job_cancellation {
                assert_eq!(kind(jobs.cancel(id.into()).await), ErrorKind::NotFound);
            }
        }
        if has.requeue {
            assert_eq!(kind(jobs.requeue(Dead::Letter(1)).await), ErrorKind::NotFound);
        }
        assert_eq!(kind(jobs.purge(Dead::Letter(1)).await), ErrorKind::NotFound);
    }
}

pub(super) async fn a_reply_is_kept_for_its_time(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    let has = fixture.bus.capabilities();
    let (service, mut calls) = serve_telling(fixture.second(), Serve::on("a")).await;
    let job = jobs.enqueue(Job::new("a", "").keep_reply(Duration::from_millis(5))).await.unwrap();
    heard(&mut calls).await;
    within(async {
        while jobs.replies(job.id().clone()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for bus in [&jobs, &elsewhere] {
        if has.job_info {
            assert_eq!(kind(bus.job(job.id().clone()).await), ErrorKind::NotFound);
        }
        assert_eq!(kind(within(bus.reply(job.id().clone())).await), ErrorKind::NotFound);
        if has.job_cancellation {
            assert_eq!(kind(bus.cancel(job.id().clone()).await), ErrorKind::NotFound);
        }
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_job_that_waits_is_cancelled_at_once(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_cancellation {
        return;
    }
    let hour = Duration::from_secs(3600);
    let ready = jobs.enqueue(Job::new("a", "cancelled").key("k")).await.unwrap();
    let waiting = jobs.enqueue(Job::new("a", "cancelled").key("k")).await.unwrap();
    let scheduled = jobs.enqueue(Job::new("a", "cancelled").delay(hour)).await.unwrap();
    let kept = jobs.enqueue(Job::new("a", "kept").key("k")).await.unwrap();
    let reader = tokio::spawn({
        let job = waiting.clone();
        async move { job.reply().await }
    });
    for job in [&waiting, &ready, &scheduled] {
        assert!(elsewhere.cancel(job.id().clone()).await.unwrap());
        assert!(!job.cancel().await.unwrap(), "it had ended before");
        assert_eq!(kind(within(job.reply()).await), ErrorKind::Cancelled);
        let info = job.info().await.unwrap();
        assert_eq!((info.state, info.attempt), (JobState::Cancelled, 0));
        assert!(info.finished_at.is_some());
    }
    assert_eq!(kind(joined(reader).await), ErrorKind::Cancelled);
    let (service, mut calls) = serve_telling(fixture.second(), Serve::on("a").concurrency(1)).await;
    assert_eq!(reply_text(&within(kept.reply()).await.unwrap()), "kept");
    assert_eq!(heard(&mut calls).await, "kept");
    assert!(!kept.cancel().await.unwrap(), "it was done");
    assert_eq!(ask(&fixture.bus, "a", "next").await, "next");
    assert_eq!(heard(&mut calls).await, "next");
    service.stop().await.unwrap();
}

pub(super) async fn the_handler_of_a_job_that_runs_is_told_and_decides(fixture: &Fixture) {
    let Some([jobs, elsewhere]) = durable(fixture) else {
        return;
    };
    if !fixture.bus.capabilities().job_cancellation {
        return;
    }
    let (tell, mut stations) = told();
    let service = fixture.second().serve("a", move |call: Call| {
        let tell = tell.clone();
        async move {
            tell.send("begins").unwrap();
            call.cancelled().await;
            tell.send("told").unwrap();
            match asked(&call).as_str() {
                "done" => Ok("none the less"),
                _ => Err(HandlerError::new("as you wish")),
            }
        }
    });
    let service = service.await.unwrap();
    for body in ["done", "cancelled"] {
        let job = jobs.enqueue(Job::new("a", body)).await.unwrap();
        assert_eq!(heard(&mut stations).await, "begins");
        assert!(!job.info().await.unwrap().cancel_requested);
        assert!(elsewhere.cancel(job.id().clone()).await.unwrap());
        assert_eq!(heard(&mut stations).await, "told");
        let state = match within(job.reply()).await {
            Ok(reply) => {
                assert_eq!(reply_text(&reply), "none the less");
                JobState::Done
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cancelled);
                JobState::Cancelled
            }
        };
        assert_eq!(state, if body == "done" { JobState::Done } else { JobState::Cancelled });
        assert_eq!(job.info().await.unwrap().state, state);
        assert!(!job.cancel().await.unwrap());
    }
    assert!(super::dead::letters(&jobs, ">").await.is_empty());
    service.stop().await.unwrap();
}
