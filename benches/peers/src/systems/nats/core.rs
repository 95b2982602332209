//! Core NATS: from client to server to client, and nothing stored. So it takes part in delivering, requests
//! and idling alone.

use futures_util::StreamExt;

use super::{Role, round_trip, runtime};
use crate::measure::{self, WARM_UP};
use crate::payload::{FILTER, PAYLOAD, SUBJECT, stamped};
use crate::process::{ready, report};

pub fn play(address: &str, role: Role) {
    let runtime = runtime();
    // The client starts tasks wherever it is used or dropped.
    let _entered = runtime.enter();
    let client = runtime.block_on(async_nats::connect(address)).unwrap();
    match role {
        Role::Send { count } => {
            ready();
            report(&measure::send(count, |now| {
                runtime.block_on(client.publish(SUBJECT, stamped(now).into())).unwrap();
            }));
        }
        Role::Receive { count, .. } => {
            let mut messages = runtime.block_on(client.subscribe(FILTER)).unwrap();
            runtime.block_on(round_trip(&client));
            ready();
            report(&measure::receive_payloads(count, || {
                runtime.block_on(messages.next()).unwrap().payload.into()
            }));
        }
        Role::Idle { streams, token } => {
            let subscribe = |at| client.subscribe(format!("{token}.{at}.>"));
            let _idle: Vec<_> = (0..streams).map(|at| runtime.block_on(subscribe(at)).unwrap()).collect();
            runtime.block_on(round_trip(&client));
            super::super::idle();
        }
        Role::Serve => {
            let group = "servers".to_owned();
            let mut requests = runtime.block_on(client.queue_subscribe(SUBJECT, group)).unwrap();
            runtime.block_on(round_trip(&client));
            runtime.spawn(async move {
                while let Some(request) = requests.next().await {
                    let reply = request.reply.expect("who asks wants a reply");
                    client.publish(reply, request.payload).await.unwrap();
                }
            });
            super::super::idle();
        }
        Role::Request { time, callers } => {
            let ask = move || {
                let client = client.clone();
                async move {
                    assert_eq!(
                        client.request(SUBJECT, PAYLOAD[..].into()).await.unwrap().payload,
                        PAYLOAD[..]
                    );
                }
            };
            runtime.block_on(async {
                for _ in 0..WARM_UP {
                    ask().await;
                }
            });
            ready();
            report(&runtime.block_on(measure::requests(callers, time, ask)));
        }
        _ => panic!("core NATS stores nothing"),
    }
}
