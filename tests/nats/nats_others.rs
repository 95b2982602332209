//! Plain NATS clients, and what this bus and they are to each other.

use std::time::Duration;

use async_nats::{HeaderMap, Request as PlainRequest};
use futures_util::StreamExt;
use rowbus::testing::NatsServer;
use rowbus::{Call, ErrorKind, HandlerError, Headers, Messenger, MessengerExt, NatsBus, Publish, Request};

use crate::{connect, kind, within};

async fn plain(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.unwrap()
}

/// Returns when the server knows of all that this client has subscribed to: its `flush` does not wait for that.
async fn settle(plain: &async_nats::Client) {
    let inbox = plain.new_inbox();
    let mut echo = plain.subscribe(inbox.clone()).await.unwrap();
    plain.publish(inbox, "".into()).await.unwrap();
    within(echo.next()).await.unwrap();
}

fn headers(traces: &[&str]) -> Headers {
    let mut headers = Headers::new();
    traces.iter().for_each(|trace| headers.append("Trace", trace).unwrap());
    headers
}

/// Has the next request to `theirs` answered, with these headers.
async fn answer_the_next(plain: &async_nats::Client, headers: Option<HeaderMap>) {
    let mut asked = plain.subscribe("theirs").await.unwrap();
    settle(plain).await;
    let responder = plain.clone();
    tokio::spawn(async move {
        let to = asked.next().await.unwrap().reply.unwrap();
        let answer = "answered".into();
        match headers {
            Some(headers) => responder.publish_with_headers(to, headers, answer).await.unwrap(),
            None => responder.publish(to, answer).await.unwrap(),
        }
    });
}

#[tokio::test]
async fn an_event_of_either_is_one_of_the_other() {
    let Some(server) = NatsServer::start() else { return };
    let (bus, plain) = (connect(&server).await, plain(&server).await);
    let mut ours = bus.stream("a.*").await.unwrap();
    let mut theirs = plain.subscribe("a.*").await.unwrap();
    settle(&plain).await;
    let mut map = HeaderMap::new();
    map.append("Trace", "1");
    map.append("Trace", "2");
    plain.publish_with_headers("a.x", map.clone(), "from them".into()).await.unwrap();
    let message = within(ours.next()).await.unwrap().unwrap();
    assert_eq!((message.subject().as_str(), message.text()), ("a.x", Some("from them")));
    assert_eq!(message.headers().get_all("Trace").collect::<Vec<_>>(), ["1", "2"]);
    within(theirs.next()).await.unwrap();
    let headers = headers(&["1", "2"]);
    bus.send(Publish::new("a.y", "from us").headers(headers)).await.unwrap();
    let message = within(theirs.next()).await.unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("a.y", b"from us".as_slice()));
    // One name needs no order told: it is what a plain client would have sent.
    assert_eq!(message.headers, Some(map));
}

#[tokio::test]
async fn a_plain_responder_answers_our_request_and_a_service_of_ours_a_plain_request() {
    let Some(server) = NatsServer::start() else { return };
    let (bus, plain) = (connect(&server).await, plain(&server).await);
    answer_the_next(&plain, None).await;
    let reply = within(bus.request("theirs", "?")).await.unwrap();
    assert_eq!((reply.text(), reply.is_final()), (Some("answered"), true));

    let service = bus.serve("ours.*", |call: Call| async move {
        match call.text() {
            Some("fail") => Err(HandlerError::new("no such dish").with_code("404")),
            other => Ok(format!("{}: {}", call.subject(), other.unwrap())),
        }
    });
    let service = service.await.unwrap();
    let answer = within(plain.request("ours.x", "hello".into())).await.unwrap();
    assert_eq!((&answer.payload[..], answer.headers), (b"ours.x: hello".as_slice(), None));
    let failed = within(plain.request("ours.x", "fail".into())).await.unwrap().headers.unwrap();
    assert_eq!(failed.get("Nats-Service-Error").unwrap().as_str(), "no such dish");
    assert_eq!(failed.get("Nats-Service-Error-Code").unwrap().as_str(), "404");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_plain_answer_that_calls_itself_part_0_is_an_answer() {
    let Some(server) = NatsServer::start() else { return };
    let (bus, plain) = (connect(&server).await, plain(&server).await);
    let mut map = HeaderMap::new();
    map.append("Rowbus-Part", "0");
    answer_the_next(&plain, Some(map)).await;
    let reply = within(bus.request("theirs", "?")).await.unwrap();
    assert_eq!((reply.text(), reply.is_final()), (Some("answered"), true));
}

#[tokio::test]
async fn an_error_by_the_convention_of_nats_services_is_a_handlers_error() {
    let Some(server) = NatsServer::start() else { return };
    let (bus, plain) = (connect(&server).await, plain(&server).await);
    let mut asked = plain.queue_subscribe("a", "q".into()).await.unwrap();
    settle(&plain).await;
    let responder = plain.clone();
    tokio::spawn(async move {
        let request = asked.next().await.unwrap();
        let mut map = HeaderMap::new();
        map.insert("Nats-Service-Error", "it is too hot");
        map.insert("Nats-Service-Error-Code", "451");
        responder.publish_with_headers(request.reply.unwrap(), map, "body".into()).await.unwrap();
    });
    let error = within(bus.request("a", "")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str(), error.code()),
        (ErrorKind::Handler, "it is too hot", Some("451"))
    );
    assert_eq!(error.body(), b"body".as_slice());
}

#[tokio::test]
async fn a_prefix_keeps_a_bus_apart_and_plain_clients_see_it() {
    let Some(server) = NatsServer::start() else { return };
    let plain = plain(&server).await;
    let within_app = NatsBus::connect(&format!("{}?prefix=app.one", server.url())).await.unwrap();
    let outside = connect(&server).await;
    let mut all = plain.subscribe(">").await.unwrap();
    settle(&plain).await;
    let (mut ours, mut others) = (within_app.stream(">").await.unwrap(), outside.stream("a").await.unwrap());
    outside.publish("a", "outside").await.unwrap();
    within_app.publish("a", "inside").await.unwrap();
    let message = within(ours.next()).await.unwrap().unwrap();
    assert_eq!((message.subject().as_str(), message.text()), ("a", Some("inside")));
    assert_eq!(within(others.next()).await.unwrap().unwrap().text(), Some("outside"));
    let mut subjects = Vec::new();
    while subjects.len() < 2 {
        let message = within(all.next()).await.unwrap();
        if !message.subject.starts_with("_INBOX.") {
            subjects.push(message.subject.to_string());
        }
    }
    assert_eq!(subjects, ["a", "app.one.a"]);
    // To NATS it would be somebody who may answer.
    all.unsubscribe().await.unwrap();
    settle(&plain).await;
    let service = within_app.serve("ask", |_: Call| async { Ok("here") }).await.unwrap();
    assert_eq!(within(plain.request("app.one.ask", "".into())).await.unwrap().payload, "here");
    assert_eq!(within(within_app.request("ask", "")).await.unwrap().text(), Some("here"));
    assert_eq!(kind(outside.request("ask", "").await), ErrorKind::NoResponders);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn the_servers_own_limit_is_told_before_anything_is_sent() {
    let Some(server) = NatsServer::builder().max_payload(4_096).start() else { return };
    let bus = connect(&server).await;
    let mut stream = bus.stream("a").await.unwrap();
    let too_large = bus.publish("a", vec![0; 4_097]).await.unwrap_err();
    assert!(matches!(too_large.kind(), ErrorKind::PayloadTooLarge { size: 4_097, limit: 4_096, .. }));
    // With its headers as the protocol writes them it is larger.
    let headers = headers(&["1"]);
    let with_headers = bus.send(Publish::new("a", vec![0; 4_096]).headers(headers)).await.unwrap_err();
    assert!(matches!(with_headers.kind(), ErrorKind::PayloadTooLarge { limit: 4_096, .. }));
    let request = bus.call(Request::to("a", vec![0; 4_097])).await.unwrap_err();
    assert!(matches!(request.kind(), ErrorKind::PayloadTooLarge { .. }));
    bus.publish("a", vec![0; 4_096]).await.unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap().payload().len(), 4_096);
}

#[tokio::test]
async fn an_answer_that_the_server_would_refuse_is_told_to_its_caller() {
    let Some(server) = NatsServer::builder().max_payload(4_096).start() else { return };
    let bus = connect(&server).await;
    let service = bus.serve("a", |_: Call| async { Ok(vec![0; 5_000]) }).await.unwrap();
    let error = within(bus.request("a", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler);
    assert!(error.to_string().contains("4096"), "{error}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_plain_request_with_no_place_waits_and_is_answered() {
    let Some(server) = NatsServer::start() else { return };
    let (bus, plain) = (connect(&server).await, plain(&server).await);
    let service = bus.serve_with(
        rowbus::Serve::on("a").concurrency(1),
        std::sync::Arc::new(rowbus::handler_fn(|call: Call| async move {
            Ok::<_, HandlerError>(call.payload().clone())
        })),
    );
    let service = service.await.unwrap();
    let ask = |number: u8| {
        let request = PlainRequest::new().payload(vec![number].into()).timeout(Some(Duration::from_secs(30)));
        plain.send_request("a", request)
    };
    let answers = futures_util::future::join_all((0..50).map(ask)).await;
    for (number, answer) in (0..50_u8).zip(answers) {
        assert_eq!(answer.unwrap().payload[..], [number]);
    }
    service.stop().await.unwrap();
}
