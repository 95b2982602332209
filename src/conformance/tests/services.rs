//! Ways to break what the contract says of requests, services and jobs.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::capabilities::Capabilities;
use crate::conformance::cases;
use crate::consumer::Consumer;
use crate::consumer_info::ConsumerInfo;
use crate::dead_letter::{Dead, DeadLetter};
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::inbox::Inbox;
use crate::inmem::InMemBus;
use crate::job::{Job, RunAt};
use crate::job_handle::{JobHandle, JobId, JobInfo};
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply, ReplySource};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::StartAt;
use crate::subscribe::{Subscribe, Subscription};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    RunsRequestsTwice,
    LosesParts,
    IgnoresConcurrency,
    NeverWithdraws,
    WaitsThoughUnserved,
    LosesCodes,
    LosesUniqueKeys,
    LosesPriorities,
    LosesKeys,
    RunsAtOnce,
    TriesOnce,
    PausesNothing,
    CancelsNothing,
    PurgesNothing,
    TearsBatches,
}

#[derive(Clone, Debug)]
struct Faulty {
    bus: InMemBus,
    fault: Fault,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Self { bus: InMemBus::new(), fault }
    }

    fn damage(&self, job: Job) -> Result<Job> {
        let parts = job.into_parts()?;
        let is = |fault: Fault| self.fault == fault;
        let mut damaged = Job::new(parts.subject, parts.payload)
            .headers(parts.headers)
            .backoff(parts.backoff)
            .keep_reply(parts.keep_reply)
            .max_attempts(if is(Fault::TriesOnce) { 1 } else { parts.max_attempts });
        if !is(Fault::LosesPriorities) {
            damaged = damaged.priority(parts.priority);
        }
        damaged = match parts.run {
            _ if is(Fault::RunsAtOnce) => damaged,
            RunAt::In(delay) => damaged.delay(delay),
            RunAt::At(time) => damaged.run_at(time),
        };
        damaged = match parts.expires {
            Some(RunAt::In(time)) => damaged.expires_in(time),
            Some(RunAt::At(time)) => damaged.expires_at(time),
            None => damaged,
        };
        if let Some(key) = parts.key.filter(|_| !is(Fault::LosesKeys)) {
            damaged = damaged.key(key);
        }
        if let Some((key, how_long)) = parts.unique.filter(|_| !is(Fault::LosesUniqueKeys)) {
            damaged = damaged.unique_as(key, how_long);
        }
        Ok(damaged)
    }
}

struct FaultyReplies(Replies);

impl ReplySource for FaultyReplies {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        loop {
            let item =
                std::task::ready!(futures_core::Stream::poll_next(std::pin::Pin::new(&mut self.0), cx));
            match &item {
                Some(Ok(reply)) if !reply.is_final() && reply.text() == Some("10") => {}
                _ => return Poll::Ready(item),
            }
        }
    }
}

impl Messenger for Faulty {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        self.bus.send(publish)
    }

    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        self.bus.send_all(batch)
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        self.bus.subscribe(subscribe)
    }

    fn last(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Message>>> {
        self.bus.last(subject)
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            match self.fault {
                Fault::RunsRequestsTwice => drop(self.bus.call(request.clone()).await?),
                Fault::NeverWithdraws => {
                    let bus = self.bus.clone();
                    let called = tokio::spawn(async move { bus.call(request).await });
                    return called.await.unwrap_or_else(|_| Err(Error::closed()));
                }
                Fault::WaitsThoughUnserved => {
                    let parts = request.into_parts()?;
                    let patient = Request::to(parts.subject, parts.payload).timeout(parts.timeout);
                    return self.bus.call(patient).await;
                }
                Fault::LosesCodes => {
                    return self.bus.call(request).await.map_err(|error| match error.kind() {
                        ErrorKind::Handler => Error::new(ErrorKind::Handler, error.to_string()),
                        _ => error,
                    });
                }
                _ => {}
            }
            self.bus.call(request).await
        })
    }

    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async move {
            let replies = self.bus.call_stream(request).await?;
            Ok(if self.fault == Fault::LosesParts { Replies::new(FaultyReplies(replies)) } else { replies })
        })
    }

    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>> {
        let serve = if self.fault == Fault::IgnoresConcurrency { serve.concurrency(100) } else { serve };
        self.bus.serve_with(serve, handler)
    }

    fn as_durable(&self) -> Result<Arc<dyn Durable>> {
        Ok(Arc::new(self.clone()))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.bus.close()
    }

    fn capabilities(&self) -> Capabilities {
        self.bus.capabilities()
    }
}

impl Durable for Faulty {
    fn submit(&self, jobs: Vec<Job>) -> BoxFuture<'_, Result<Vec<JobHandle>>> {
        Box::pin(async move {
            if self.fault != Fault::TearsBatches {
                let jobs = jobs.into_iter().map(|job| self.damage(job)).collect::<Result<_>>()?;
                return self.bus.submit(jobs).await;
            }
            let mut handles = Vec::new();
            for job in jobs {
                handles.extend(self.bus.submit(vec![job]).await?);
            }
            Ok(handles)
        })
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<JobInfo>> {
        self.bus.job(id)
    }

    fn replies(&self, id: JobId) -> BoxFuture<'_, Result<Replies>> {
        self.bus.replies(id)
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<bool>> {
        if self.fault == Fault::CancelsNothing {
            return Box::pin(async { Ok(true) });
        }
        self.bus.cancel(id)
    }

    fn pause(&self, subject: Subject) -> BoxFuture<'_, Result<()>> {
        if self.fault == Fault::PausesNothing {
            return Box::pin(async { Ok(()) });
        }
        self.bus.pause(subject)
    }

    fn resume(&self, subject: Subject) -> BoxFuture<'_, Result<()>> {
        self.bus.resume(subject)
    }

    fn dead_letters(&self, which: Dead, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        self.bus.dead_letters(which, after, limit)
    }

    fn requeue(&self, which: Dead) -> BoxFuture<'_, Result<u64>> {
        self.bus.requeue(which)
    }

    fn purge(&self, which: Dead) -> BoxFuture<'_, Result<u64>> {
        if self.fault == Fault::PurgesNothing {
            return Box::pin(async { Ok(1) });
        }
        self.bus.purge(which)
    }

    fn consumer(&self, consumer: Consumer) -> BoxFuture<'_, Result<Inbox>> {
        self.bus.consumer(consumer)
    }

    fn consumer_info<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ConsumerInfo>> {
        self.bus.consumer_info(name)
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>>> {
        self.bus.consumers()
    }

    fn seek_consumer<'a>(&'a self, name: &'a str, to: StartAt) -> BoxFuture<'a, Result<()>> {
        self.bus.seek_consumer(name, to)
    }

    fn pause_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.bus.pause_consumer(name)
    }

    fn resume_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.bus.resume_consumer(name)
    }

    fn delete_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.bus.delete_consumer(name)
    }
}

macro_rules! found {
    ($($test:ident: $fault:ident by $($case:ident)+;)*) => { $(
        #[test]
        fn $test() {
            $(
                cases::$case(|| async { Faulty::new(Fault::None) });
                let outcome = catch_unwind(|| cases::$case(|| async { Faulty::new(Fault::$fault) }));
                assert!(outcome.is_err(), "{} passes", stringify!($case));
            )+
        }
    )* };
}

found! {
    a_request_that_is_run_twice_is_found: RunsRequestsTwice by
        a_request_is_answered_by_exactly_one_server;
    lost_parts_are_found: LosesParts by
        the_reply_is_parts_in_order_and_then_one_final_reply
        dropping_the_future_of_the_next_reply_loses_nothing;
    a_limit_that_is_exceeded_is_found: IgnoresConcurrency by
        a_service_runs_as_many_handlers_as_its_concurrency_and_never_more;
    a_request_that_outlives_its_caller_is_found: NeverWithdraws by
        dropping_the_future_of_a_request_that_is_unclaimed_withdraws_it
        dropping_the_future_of_a_request_that_is_claimed_cancels_its_handler
        a_late_reply_is_discarded;
    a_request_that_waits_for_nobody_is_found: WaitsThoughUnserved by
        with_no_server_a_request_that_was_to_fail_at_once_is_no_responders;
    a_handlers_error_in_part_is_found: LosesCodes by
        a_handlers_error_is_handler_with_its_message_code_and_body;
    jobs_that_are_not_unique_are_found: LosesUniqueKeys by
        a_job_whose_unique_key_is_pending_is_the_one_that_has_it
        a_unique_key_may_be_for_a_time_or_for_ever;
    a_wrong_order_is_found: LosesPriorities by
        of_a_subject_the_higher_priority_is_first_and_then_the_older;
    jobs_of_a_key_side_by_side_are_found: LosesKeys by
        jobs_of_other_keys_do_not_wait;
    a_job_that_is_run_too_early_is_found: RunsAtOnce by
        a_job_is_not_run_before_its_time;
    a_job_that_is_given_up_too_early_is_found: TriesOnce by
        a_job_that_fails_is_tried_again_after_its_backoff
        a_job_whose_attempts_are_exhausted_is_a_dead_letter;
    a_pause_without_effect_is_found: PausesNothing by
        what_waits_on_a_paused_subject_is_begun_when_it_is_resumed;
    a_cancellation_without_effect_is_found: CancelsNothing by
        a_job_that_waits_is_cancelled_at_once
        the_handler_of_a_job_that_runs_is_told_and_decides;
    letters_that_stay_are_found: PurgesNothing by
        purged_letters_are_gone_for_good;
    torn_batches_of_jobs_are_found: TearsBatches by
        enqueueing_a_batch_is_all_or_none_and_in_order;
}
