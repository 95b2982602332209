//! Line 8: handlers that fail.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fixture::Fixture;
use super::support::{Gate, ask, asked, heard, joined, spawn_call, told, within};
use crate::call::Call;
use crate::defaults::MAX_PAYLOAD;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::handler::{HandlerError, handler_fn};
use crate::reply::Response;
use crate::request::Request;
use crate::serve::Serve;

pub(super) async fn a_handlers_error_is_handler_with_its_message_code_and_body(fixture: &Fixture) {
    let service = fixture.second().serve("a", |call: Call| async move {
        match call.text() {
            Some("plain") => Err(HandlerError::new("no such pizza")),
            Some("full") => {
                let error = HandlerError::new("no such\npizza").with_code("E_NONE");
                Err(error.with_body(b"\0{}\xff".as_slice()))
            }
            // Of requests nothing is tried again.
            Some("fatal") => Err(HandlerError::new("never").fatal().retry_at(chrono::Utc::now())),
            _ => Ok(call.text().unwrap_or_default().parse::<u32>()?.to_string()),
        }
    });
    let service = service.await.unwrap();
    for bus in fixture.handles() {
        let fail = async |body: &'static str| {
            let error = within(bus.request("a", body)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Handler);
            error
        };
        let plain = fail("plain").await;
        assert_eq!((plain.to_string().as_str(), plain.code()), ("no such pizza", None));
        assert!(plain.body().is_empty());
        let full = fail("full").await;
        assert_eq!((full.to_string().as_str(), full.code()), ("no such\npizza", Some("E_NONE")));
        assert_eq!(full.body().as_ref(), b"\0{}\xff");
        assert_eq!(fail("fatal").await.to_string(), "never");
        assert_eq!(fail("x").await.to_string(), "x".parse::<u32>().unwrap_err().to_string());
        assert_eq!(ask(bus, "a", "7").await, "7");
    }
    service.stop().await.unwrap();
}

pub(super) async fn parts_come_before_a_handlers_error(fixture: &Fixture) {
    let service = fixture.second().serve("a", |call: Call| async move {
        call.part("half").await?;
        Err::<(), _>(HandlerError::new("broken"))
    });
    let service = service.await.unwrap();
    let mut replies = within(fixture.bus.request_stream("a", "")).await.unwrap();
    assert_eq!(within(replies.next()).await.unwrap().unwrap().text(), Some("half"));
    let error = within(replies.next()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Handler, "broken"));
    assert!(within(replies.next()).await.is_none());
    service.stop().await.unwrap();
}

pub(super) async fn a_handlers_panic_is_handler_and_its_service_goes_on(fixture: &Fixture) {
    let service = fixture.second().serve("a", |call: Call| {
        assert!(call.text() != Some("at once"), "a panic before there is a future");
        async move {
            tokio::task::yield_now().await;
            assert!(call.text() != Some("later"), "a panic in the future");
            Ok(asked(&call))
        }
    });
    let service = service.await.unwrap();
    // More than the service runs at once, so that a panic costs no place.
    for round in 0..20 {
        let (body, said) = [("at once", "before there is"), ("later", "in the future")][round % 2];
        let error = within(fixture.bus.request("a", body)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Handler);
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!(ask(&fixture.bus, "a", "goes on").await, "goes on");
    service.stop().await.unwrap();
}

pub(super) async fn a_reply_that_is_too_large_is_handler_and_its_service_goes_on(fixture: &Fixture) {
    let (tell, mut parts) = told();
    let service = fixture.second().serve("a", move |call: Call| {
        let tell = tell.clone();
        async move {
            let large = || Response::new(vec![7; 2 * MAX_PAYLOAD]);
            match call.text() {
                Some("reply") => Ok(large()),
                Some("part") => {
                    let _ = tell.send(call.part(large()).await.unwrap_err().kind());
                    let _ = tell.send(call.reply(large()).await.unwrap_err().kind());
                    Ok(Response::new("too large"))
                }
                _ => Ok(Response::new(vec![7; MAX_PAYLOAD])),
            }
        }
    });
    let service = service.await.unwrap();
    let error = within(fixture.bus.request("a", "reply")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler);
    assert!(error.to_string().contains(&(2 * MAX_PAYLOAD).to_string()), "{error}");
    assert_eq!(ask(&fixture.bus, "a", "part").await, "too large");
    let (size, limit) = (2 * MAX_PAYLOAD as u64, MAX_PAYLOAD as u64);
    for _ in 0..2 {
        assert_eq!(heard(&mut parts).await, ErrorKind::PayloadTooLarge { size, limit });
    }
    let largest = within(fixture.bus.request("a", "largest")).await.unwrap();
    assert_eq!(largest.payload().len(), MAX_PAYLOAD);
    service.stop().await.unwrap();
}

pub(super) async fn a_handler_that_blocks_its_thread_does_not_stop_other_calls(fixture: &Fixture) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let (tell, mut blocked) = told();
    let service = fixture.bus.serve("a", move |call: Call| {
        let (wait, tell) = (Arc::clone(&wait), tell.clone());
        async move {
            if call.text() == Some("block") {
                let wait = wait.lock().unwrap();
                tell.send(()).unwrap();
                // It would go on by itself, should the case fail.
                let _ = wait.recv_timeout(Duration::from_secs(30));
            }
            Ok(asked(&call))
        }
    });
    let service = service.await.unwrap();
    for _ in 0..5 {
        let blocking = spawn_call(&fixture.bus, Request::to("a", "block"));
        heard(&mut blocked).await;
        for bus in fixture.handles() {
            assert_eq!(ask(bus, "a", "quick").await, "quick");
        }
        go.send(()).unwrap();
        assert_eq!(joined(blocking).await.unwrap().text(), Some("block"));
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_reply_reaches_its_caller_though_the_next_handler_blocks_its_thread(fixture: &Fixture) {
    let (arrived, arrives) = mpsc::channel::<()>();
    let arrives = Arc::new(Mutex::new(arrives));
    let (gate, (tell, mut begun)) = (Gate::shut(), told());
    let serve = Serve::on("a").concurrency(1);
    let handler = handler_fn({
        let gate = gate.clone();
        move |call: Call| {
            let (arrives, gate, tell) = (Arc::clone(&arrives), gate.clone(), tell.clone());
            async move {
                if call.text() == Some("first") {
                    let _ = tell.send(());
                    gate.pass().await;
                    return Ok("".to_owned());
                }
                // It would go on by itself, should the case fail.
                let arrived = arrives.lock().unwrap().recv_timeout(Duration::from_secs(30));
                Ok(arrived.is_ok().to_string())
            }
        }
    });
    let service = fixture.bus.serve_with(serve, Arc::new(handler)).await.unwrap();
    for _ in 0..5 {
        let first = tokio::spawn({
            let (bus, arrived) = (Arc::clone(&fixture.bus), arrived.clone());
            async move {
                bus.request("a", "first").await.unwrap();
                arrived.send(()).unwrap();
            }
        });
        heard(&mut begun).await;
        let second = spawn_call(&fixture.bus, Request::to("a", "second"));
        // It waits by then, most likely; else it is asked in peace, and answered all the same.
        for _ in 0..3 {
            fixture.bus.publish("b", "").await.unwrap();
        }
        gate.open(1);
        assert_eq!(joined(second).await.unwrap().text(), Some("true"));
        joined(first).await;
    }
    service.stop().await.unwrap();
}
