//! Core NATS: from client to server to client, and nothing stored. So it takes part in delivering and idling alone.

use futures_util::StreamExt;

use super::{Role, round_trip, runtime};
use crate::measure;
use crate::payload::{FILTER, SUBJECT, stamped};
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
        _ => panic!("core NATS stores nothing"),
    }
}
