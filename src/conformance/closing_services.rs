//! Line 13: the end of services.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::fixture::Fixture;
use super::support::{
    Gate, ask, asked, heard, joined, kind, poll_once, reply_text, serve_echo, serve_telling, spawn_call,
    told, within,
};
use crate::call::Call;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::handler::{Handler, handler_fn};
use crate::request::Request;
use crate::serve::Serve;

/// Tells when a handler's future is dropped.
struct Tells(UnboundedSender<&'static str>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send("is dropped");
    }
}

/// A handler that tells when it begins, and waits at the gate before it answers.
fn waiting_at(gate: &Gate) -> (Arc<dyn Handler>, UnboundedReceiver<&'static str>) {
    let (tell, stations) = told();
    let gate = gate.clone();
    let handler = handler_fn(move |call: Call| {
        let (tell, gate) = (tell.clone(), gate.clone());
        async move {
            tell.send("begins").unwrap();
            let _ends = Tells(tell.clone());
            gate.pass().await;
            tell.send("passes").unwrap();
            Ok(asked(&call))
        }
    });
    (Arc::new(handler), stations)
}

pub(super) async fn close_ends_every_service(fixture: &Fixture) {
    let mut services = vec![
        serve_echo(&fixture.bus, "a").await,
        serve_echo(&fixture.bus, "a").await,
        serve_echo(&fixture.bus, ">").await,
    ];
    assert_eq!(ask(&fixture.bus, "a", "served").await, "served");
    assert!(poll_once(pin!(services[0].ended())).await.is_pending());
    fixture.bus.close().await.unwrap();
    for service in &mut services {
        within(service.ended()).await.unwrap();
    }
    for service in services {
        service.stop().await.unwrap();
    }
}

pub(super) async fn close_waits_for_running_handlers(fixture: &Fixture) {
    let gate = Gate::shut();
    let (handler, mut stations) = waiting_at(&gate);
    let service = fixture.bus.serve_with(Serve::on("a"), handler).await.unwrap();
    let caller = spawn_call(fixture.second(), Request::to("a", "body"));
    assert_eq!(heard(&mut stations).await, "begins");
    {
        let mut closes = pin!(fixture.bus.close());
        for _ in 0..10 {
            assert!(poll_once(closes.as_mut()).await.is_pending(), "a handler still runs");
            tokio::task::yield_now().await;
        }
        gate.open(1);
        within(closes).await.unwrap();
    }
    assert_eq!(heard(&mut stations).await, "passes");
    match joined(caller).await {
        Ok(reply) => assert_eq!(reply_text(&reply), "body"),
        // Where the caller's bus was closed as well.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
    }
    drop(service);
}

pub(super) async fn close_waits_for_handlers_no_longer_than_their_grace(fixture: &Fixture) {
    let gate = Gate::shut();
    let (handler, mut stations) = waiting_at(&gate);
    let serve = Serve::on("a").grace(Duration::from_millis(5));
    let mut service = fixture.bus.serve_with(serve, handler).await.unwrap();
    let caller = spawn_call(&fixture.bus, Request::to("a", ""));
    assert_eq!(heard(&mut stations).await, "begins");
    within(fixture.bus.close()).await.unwrap();
    assert_eq!(heard(&mut stations).await, "is dropped");
    within(service.ended()).await.unwrap();
    assert_eq!(kind(joined(caller).await), ErrorKind::Closed);
}

pub(super) async fn where_requests_wait_a_caller_who_waits_when_its_bus_is_closed_gets_closed(
    fixture: &Fixture,
) {
    if !fixture.bus.capabilities().waits_for_servers {
        return;
    }
    let caller = spawn_call(&fixture.bus, Request::to("nobody", ""));
    let mut replies = within(fixture.bus.request_stream("nobody", "")).await.unwrap();
    fixture.bus.close().await.unwrap();
    assert_eq!(kind(joined(caller).await), ErrorKind::Closed);
    let error = within(replies.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(within(replies.next()).await.is_none());
}

pub(super) async fn a_service_that_is_stopped_finishes_what_it_holds_and_takes_nothing_new(
    fixture: &Fixture,
) {
    let gate = Gate::shut();
    let (handler, mut stations) = waiting_at(&gate);
    let service = fixture.bus.serve_with(Serve::on("a"), handler).await.unwrap();
    let held = spawn_call(fixture.second(), Request::to("a", "held"));
    assert_eq!(heard(&mut stations).await, "begins");
    let mut stops = pin!(service.stop());
    assert!(poll_once(stops.as_mut()).await.is_pending(), "a handler still runs");
    let (other, mut calls) = serve_telling(fixture.second(), Serve::on("a")).await;
    assert_eq!(ask(&fixture.bus, "a", "new").await, "new");
    assert_eq!(heard(&mut calls).await, "new");
    gate.open(1);
    within(stops).await.unwrap();
    assert_eq!(reply_text(&joined(held).await.unwrap()), "held");
    assert_eq!((heard(&mut stations).await, heard(&mut stations).await), ("passes", "is dropped"));
    other.stop().await.unwrap();
    assert_eq!(calls.recv().await, None, "what was held was not done again");
}

pub(super) async fn what_a_stopped_service_does_not_finish_within_its_grace_is_given_to_another(
    fixture: &Fixture,
) {
    let gate = Gate::shut();
    let (handler, mut stations) = waiting_at(&gate);
    let serve = Serve::on("a").grace(Duration::from_millis(5));
    let service = fixture.bus.serve_with(serve, handler).await.unwrap();
    let held = spawn_call(fixture.second(), Request::to("a", ""));
    assert_eq!(heard(&mut stations).await, "begins");
    let handle = |call: Call| async move { Ok(call.attempt().to_string()) };
    let other = fixture.second().serve("a", handle).await.unwrap();
    within(service.stop()).await.unwrap();
    assert_eq!(heard(&mut stations).await, "is dropped");
    if fixture.bus.capabilities().waits_for_servers {
        assert_eq!(reply_text(&joined(held).await.unwrap()), "2");
    }
    other.stop().await.unwrap();
}

pub(super) async fn dropping_a_service_gives_what_it_held_to_another(fixture: &Fixture) {
    let gate = Gate::shut();
    let (handler, mut stations) = waiting_at(&gate);
    let service = fixture.bus.serve_with(Serve::on("a"), handler).await.unwrap();
    let held = spawn_call(fixture.second(), Request::to("a", ""));
    assert_eq!(heard(&mut stations).await, "begins");
    drop(service);
    assert_eq!(heard(&mut stations).await, "is dropped");
    if fixture.bus.capabilities().waits_for_servers {
        let handle = |call: Call| async move { Ok(call.attempt().to_string()) };
        let other = fixture.second().serve("a", handle).await.unwrap();
        assert_eq!(reply_text(&joined(held).await.unwrap()), "2");
        other.stop().await.unwrap();
    }
}

pub(super) async fn a_request_that_was_not_to_be_given_to_another_is_server_lost(fixture: &Fixture) {
    if !fixture.bus.capabilities().waits_for_servers {
        return;
    }
    let gate = Gate::shut();
    let (handler, mut stations) = waiting_at(&gate);
    let service = fixture.bus.serve_with(Serve::on("a"), handler).await.unwrap();
    let held = spawn_call(fixture.second(), Request::to("a", "once").redeliver(false));
    assert_eq!(heard(&mut stations).await, "begins");
    let (other, mut calls) = serve_telling(fixture.second(), Serve::on("a")).await;
    drop(service);
    assert_eq!(kind(joined(held).await), ErrorKind::ServerLost);
    assert_eq!(ask(fixture.second(), "a", "next").await, "next");
    assert_eq!(heard(&mut calls).await, "next");
    other.stop().await.unwrap();
}
