//! Lines 4 and 7: who answers a request, and how.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Barrier;

use super::delivery::FILTERS;
use super::fixture::Fixture;
use super::support::{
    Gate, ask, asked, heard, joined, kind, poll_once, reply_text, serve_echo, spawn_call, told, within,
};
use crate::call::Call;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::handler::handler_fn;
use crate::reply::Response;
use crate::request::Request;
use crate::serve::Serve;

pub(super) async fn when_serve_has_returned_a_request_made_after_is_answered(fixture: &Fixture) {
    for round in 0..40 {
        let [server, caller] = match round % 4 {
            0 => [&fixture.bus, fixture.second()],
            1 => [fixture.second(), &fixture.bus],
            2 => [&fixture.bus, &fixture.bus],
            _ => [fixture.second(), fixture.second()],
        };
        let service = serve_echo(server, "round.*").await;
        let request = Request::to(format!("round.{}", round % 10), round.to_string()).if_served();
        let reply = within(caller.call(request)).await.unwrap();
        assert_eq!(reply_text(&reply), round.to_string());
        service.stop().await.unwrap();
    }
}

pub(super) async fn a_request_is_answered_by_exactly_one_server(fixture: &Fixture) {
    const REQUESTS: usize = 100;
    let (tell, mut calls) = told();
    let mut services = Vec::new();
    for server in 0..4 {
        let tell = tell.clone();
        let handle = move |call: Call| {
            tell.send((asked(&call), server)).unwrap();
            async move { Ok(format!("{} from {server}", asked(&call))) }
        };
        services.push(fixture.handles()[server % 2].serve("a", handle).await.unwrap());
    }
    let mut callers = Vec::new();
    for number in 0..REQUESTS {
        callers.push(spawn_call(fixture.handles()[number % 2], Request::to("a", number.to_string())));
    }
    let mut answers = HashSet::new();
    for caller in callers {
        answers.insert(reply_text(&joined(caller).await.unwrap()));
    }
    for service in services {
        service.stop().await.unwrap();
    }
    drop(tell);
    let mut handled = HashMap::new();
    while let Some((request, server)) = calls.recv().await {
        assert_eq!(handled.insert(request.clone(), server), None, "request {request} was handled twice");
    }
    let handled: HashSet<String> =
        handled.into_iter().map(|(request, server)| format!("{request} from {server}")).collect();
    assert_eq!(handled.len(), REQUESTS);
    assert_eq!(answers, handled);
}

pub(super) async fn the_reply_is_parts_in_order_and_then_one_final_reply(fixture: &Fixture) {
    const PARTS: usize = 200;
    let service = fixture.second().serve("a", |call: Call| async move {
        for number in 0..PARTS {
            call.part(Response::new(number.to_string()).header("Part", &number.to_string())?).await?;
        }
        Ok(Response::new("the end").header("Part", "none")?)
    });
    let service = service.await.unwrap();
    for bus in fixture.handles() {
        let mut replies = within(bus.request_stream("a", "")).await.unwrap();
        for number in 0..PARTS {
            let part = within(replies.next()).await.unwrap().unwrap();
            assert_eq!((reply_text(&part), part.is_final()), (number.to_string(), false));
            assert_eq!((part.headers().get("Part"), part.attempt()), (Some(&*number.to_string()), 1));
        }
        let last = within(replies.next()).await.unwrap().unwrap();
        assert_eq!((reply_text(&last), last.is_final()), ("the end".to_owned(), true));
        assert_eq!(last.headers().get("Part"), Some("none"));
        assert!(within(replies.next()).await.is_none(), "nothing comes behind the final reply");
        assert_eq!(ask(bus, "a", "").await, "the end", "who does not want parts gets the final reply");
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_part_arrives_while_its_handler_still_works(fixture: &Fixture) {
    let (tell, mut stations) = told();
    let gate = Gate::shut();
    let waits = gate.clone();
    let service = fixture.second().serve("a", move |call: Call| {
        let (tell, gate) = (tell.clone(), waits.clone());
        async move {
            call.part("half").await?;
            gate.pass().await;
            tell.send("goes on").unwrap();
            Ok("whole")
        }
    });
    let service = service.await.unwrap();
    let mut replies = within(fixture.bus.request_stream("a", "")).await.unwrap();
    assert_eq!(reply_text(&within(replies.next()).await.unwrap().unwrap()), "half");
    gate.open(1);
    assert_eq!(heard(&mut stations).await, "goes on");
    assert_eq!(reply_text(&within(replies.next()).await.unwrap().unwrap()), "whole");
    service.stop().await.unwrap();
}

pub(super) async fn servers_of_a_subject_share_its_load(fixture: &Fixture) {
    if !fixture.bus.capabilities().shared_queue {
        return each_server_gets_some(fixture).await;
    }
    // Each handler waits for the other: both requests end only if each server has one.
    let both = Arc::new(Barrier::new(2));
    let mut services = Vec::new();
    for (number, bus) in fixture.handles().into_iter().enumerate() {
        let both = Arc::clone(&both);
        let handler = handler_fn(move |_: Call| {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
                Ok(number.to_string())
            }
        });
        let serve = Serve::on("a").concurrency(1);
        services.push(bus.serve_with(serve, Arc::new(handler)).await.unwrap());
    }
    for _ in 0..10 {
        let callers = fixture.handles().map(|bus| spawn_call(bus, Request::to("a", "")));
        let mut answers = HashSet::new();
        for caller in callers {
            answers.insert(reply_text(&joined(caller).await.unwrap()));
        }
        assert_eq!(answers.len(), 2);
    }
    for service in services {
        service.stop().await.unwrap();
    }
}

/// Where requests are dealt out: of so many, a server that is passed over is none of the group.
async fn each_server_gets_some(fixture: &Fixture) {
    let mut services = Vec::new();
    for (number, bus) in fixture.handles().into_iter().enumerate() {
        services.push(bus.serve("a", move |_: Call| async move { Ok(number.to_string()) }).await.unwrap());
    }
    let mut answers = HashSet::new();
    for number in 0..200 {
        answers.insert(ask(fixture.handles()[number % 2], "a", "").await);
    }
    assert_eq!(answers.len(), 2);
    for service in services {
        service.stop().await.unwrap();
    }
}

pub(super) async fn a_server_with_a_wildcard_serves_what_its_filter_matches_and_nothing_else(
    fixture: &Fixture,
) {
    for (filter, matching, others) in FILTERS {
        let handle = |call: Call| async move { Ok(call.subject().as_str().to_owned()) };
        let service = fixture.second().serve(*filter, handle).await.unwrap();
        assert_eq!(ask(&fixture.bus, matching, "").await, *matching, "{filter}");
        for other in *others {
            let refused = within(fixture.bus.call(Request::to(*other, "").if_served())).await;
            assert_eq!(kind(refused), ErrorKind::NoResponders, "{filter} serves no {other}");
        }
        service.stop().await.unwrap();
    }
}

pub(super) async fn a_service_runs_as_many_handlers_as_its_concurrency_and_never_more(fixture: &Fixture) {
    const LIMIT: usize = 3;
    let running = Arc::new(AtomicUsize::new(0));
    // A handler goes on when as many run as may.
    let together = Arc::new(Barrier::new(LIMIT));
    let (tell, mut most) = told();
    let handler = handler_fn(move |_: Call| {
        let (running, together, tell) = (Arc::clone(&running), Arc::clone(&together), tell.clone());
        async move {
            tell.send(running.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
            together.wait().await;
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let serve = Serve::on("a").concurrency(LIMIT);
    let service = fixture.second().serve_with(serve, Arc::new(handler)).await.unwrap();
    let callers: Vec<_> = (0..10 * LIMIT).map(|_| spawn_call(&fixture.bus, Request::to("a", ""))).collect();
    let handlers = callers.len();
    for caller in callers {
        joined(caller).await.unwrap();
    }
    service.stop().await.unwrap();
    for _ in 0..handlers {
        let running = heard(&mut most).await;
        assert!(running <= LIMIT, "{running} handlers run at once");
    }
}

pub(super) async fn a_call_has_what_was_asked_and_an_id_of_its_own(fixture: &Fixture) {
    let (tell, mut calls) = told();
    let service = fixture.second().serve("a.*", move |call: Call| {
        tell.send(call).unwrap();
        async { Ok(()) }
    });
    let service = service.await.unwrap();
    let mut ids = HashSet::new();
    for number in 0..5 {
        let reply = within(fixture.bus.request(format!("a.{number}"), "body")).await.unwrap();
        assert!(reply.is_final() && reply.payload().is_empty());
        let call = heard(&mut calls).await;
        assert_eq!(call.subject().as_str(), format!("a.{number}"));
        assert_eq!((call.text(), call.attempt()), (Some("body"), 1));
        assert!(!call.id().is_empty() && ids.insert(call.id().to_owned()));
    }
    service.stop().await.unwrap();
}

pub(super) async fn an_early_reply_is_the_answer_and_what_the_handler_returns_is_not(fixture: &Fixture) {
    let service = fixture.second().serve("a", |call: Call| async move {
        call.reply("early").await?;
        Ok("late")
    });
    let service = service.await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&fixture.bus, "a", "").await, "early");
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_handler_that_has_answered_has_its_place_until_its_end(fixture: &Fixture) {
    let gate = Gate::shut();
    let (tell, mut stations) = told();
    let waits = gate.clone();
    let handler = handler_fn(move |call: Call| {
        let (gate, tell) = (waits.clone(), tell.clone());
        async move {
            tell.send(asked(&call)).unwrap();
            call.reply(asked(&call)).await?;
            gate.pass().await;
            tell.send(format!("end of {}", asked(&call))).unwrap();
            Ok("too late")
        }
    });
    let serve = Serve::on("a").concurrency(1);
    let service = fixture.second().serve_with(serve, Arc::new(handler)).await.unwrap();
    assert_eq!(ask(&fixture.bus, "a", "first").await, "first");
    let second = spawn_call(&fixture.bus, Request::to("a", "second"));
    gate.open(1);
    assert_eq!(reply_text(&joined(second).await.unwrap()), "second");
    let mut stops = Box::pin(service.stop());
    assert!(poll_once(stops.as_mut()).await.is_pending(), "a handler still runs");
    gate.open(1);
    within(stops).await.unwrap();
    for station in ["first", "end of first", "second", "end of second"] {
        assert_eq!(heard(&mut stations).await, station);
    }
}
