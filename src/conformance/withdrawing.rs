//! Line 10: the future of a request is dropped.

use std::pin::pin;
use std::task::Poll;

use super::fixture::Fixture;
use super::support::{
    Chance, Gate, ask, asked, heard, heard_all, poll_once, reply_text, serve_telling, spawn_call, told,
    within,
};
use crate::call::Call;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::request::Request;
use crate::serve::Serve;

pub(super) async fn dropping_the_future_of_a_request_that_is_unclaimed_withdraws_it(fixture: &Fixture) {
    let mut chance = Chance(20);
    for number in 0..50 {
        let mut call = pin!(fixture.bus.request("a", format!("dropped {number}")));
        for _ in 0..chance.below(4) {
            if let Poll::Ready(answer) = poll_once(call.as_mut()).await {
                assert!(answer.is_err(), "nobody serves it: {answer:?}");
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    if let Ok(stream) = within(fixture.bus.request_stream("a", "dropped as a stream")).await {
        drop(stream);
    }
    let (service, mut calls) = serve_telling(&fixture.bus, Serve::on("a").concurrency(1)).await;
    assert_eq!(ask(&fixture.bus, "a", "after").await, "after");
    assert_eq!(heard(&mut calls).await, "after");
    service.stop().await.unwrap();
}

pub(super) async fn dropping_the_future_of_a_request_that_is_claimed_cancels_its_handler(fixture: &Fixture) {
    let (tell, mut stations) = told();
    let service = fixture.second().serve("a", move |call: Call| {
        let tell = tell.clone();
        async move {
            if asked(&call) == "dropped" {
                assert!(!call.is_cancelled());
                tell.send("begins".to_owned()).unwrap();
                call.cancelled().await;
                // It stays so.
                call.cancelled().await;
                tell.send("cancelled".to_owned()).unwrap();
            }
            Ok(asked(&call))
        }
    });
    let service = service.await.unwrap();
    for round in 0..10 {
        if round % 2 == 0 {
            let caller = spawn_call(&fixture.bus, Request::to("a", "dropped"));
            assert_eq!(heard(&mut stations).await, "begins");
            caller.abort();
        } else {
            let replies = within(fixture.bus.request_stream("a", "dropped")).await.unwrap();
            assert_eq!(heard(&mut stations).await, "begins");
            drop(replies);
        }
        assert_eq!(heard(&mut stations).await, "cancelled");
        assert_eq!(ask(&fixture.bus, "a", "next").await, "next");
    }
    service.stop().await.unwrap();
}

pub(super) async fn dropping_the_future_of_a_request_at_any_point_leaves_no_handler_that_is_not_told(
    fixture: &Fixture,
) {
    let (tell, mut stations) = told();
    let service = fixture.bus.serve("a", move |call: Call| {
        let tell = tell.clone();
        async move {
            tell.send(1_i64).unwrap();
            call.cancelled().await;
            tell.send(-1).unwrap();
            Ok(())
        }
    });
    let service = service.await.unwrap();
    let mut chance = Chance(22);
    let (mut begun, mut running) = (0, 0);
    // Those that are not told would at last take all places, and nobody else would begin.
    while begun < 100 {
        let replies = within(fixture.bus.request_stream("a", "")).await.unwrap();
        if chance.below(16) == 0 {
            running += heard(&mut stations).await;
            begun += 1;
        } else {
            for _ in 0..chance.below(2_000) {
                std::hint::spin_loop();
            }
        }
        drop(replies);
        while let Ok(station) = stations.try_recv() {
            running += station;
            begun += i64::from(station > 0);
        }
    }
    while running > 0 {
        running += heard(&mut stations).await;
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_late_reply_is_discarded(fixture: &Fixture) {
    let gate = Gate::shut();
    let (tell, mut stations) = told();
    let waits = gate.clone();
    let service = fixture.second().serve("a", move |call: Call| {
        let (tell, gate) = (tell.clone(), waits.clone());
        async move {
            if asked(&call) == "dropped" {
                tell.send(None).unwrap();
                call.cancelled().await;
                gate.pass().await;
                let part = call.part("late").await.map_err(|error| error.kind());
                let reply = call.reply("late").await.map_err(|error| error.kind());
                tell.send(Some((part, reply))).unwrap();
            }
            Ok(format!("reply to {}", asked(&call)))
        }
    });
    let service = service.await.unwrap();
    let callers: Vec<_> = (0..5).map(|_| spawn_call(&fixture.bus, Request::to("a", "dropped"))).collect();
    heard_all(&mut stations, 5).await;
    for caller in callers {
        caller.abort();
    }
    let mut next = within(fixture.bus.request_stream("a", "next")).await.unwrap();
    gate.open(5);
    for late in heard_all(&mut stations, 5).await {
        assert_eq!(late, Some((Err(ErrorKind::LeaseLost), Err(ErrorKind::LeaseLost))));
    }
    let reply = within(next.next()).await.unwrap().unwrap();
    assert_eq!((reply_text(&reply), reply.is_final()), ("reply to next".to_owned(), true));
    service.stop().await.unwrap();
}

pub(super) async fn dropping_the_future_of_the_next_reply_loses_nothing(fixture: &Fixture) {
    let gate = Gate::shut();
    let waits = gate.clone();
    let service = fixture.second().serve("a", move |call: Call| {
        let gate = waits.clone();
        async move {
            for number in 0..50 {
                gate.pass().await;
                call.part(number.to_string()).await?;
            }
            Ok("end")
        }
    });
    let service = service.await.unwrap();
    let mut replies = within(fixture.bus.request_stream("a", "")).await.unwrap();
    for number in 0..50 {
        assert!(poll_once(pin!(replies.next())).await.is_pending());
        gate.open(1);
        let polled = poll_once(pin!(replies.next())).await;
        let reply = match polled {
            Poll::Ready(reply) => reply,
            Poll::Pending => within(replies.next()).await,
        };
        assert_eq!(reply_text(&reply.unwrap().unwrap()), number.to_string());
    }
    assert_eq!(reply_text(&within(replies.next()).await.unwrap().unwrap()), "end");
    service.stop().await.unwrap();
}

pub(super) async fn dropping_the_future_of_a_serve_leaves_nothing_behind(fixture: &Fixture) {
    let mut chance = Chance(21);
    for _ in 0..50 {
        let mut serve = pin!(fixture.bus.serve("a", |_: Call| async { Ok("from one that was dropped") }));
        for _ in 0..chance.below(3) {
            if poll_once(serve.as_mut()).await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let (service, _calls) = serve_telling(&fixture.bus, Serve::on("a")).await;
    for _ in 0..20 {
        assert_eq!(ask(&fixture.bus, "a", "after").await, "after");
    }
    service.stop().await.unwrap();
}
