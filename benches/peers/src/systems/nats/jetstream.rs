//! JetStream: file storage, the settings as they come. Every publish waits for its acknowledgement, which does not mean
//! that it is flushed. Readers are ordered consumers, and who works is a durable pull consumer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::stream::{Config, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, jetstream::consumer::DeliverPolicy};
use futures_util::StreamExt;

use super::{Role, runtime};
use crate::measure::{self, Meter, micros};
use crate::payload::{FILTER, PAYLOAD, SIZE, SUBJECT, stamped};
use crate::process::{ready, report};
use crate::sample::Report;

const IN_FLIGHT: usize = 256;

pub fn play(address: &str, role: Role) {
    let runtime = runtime();
    // The client starts tasks wherever it is used or dropped.
    let _entered = runtime.enter();
    let client = runtime.block_on(async_nats::connect(address)).unwrap();
    let context = jetstream::new(client.clone());
    let stream = runtime.block_on(stream(&context));
    match role {
        Role::PublishOne { time, .. } => {
            ready();
            report(&runtime.block_on(measure::repeat_async(time, async || publish(&context).await)));
        }
        Role::PublishMany { time, .. } => {
            ready();
            report(&runtime.block_on(in_flight(&context, |_, elapsed| elapsed < time)));
        }
        Role::Fill { count } | Role::Enqueue { count } => {
            runtime.block_on(in_flight(&context, |sent, _| sent < count));
            super::super::filled();
        }
        Role::Replay { count } => {
            ready();
            report(&measure::replay(count, || runtime.block_on(replay(&client, &stream, count))));
        }
        Role::Send { count } => {
            ready();
            report(&measure::send(count, |now| {
                runtime.block_on(async {
                    context.publish(SUBJECT, stamped(now).into()).await.unwrap().await.unwrap();
                });
            }));
        }
        Role::Receive { count, .. } => {
            let mut messages = runtime.block_on(consume(&client, &stream, FILTER, DeliverPolicy::New));
            ready();
            report(&measure::receive_payloads(count, || {
                runtime.block_on(messages.next()).unwrap().unwrap().message.payload.into()
            }));
        }
        Role::Idle { streams, token } => {
            let consume = |at| {
                let filter = format!("{token}.{at}.>");
                runtime.block_on(consume(&client, &stream, &filter, DeliverPolicy::New))
            };
            let _idle: Vec<_> = (0..streams).map(consume).collect();
            super::super::idle();
        }
        Role::Serve | Role::Request { .. } => panic!("requests are those of core NATS"),
        Role::Claim(claim) => {
            let workers = runtime.block_on(workers(&stream));
            ready();
            report(&measure::claims(claim.time, claim.batch, || {
                runtime.block_on(fetch_and_ack(&workers, claim.batch))
            }));
        }
    }
}

async fn stream(context: &Context) -> Stream {
    let subjects = vec![FILTER.to_owned(), "idle.>".to_owned()];
    let config =
        Config { name: "PEERS".to_owned(), subjects, storage: StorageType::File, ..Default::default() };
    context.get_or_create_stream(config).await.unwrap()
}

async fn consume(client: &Client, stream: &Stream, filter: &str, from: DeliverPolicy) -> Ordered {
    let config = OrderedConfig {
        deliver_subject: client.new_inbox(),
        filter_subject: filter.to_owned(),
        deliver_policy: from,
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap().messages().await.unwrap()
}

async fn publish(context: &Context) {
    send(context).await.await.unwrap();
}

async fn send(context: &Context) -> PublishAckFuture {
    context.publish(SUBJECT, PAYLOAD[..].into()).await.unwrap()
}

/// Publishes while it may, with so many waiting for their acknowledgements, which come in order.
async fn in_flight(context: &Context, go_on: impl Fn(usize, Duration) -> bool) -> Report {
    let (meter, mut sent, mut delays) = (Meter::start(), 0, Vec::new());
    let mut waiting: VecDeque<(Instant, PublishAckFuture)> = VecDeque::with_capacity(IN_FLIGHT);
    while go_on(sent, meter.elapsed()) {
        if waiting.len() == IN_FLIGHT {
            let (start, ack) = waiting.pop_front().unwrap();
            ack.await.unwrap();
            delays.push(micros(start));
        }
        waiting.push_back((Instant::now(), send(context).await));
        sent += 1;
    }
    for (start, ack) in waiting {
        ack.await.unwrap();
        delays.push(micros(start));
    }
    meter.stop(Some(delays.len()), delays)
}

async fn replay(client: &Client, stream: &Stream, count: usize) -> (usize, usize) {
    let mut messages = consume(client, stream, FILTER, DeliverPolicy::All).await;
    let mut bytes = 0;
    for _ in 0..count {
        bytes += messages.next().await.unwrap().unwrap().message.payload.len();
    }
    (count, bytes)
}

async fn workers(stream: &Stream) -> PullConsumer {
    let config = pull::Config {
        durable_name: Some("workers".to_owned()),
        filter_subject: SUBJECT.to_owned(),
        ..Default::default()
    };
    stream.create_consumer(config).await.unwrap()
}

/// An acknowledgement is not waited for: the next fetch goes the same way, so that the server has had it by then.
async fn fetch_and_ack(workers: &PullConsumer, batch: usize) -> usize {
    let mut messages = workers.fetch().max_messages(batch).messages().await.unwrap();
    let mut done = 0;
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        assert_eq!(message.payload.len(), SIZE);
        message.ack().await.unwrap();
        done += 1;
    }
    done
}
