//! Ways to break what the contract says of consumers.

use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use crate::capabilities::Capabilities;
use crate::conformance::cases;
use crate::consumer::Consumer;
use crate::consumer_info::ConsumerInfo;
use crate::dead_letter::{Dead, DeadLetter};
use crate::delivery::{Delivery, DeliveryControl, Settlement};
use crate::durable::Durable;
use crate::error::{ErrorKind, Result};
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::inbox::{Inbox, InboxSource};
use crate::inmem::InMemBus;
use crate::job::Job;
use crate::job_handle::{JobHandle, JobId, JobInfo};
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{StartAt, Subscribe, Subscription};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    LosesAcks,
    TakesAcksTwice,
    AcksWhatWasNacked,
    CountsReleases,
    NeverGivesUp,
    GivesToEveryMember,
    BeginsAtTheOldest,
    HoldsAnyNumber,
    HidesGaps,
    EndsSilently,
    MovesNothing,
    PausesNothing,
}

#[derive(Clone, Debug)]
struct Faulty {
    bus: InMemBus,
    fault: Fault,
    opened: Arc<AtomicU64>,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Self { bus: InMemBus::new(), fault, opened: Arc::default() }
    }

    fn damage(&self, consumer: Consumer) -> Result<Consumer> {
        Ok(match self.fault {
            Fault::GivesToEveryMember => {
                let parts = consumer.into_parts()?;
                let number = self.opened.fetch_add(1, Ordering::Relaxed);
                let mut own = Consumer::durable(format!("{}-{number}", parts.name));
                for filter in &parts.filters {
                    own = own.filter(filter);
                }
                own
            }
            Fault::BeginsAtTheOldest => consumer.from(StartAt::Oldest),
            Fault::HoldsAnyNumber => consumer.max_ack_pending(1_000),
            Fault::NeverGivesUp => consumer.max_deliver(u32::MAX),
            _ => consumer,
        })
    }
}

struct FaultyInbox {
    inbox: Option<Inbox>,
    fault: Fault,
}

struct FaultyControl {
    delivery: Delivery,
    fault: Fault,
}

impl InboxSource for FaultyInbox {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        let Some(inbox) = &mut self.inbox else { return Poll::Ready(None) };
        loop {
            let item = ready!(Pin::new(&mut *inbox).poll_next(cx));
            match (item, self.fault) {
                (Some(Err(error)), Fault::HidesGaps) if matches!(error.kind(), ErrorKind::Gap { .. }) => {}
                (Some(Err(_)), Fault::EndsSilently) => return Poll::Ready(None),
                (Some(Ok(delivery)), fault) => {
                    let (message, attempt) = (delivery.clone().into_message(), delivery.attempt());
                    let control = Arc::new(FaultyControl { delivery, fault });
                    return Poll::Ready(Some(Ok(Delivery::new(message, attempt, control))));
                }
                (item, _) => return Poll::Ready(item),
            }
        }
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            match self.inbox.take() {
                Some(inbox) => inbox.leave().await,
                None => Ok(()),
            }
        })
    }
}

impl DeliveryControl for FaultyControl {
    fn settle<'a>(
        &'a self,
        _: &'a crate::Message,
        _: u32,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let settled = match settlement {
                Settlement::Ack if self.fault == Fault::LosesAcks => Ok(()),
                Settlement::Ack => self.delivery.ack().await,
                Settlement::Nack(_) if self.fault == Fault::AcksWhatWasNacked => self.delivery.ack().await,
                Settlement::Nack(delay) => self.delivery.nack(delay).await,
                Settlement::Failed(error) => self.delivery.fail(error).await,
                Settlement::Term(reason) => self.delivery.term(reason).await,
                Settlement::Release if self.fault == Fault::CountsReleases => {
                    self.delivery.nack(Duration::ZERO).await
                }
                Settlement::Release => self.delivery.release().await,
            };
            if self.fault == Fault::TakesAcksTwice { Ok(()) } else { settled }
        })
    }

    fn extend(&self, _: u64, _: u32, by: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.delivery.extend(by))
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
        self.bus.call(request)
    }

    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>> {
        self.bus.call_stream(request)
    }

    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>> {
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
        self.bus.submit(jobs)
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<JobInfo>> {
        self.bus.job(id)
    }

    fn replies(&self, id: JobId) -> BoxFuture<'_, Result<Replies>> {
        self.bus.replies(id)
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<bool>> {
        self.bus.cancel(id)
    }

    fn pause(&self, subject: Subject) -> BoxFuture<'_, Result<()>> {
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
        self.bus.purge(which)
    }

    fn consumer(&self, consumer: Consumer) -> BoxFuture<'_, Result<Inbox>> {
        Box::pin(async move {
            let inbox = self.bus.consumer(self.damage(consumer)?).await?;
            let name = inbox.name().to_owned();
            Ok(Inbox::new(name, FaultyInbox { inbox: Some(inbox), fault: self.fault }))
        })
    }

    fn consumer_info<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ConsumerInfo>> {
        self.bus.consumer_info(name)
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>>> {
        self.bus.consumers()
    }

    fn seek_consumer<'a>(&'a self, name: &'a str, to: StartAt) -> BoxFuture<'a, Result<()>> {
        if self.fault == Fault::MovesNothing {
            return Box::pin(async { Ok(()) });
        }
        self.bus.seek_consumer(name, to)
    }

    fn pause_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        if self.fault == Fault::PausesNothing {
            return Box::pin(async { Ok(()) });
        }
        self.bus.pause_consumer(name)
    }

    fn resume_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.bus.resume_consumer(name)
    }

    fn delete_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.bus.delete_consumer(name)
    }
}

/// A bus whose log can be made to forget.
fn forgetful(fault: Fault) -> crate::conformance::Fixture {
    let faulty = Faulty::new(fault);
    let bus = faulty.bus.clone();
    crate::conformance::Fixture::new(faulty).forget_through(move |sequence| {
        bus.forget_through(sequence);
        std::future::ready(())
    })
}

macro_rules! found {
    ($($test:ident: $fault:ident by $($case:ident)+;)*) => { $(
        #[test]
        fn $test() {
            $(
                cases::$case(|| async { forgetful(Fault::None) });
                let outcome = catch_unwind(|| cases::$case(|| async { forgetful(Fault::$fault) }));
                assert!(outcome.is_err(), "{} passes", stringify!($case));
            )+
        }
    )* };
}

found! {
    lost_acks_are_found: LosesAcks by
        acks_may_come_in_any_order_and_the_ack_floor_follows
        a_cumulative_ack_counts_for_everything_before
        max_ack_pending_bounds_what_all_members_hold_together;
    acks_that_come_too_late_are_found: TakesAcksTwice by
        a_second_ack_is_lease_lost
        what_is_not_acknowledged_in_time_comes_again_and_the_old_ack_is_lease_lost
        another_member_takes_over_behind_the_ack_floor_when_the_active_one_leaves
        what_members_hold_is_lost_when_their_consumer_is_moved;
    nacks_without_effect_are_found: AcksWhatWasNacked by
        a_nack_with_a_delay_comes_again_after_it
        a_cumulative_nack_comes_again_after_the_consumers_backoff;
    releases_that_count_are_found: CountsReleases by
        what_is_released_comes_again_at_once_and_the_delivery_does_not_count;
    an_endless_delivery_is_found: NeverGivesUp by
        an_event_that_nobody_ever_acknowledges_is_a_dead_letter
        a_cumulative_consumer_stops_when_max_deliver_is_reached;
    members_who_do_not_share_are_found: GivesToEveryMember by
        members_share_the_events_and_each_goes_to_one
        a_reopened_consumer_goes_on_behind_what_it_acknowledged;
    a_wrong_beginning_is_found: BeginsAtTheOldest by
        a_new_consumer_begins_where_it_was_told;
    a_bound_without_effect_is_found: HoldsAnyNumber by
        max_ack_pending_bounds_what_all_members_hold_together;
    a_silent_gap_is_found: HidesGaps by
        events_that_are_gone_before_a_consumer_got_them_are_one_gap
        a_new_consumer_that_begins_at_what_is_gone_has_a_gap_only_if_it_named_it;
    a_silent_end_is_found: EndsSilently by
        a_consumer_that_gives_up_stops_in_front_of_its_event
        deleting_a_consumer_ends_its_inboxes_with_not_found;
    a_move_without_effect_is_found: MovesNothing by
        a_consumer_is_moved_back_and_forward_while_it_is_open
        a_stopped_consumer_that_is_moved_goes_on;
    a_paused_consumer_that_goes_on_is_found: PausesNothing by
        nothing_is_delivered_while_a_consumer_is_paused;
}
