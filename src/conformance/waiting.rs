//! Line 9: answers that do not come in time, and servers that come late.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::support::{
    Chance, Gate, ask, asked, heard, joined, kind, reply_text, serve_echo, serve_telling, spawn_call, told,
    within,
};
use crate::call::Call;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::handler::handler_fn;
use crate::request::Request;
use crate::serve::Serve;

const SHORT: Duration = Duration::from_millis(10);

pub(super) async fn no_answer_in_time_is_request_timeout_and_the_handler_is_cancelled(fixture: &Fixture) {
    let (tell, mut ends) = told();
    let service = fixture.second().serve("a", move |call: Call| {
        let tell = tell.clone();
        async move {
            if asked(&call) == "never" {
                call.part("begun").await?;
                call.cancelled().await;
                assert!(call.is_cancelled());
                tell.send(call.reply("late").await.map_err(|error| error.kind())).unwrap();
            }
            Ok("in time")
        }
    });
    let service = service.await.unwrap();
    // The deadline is waited for, and the handler is to begin before it: on a slow machine at the second or third try.
    for timeout in [30, 150, 800].map(Duration::from_millis) {
        let mut replies =
            within(fixture.bus.call_stream(Request::to("a", "never").timeout(timeout))).await.unwrap();
        let begun = match within(replies.next()).await.unwrap() {
            Ok(part) => reply_text(&part) == "begun",
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::RequestTimeout);
                continue;
            }
        };
        assert!(begun);
        let error = within(replies.next()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestTimeout);
        assert!(within(replies.next()).await.is_none());
        assert_eq!(heard(&mut ends).await, Err(ErrorKind::LeaseLost), "a late reply changes nothing");
        assert_eq!(ask(&fixture.bus, "a", "at once").await, "in time");
        return service.stop().await.unwrap();
    }
    panic!("no handler began in time");
}

pub(super) async fn where_requests_wait_no_server_in_time_is_request_timeout(fixture: &Fixture) {
    if !fixture.bus.capabilities().waits_for_servers {
        return;
    }
    for bus in fixture.handles() {
        let called = within(bus.call(Request::to("nobody", "").timeout(SHORT))).await;
        assert_eq!(kind(called), ErrorKind::RequestTimeout);
    }
}

pub(super) async fn where_requests_wait_a_server_that_starts_late_still_answers(fixture: &Fixture) {
    if !fixture.bus.capabilities().waits_for_servers {
        return;
    }
    let request = |number: usize| Request::to("late", number.to_string());
    let callers: Vec<_> =
        (0..20).map(|number| spawn_call(fixture.handles()[number % 2], request(number))).collect();
    tokio::task::yield_now().await;
    let service = serve_echo(fixture.second(), "late").await;
    for (number, caller) in callers.into_iter().enumerate() {
        assert_eq!(reply_text(&joined(caller).await.unwrap()), number.to_string());
    }
    service.stop().await.unwrap();
}

pub(super) async fn with_no_server_a_request_that_was_to_fail_at_once_is_no_responders(fixture: &Fixture) {
    let refused = async |subject: &str| {
        for bus in fixture.handles() {
            let called = within(bus.call(Request::to(subject, "").if_served())).await;
            assert_eq!(kind(called), ErrorKind::NoResponders);
        }
    };
    refused("a").await;
    let elsewhere = serve_echo(&fixture.bus, "b").await;
    let service = serve_echo(fixture.second(), "a").await;
    for bus in fixture.handles() {
        let reply = within(bus.call(Request::to("a", "served").if_served())).await.unwrap();
        assert_eq!(reply_text(&reply), "served");
    }
    service.stop().await.unwrap();
    refused("a").await;
    drop(elsewhere);
    refused("b").await;
}

pub(super) async fn where_requests_do_not_wait_no_server_is_no_responders(fixture: &Fixture) {
    if fixture.bus.capabilities().waits_for_servers {
        return;
    }
    assert_eq!(kind(within(fixture.bus.request("nobody", "")).await), ErrorKind::NoResponders);
}

pub(super) async fn where_requests_wait_a_deadline_passed_is_a_request_not_run(fixture: &Fixture) {
    if !fixture.bus.capabilities().waits_for_servers {
        return;
    }
    // One waits for a server, the other one for a place: neither begins when it is too late.
    let late = within(fixture.bus.call(Request::to("a", "unserved").timeout(SHORT))).await;
    assert_eq!(kind(late), ErrorKind::RequestTimeout);
    let gate = Gate::shut();
    let (tell, mut calls) = told();
    let waits = gate.clone();
    let handler = handler_fn(move |call: Call| {
        let gate = waits.clone();
        tell.send(asked(&call)).unwrap();
        async move {
            gate.pass().await;
            Ok(asked(&call))
        }
    });
    let serve = Serve::on("a").concurrency(1);
    let service = fixture.second().serve_with(serve, Arc::new(handler)).await.unwrap();
    let first = spawn_call(&fixture.bus, Request::to("a", "first"));
    assert_eq!(heard(&mut calls).await, "first");
    let late = within(fixture.bus.call(Request::to("a", "no place").timeout(SHORT))).await;
    assert_eq!(kind(late), ErrorKind::RequestTimeout);
    gate.open(2);
    assert_eq!(reply_text(&joined(first).await.unwrap()), "first");
    assert_eq!(ask(&fixture.bus, "a", "next").await, "next");
    assert_eq!(heard(&mut calls).await, "next");
    service.stop().await.unwrap();
}

pub(super) async fn a_caller_does_not_get_the_reply_of_another_request(fixture: &Fixture) {
    // Each answer comes late for its own caller, and in time for the next one.
    let (service, mut calls) = serve_telling(fixture.second(), Serve::on("a").concurrency(1)).await;
    for round in 0..30 {
        let request = Request::to("a", format!("short {round}")).timeout(Duration::from_millis(1));
        match within(fixture.bus.call(request)).await {
            Ok(reply) => assert_eq!(reply_text(&reply), format!("short {round}")),
            Err(error) => assert_eq!(error.kind(), ErrorKind::RequestTimeout, "{error}"),
        }
        assert_eq!(ask(&fixture.bus, "a", &format!("long {round}")).await, format!("long {round}"));
    }
    service.stop().await.unwrap();
    let mut handled = Vec::new();
    while let Ok(text) = calls.try_recv() {
        handled.push(text);
    }
    assert_eq!(handled.iter().filter(|text| text.starts_with("long")).count(), 30);
}

pub(super) async fn where_requests_wait_each_is_answered_though_servers_come_and_go(fixture: &Fixture) {
    if !fixture.bus.capabilities().waits_for_servers {
        return;
    }
    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let bus = fixture.handles()[caller % 2].clone();
        callers.spawn(async move {
            for number in 0..50 {
                let body = format!("{caller} {number}");
                assert_eq!(ask(&bus, "a.b", &body).await, body);
            }
        });
    }
    let mut chance = Chance(30);
    while !callers.is_empty() {
        let bus = fixture.handles()[usize::from(chance.below(2) == 0)];
        let filter = ["a.b", "a.*", ">"][chance.below(3) as usize];
        let service = serve_echo(bus, filter).await;
        for _ in 0..chance.below(20) {
            tokio::task::yield_now().await;
        }
        // In good order, or where it stands: what it held is done by the next one.
        if chance.below(2) == 0 {
            within(service.stop()).await.unwrap();
        } else {
            drop(service);
        }
        while let Some(ended) = callers.try_join_next() {
            ended.unwrap();
        }
    }
}
