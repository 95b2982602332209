//! The cases find what breaks the contract, and pass what keeps no more than it.

mod consumers;
mod services;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::cases;
use crate::capabilities::Capabilities;
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::inmem::InMemBus;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{Source, StartAt, Subscribe, Subscription};

/// A way to break the contract.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    LosesHeaders,
    LosesEveryTenthEvent,
    DeliversToEveryFilter,
    PublishesTwice,
    ForgetsMessageIds,
    IgnoresExpectLast,
    TearsBatches,
    OverflowsSilently,
    StartsAtNew,
    SubscribesLate,
    UnsubscribesNobody,
    ClosesNothing,
    TakesAnySize,
}

#[derive(Debug)]
struct Faulty {
    bus: InMemBus,
    fault: Fault,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let max_payload =
            if fault == Fault::TakesAnySize { usize::MAX } else { crate::defaults::MAX_PAYLOAD };
        Self { bus: InMemBus::builder().max_payload(max_payload).build().unwrap(), fault }
    }

    fn damage(&self, publish: Publish) -> Result<Publish> {
        let parts = publish.into_parts()?;
        let headers = if self.fault == Fault::LosesHeaders { Default::default() } else { parts.headers };
        let mut damaged = Publish::new(parts.subject, parts.payload).headers(headers);
        if let Some(id) = parts.message_id
            && self.fault != Fault::ForgetsMessageIds
        {
            damaged = damaged.message_id(id);
        }
        if let Some(sequence) = parts.expect_last
            && self.fault != Fault::IgnoresExpectLast
        {
            damaged = damaged.expect_last(sequence);
        }
        Ok(damaged)
    }
}

impl Messenger for Faulty {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        Box::pin(async {
            let publish = self.damage(publish)?;
            let ack = self.bus.send(publish.clone()).await?;
            if self.fault == Fault::PublishesTwice {
                self.bus.send(publish).await?;
            }
            Ok(ack)
        })
    }

    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        Box::pin(async move {
            if self.fault != Fault::TearsBatches {
                let batch: Result<_> = batch.into_iter().map(|publish| self.damage(publish)).collect();
                return self.bus.send_all(batch?).await;
            }
            let mut acks = Vec::new();
            for publish in batch {
                acks.push(self.send(publish).await?);
                tokio::task::yield_now().await;
            }
            Ok(acks)
        })
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async {
            let mut parts = subscribe.into_parts()?;
            if self.fault == Fault::DeliversToEveryFilter {
                parts.filter = Filter::new(">")?;
            }
            if self.fault == Fault::StartsAtNew {
                parts.start = StartAt::New;
            }
            let wanted = Subscribe::to(&parts.filter).from(parts.start).buffer(parts.buffer);
            let source = match self.fault {
                Fault::SubscribesLate => {
                    FaultySource { late: Some((self.bus.clone(), wanted)), stream: None, fault: self.fault }
                }
                _ => FaultySource {
                    late: None,
                    stream: Some(self.bus.subscribe(wanted).await?),
                    fault: self.fault,
                },
            };
            Ok(Subscription::new(source))
        })
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
        self.bus.as_durable()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { if self.fault == Fault::ClosesNothing { Ok(()) } else { self.bus.close().await } })
    }

    fn capabilities(&self) -> Capabilities {
        self.bus.capabilities()
    }
}

struct FaultySource {
    late: Option<(InMemBus, Subscribe)>,
    stream: Option<Subscription>,
    fault: Fault,
}

impl Source for FaultySource {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        if let Some((bus, subscribe)) = self.late.take() {
            let Poll::Ready(stream) = bus.subscribe(subscribe).as_mut().poll(cx) else {
                return Poll::Pending;
            };
            self.stream = stream.ok();
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        loop {
            let item =
                futures_core::ready!(futures_core::Stream::poll_next(std::pin::Pin::new(&mut *stream), cx));
            match (&item, self.fault) {
                (Some(Err(_)), Fault::OverflowsSilently) => {}
                (Some(Ok(message)), Fault::LosesEveryTenthEvent) if message.sequence() % 10 == 0 => {}
                _ => return Poll::Ready(item),
            }
        }
    }

    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            match &mut self.stream {
                Some(stream) if self.fault != Fault::UnsubscribesNobody => stream.unsubscribe().await,
                _ => Ok(()),
            }
        })
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
    lost_headers_are_found: LosesHeaders by
        headers_arrive_as_sent_in_their_order_and_as_often
        one_mib_with_headers_arrives;
    lost_events_are_found: LosesEveryTenthEvent by
        when_subscribe_has_returned_an_event_published_after_is_delivered
        events_of_one_publisher_arrive_in_the_order_published
        all_subscribers_see_one_total_order
        a_replay_larger_than_the_buffer_is_whole
        a_replay_amid_publishing_misses_nothing_and_doubles_nothing;
    delivery_to_others_is_found: DeliversToEveryFilter by
        a_published_event_reaches_no_subscriber_whose_filter_does_not_match
        a_replay_delivers_what_its_filter_matches_and_nothing_else;
    events_that_come_twice_are_found: PublishesTwice by
        a_published_event_reaches_every_live_subscriber_whose_filter_matches
        events_of_one_publisher_arrive_in_the_order_published
        dropping_the_future_of_a_publish_leaves_it_wholly_done_or_wholly_not;
    duplicates_are_found: ForgetsMessageIds by
        a_second_message_with_the_same_id_is_acknowledged_as_duplicate_and_not_published
        of_concurrent_messages_with_the_same_id_one_is_published
        a_duplicate_inside_a_batch_is_not_published;
    lost_updates_are_found: IgnoresExpectLast by
        expect_last_publishes_only_if_the_subjects_newest_event_has_that_sequence
        of_concurrent_publishers_that_expect_the_same_sequence_one_succeeds;
    torn_batches_are_found: TearsBatches by
        a_batch_of_which_one_is_refused_publishes_none
        a_batch_is_published_next_to_each_other_and_in_its_order
        more_than_one_mib_is_payload_too_large_before_anything_is_written
        dropping_the_future_of_a_batch_leaves_it_wholly_done_or_wholly_not;
    a_silent_overflow_is_found: OverflowsSilently by
        a_subscriber_that_does_not_read_never_blocks_or_slows_a_publisher_or_another_subscriber
        overflow_of_a_bounded_buffer_is_an_error_item_never_silent;
    a_forgotten_past_is_found: StartsAtNew by
        a_start_at_oldest_delivers_the_log_and_then_what_is_new
        a_start_more_than_one_beyond_the_newest_is_cursor_ahead
        a_start_at_the_last_of_each_subject_delivers_those_in_order_and_then_what_is_new;
    a_late_subscription_is_found: SubscribesLate by
        when_subscribe_has_returned_an_event_published_after_is_delivered;
    a_subscription_without_end_is_found: UnsubscribesNobody by
        unsubscribing_stops_delivery_and_ends_the_stream;
    a_bus_without_end_is_found: ClosesNothing by
        close_ends_every_subscription
        after_close_every_verb_is_closed;
    a_missing_limit_is_found: TakesAnySize by
        more_than_one_mib_is_payload_too_large_before_anything_is_written;
}

/// No more than the contract: live events, no log.
#[derive(Debug)]
struct Bare(InMemBus);

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "this backend has no log"))
}

impl Messenger for Bare {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        Box::pin(async {
            let checked = publish.clone().into_parts()?;
            if checked.expect_last.is_some() { unsupported() } else { self.0.send(publish).await }
        })
    }

    fn send_all(&self, _: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        Box::pin(async { unsupported() })
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async {
            let checked = subscribe.clone().into_parts()?;
            if checked.start == StartAt::New { self.0.subscribe(subscribe).await } else { unsupported() }
        })
    }

    fn last(&self, _: Subject) -> BoxFuture<'_, Result<Option<Message>>> {
        Box::pin(async { unsupported() })
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async { self.0.call(request.if_served()).await })
    }

    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>> {
        Box::pin(async { self.0.call_stream(request.if_served()).await })
    }

    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>> {
        self.0.serve_with(serve, handler)
    }

    fn as_durable(&self) -> Result<Arc<dyn Durable>> {
        unsupported()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.0.close()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }
}

mod a_backend_without_a_log_keeps_the_contract {
    use super::*;

    crate::__conformance_suite!(|| async { Arc::new(Bare(InMemBus::new())) as Arc<dyn Messenger> });
}
