//! Leases that end before their handlers do.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::Fixture;
use super::support::{Gate, asked, assert_state, durable, fares, heard, reply_text, told, within};
use crate::call::Call;
use crate::durable::DurableExt;
use crate::error::{ErrorKind, Result};
use crate::handler::handler_fn;
use crate::job::Job;
use crate::job_handle::JobState;
use crate::serve::Serve;

/// A service whose handlers hold what they take only for a short while.
fn briefly() -> Serve {
    Serve::on("a").lease(Duration::from_millis(100)).max_run(Duration::from_millis(20))
}

pub(super) async fn after_max_run_a_job_is_given_to_another_and_a_late_answer_changes_nothing(
    fixture: &Fixture,
) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let gate = Gate::shut();
    let (tell, mut lates) = told();
    let waits = gate.clone();
    let handler = handler_fn(move |call: Call| {
        let (gate, tell) = (waits.clone(), tell.clone());
        async move {
            if call.attempt() == 1 {
                call.cancelled().await;
                gate.pass().await;
                let lost = |result: Result<()>| result.map_err(|error| error.kind());
                let part = lost(call.part("late").await);
                let extended = lost(call.extend(Duration::from_secs(60)).await);
                tell.send([part, extended, lost(call.reply("late").await)]).unwrap();
            }
            Ok(format!("attempt {}", call.attempt()))
        }
    });
    let service = fixture.second().serve_with(briefly(), Arc::new(handler)).await.unwrap();
    let job = jobs.enqueue(Job::new("a", "")).await.unwrap();
    let reply = within(job.reply()).await.unwrap();
    assert_eq!((reply_text(&reply), reply.attempt()), ("attempt 2".to_owned(), 2));
    gate.open(1);
    assert_eq!(heard(&mut lates).await, [Err(ErrorKind::LeaseLost); 3]);
    within(service.stop()).await.unwrap();
    assert_eq!(reply_text(&within(job.reply()).await.unwrap()), "attempt 2");
    if let Some(info) = fares(fixture, &jobs, &job).await {
        assert_eq!((info.state, info.attempt), (JobState::Done, 2));
    }
}

pub(super) async fn a_lease_that_was_extended_is_held_beyond_max_run(fixture: &Fixture) {
    let Some([jobs, _]) = durable(fixture) else {
        return;
    };
    let gate = Gate::shut();
    let (tell, mut stations) = told();
    let waits = gate.clone();
    let handler = handler_fn(move |call: Call| {
        let (gate, tell) = (waits.clone(), tell.clone());
        async move {
            if asked(&call) == "extended" {
                call.extend(Duration::from_secs(60)).await?;
                tell.send("extended").unwrap();
                gate.pass().await;
                assert!(!call.is_cancelled(), "it was extended");
            } else if call.attempt() == 1 {
                call.cancelled().await;
                tell.send("has lapsed").unwrap();
            }
            Ok(())
        }
    });
    let service = fixture.second().serve_with(briefly(), Arc::new(handler)).await.unwrap();
    let extended = jobs.enqueue(Job::new("a", "extended")).await.unwrap();
    assert_eq!(heard(&mut stations).await, "extended");
    // Begun later, and over earlier.
    let lapses = jobs.enqueue(Job::new("a", "lapses")).await.unwrap();
    assert_eq!(heard(&mut stations).await, "has lapsed");
    assert_state(fixture, &jobs, &extended, JobState::Leased).await;
    gate.open(1);
    assert_eq!(within(extended.reply()).await.unwrap().attempt(), 1);
    assert_eq!(within(lapses.reply()).await.unwrap().attempt(), 2);
    service.stop().await.unwrap();
}
