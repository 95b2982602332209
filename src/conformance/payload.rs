//! Line 11: what arrives.

use bytes::Bytes;

use super::fixture::Fixture;
use super::support::{from, kind, message, one_of_many, publish_on, text, within};
use crate::call::Call;
use crate::defaults::MAX_PAYLOAD;
use crate::error::ErrorKind;
use crate::ext::MessengerExt;
use crate::headers::Headers;
use crate::publish::Publish;
use crate::reply::Response;
use crate::request::Request;
use crate::serve::Service;
use crate::subscribe::StartAt;

/// Payloads that a backend may take for something else.
fn payloads() -> Vec<Bytes> {
    let mut payloads: Vec<Bytes> = vec![
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"before\0after"),
        Bytes::from_static(b"line\r\nline\n"),
        Bytes::from_static(b"\xff\xfe\x80"),
        Bytes::from_static(b"\xef\xbb\xbfmarked"),
        Bytes::from_static("gr\u{f6}\u{df}e \u{1f355}".as_bytes()),
        Bytes::from_static(b"'); DROP TABLE bus_events; --"),
        Bytes::from_static(b"NULL"),
        (0..=255).collect(),
    ];
    payloads.extend((0..=255_u8).map(|byte| Bytes::from(vec![byte])));
    payloads
}

pub(super) async fn payload_bytes_arrive_as_sent(fixture: &Fixture) {
    let mut streams = Vec::new();
    for bus in fixture.handles() {
        streams.push(bus.stream("a").await.unwrap());
    }
    let payloads = payloads();
    for payload in &payloads {
        fixture.bus.send(Publish::new("a", payload.clone()).relaxed()).await.unwrap();
    }
    if fixture.bus.capabilities().replay {
        streams.push(from(fixture.second(), "a", StartAt::Oldest).await);
    }
    for stream in &mut streams {
        for payload in &payloads {
            assert_eq!(message(stream).await.payload(), payload);
        }
    }
}

/// Headers that a backend may take for something else, the same name several times among them.
fn headers() -> Headers {
    let mut headers = Headers::new();
    for (name, value) in [
        ("Trace", "7f2c"),
        ("trace", "another name"),
        ("Empty", ""),
        ("Trace", "91aa"),
        ("Blank", " both sides "),
        ("Tab", "\tx\t"),
        ("Colon", "a: b:c"),
        ("!#$%&'*+-.^_`|~", "every sign"),
        ("Text", "gr\u{f6}\u{df}e \u{1f355}\u{2028}\u{1}"),
        ("Trace", "7f2c"),
    ] {
        headers.append(name, value).unwrap();
    }
    headers
}

pub(super) async fn headers_arrive_as_sent_in_their_order_and_as_often(fixture: &Fixture) {
    let mut streams = Vec::new();
    for bus in fixture.handles() {
        streams.push(bus.stream("a").await.unwrap());
    }
    let sent = [headers(), Headers::new()];
    for headers in &sent {
        fixture.bus.send(Publish::new("a", "body").headers(headers.clone())).await.unwrap();
    }
    if fixture.bus.capabilities().replay {
        streams.push(from(fixture.second(), "a", StartAt::Oldest).await);
    }
    for stream in &mut streams {
        for headers in &sent {
            let message = message(stream).await;
            assert_eq!(message.headers().iter().collect::<Vec<_>>(), headers.iter().collect::<Vec<_>>());
            assert_eq!(message.text(), Some("body"));
        }
    }
}

pub(super) async fn subject_sequence_and_message_id_arrive_as_acknowledged(fixture: &Fixture) {
    let longest = format!("a.{}", "x".repeat(crate::defaults::MAX_SUBJECT - 2));
    let mut stream = fixture.second().stream("a.>").await.unwrap();
    let ack = fixture.bus.send(Publish::new(&longest, "").message_id("id-1")).await.unwrap();
    assert!(!ack.duplicate);
    let first = message(&mut stream).await;
    assert_eq!(first.subject().as_str(), longest);
    assert_eq!(first.sequence(), ack.sequence);
    assert_eq!(first.message_id(), Some("id-1"));
    let ack = fixture.bus.publish("a.b", "").await.unwrap();
    let second = message(&mut stream).await;
    assert_eq!((second.sequence(), second.message_id()), (ack.sequence, None));
}

/// A message of exactly this size, most of it payload.
fn of_size(size: usize) -> Publish {
    let headers = headers();
    Publish::new("a", vec![0xa5; size - headers.encoded_len()]).headers(headers)
}

pub(super) async fn one_mib_with_headers_arrives(fixture: &Fixture) {
    let mut stream = fixture.second().stream("a").await.unwrap();
    fixture.bus.send(of_size(MAX_PAYLOAD)).await.unwrap();
    fixture.bus.publish("a", vec![0x5a; MAX_PAYLOAD]).await.unwrap();
    let with_headers = message(&mut stream).await;
    assert_eq!(with_headers.headers(), &headers());
    assert_eq!(with_headers.payload().len() + with_headers.headers().encoded_len(), MAX_PAYLOAD);
    assert!(with_headers.payload().iter().all(|byte| *byte == 0xa5));
    let without = message(&mut stream).await;
    assert_eq!(without.payload().len(), MAX_PAYLOAD);
    assert!(without.payload().iter().all(|byte| *byte == 0x5a));
}

pub(super) async fn more_than_one_mib_is_payload_too_large_before_anything_is_written(fixture: &Fixture) {
    let limit = MAX_PAYLOAD as u64;
    let mut stream = fixture.bus.stream("a").await.unwrap();
    let too_large = || [of_size(MAX_PAYLOAD + 1), Publish::new("a", vec![0; MAX_PAYLOAD + 1])];
    for publish in too_large() {
        let error = kind(fixture.bus.send(publish).await);
        assert_eq!(error, ErrorKind::PayloadTooLarge { size: limit + 1, limit });
    }
    if fixture.bus.capabilities().atomic_batches {
        for publish in too_large() {
            let batch = vec![Publish::new("a", "written too early"), publish];
            let error = kind(fixture.bus.send_all(batch).await);
            assert_eq!(error, ErrorKind::PayloadTooLarge { size: limit + 1, limit });
        }
    }
    fixture.bus.publish("a", "next").await.unwrap();
    assert_eq!(text(&mut stream).await, "next");
    if fixture.bus.capabilities().replay {
        assert_eq!(text(&mut from(&fixture.bus, ">", StartAt::Oldest).await).await, "next");
    }
}

pub(super) async fn large_and_small_events_arrive_in_one_order(fixture: &Fixture) {
    let mut stream = fixture.second().stream("a").await.unwrap();
    // Under what a stream holds for a slow reader, of either kind.
    for number in 0..6 {
        fixture.bus.send(one_of_many("a", format!("{number}"))).await.unwrap();
        fixture.bus.send(one_of_many("a", "x".repeat(1 << 20))).await.unwrap();
    }
    for number in 0..6 {
        assert_eq!(text(&mut stream).await, format!("{number}"));
        assert_eq!(text(&mut stream).await.len(), 1 << 20);
    }
    publish_on(fixture.handles(), "a", "end").await;
    assert_eq!(text(&mut stream).await, "end");
}

/// Answers with what it is asked, payload and headers.
async fn serve_mirror(fixture: &Fixture) -> Service {
    let handle = |call: Call| async move {
        let message = call.into_message();
        Ok(Response::new(message.payload().clone()).with_headers(message.headers().clone()))
    };
    fixture.second().serve("a", handle).await.unwrap()
}

pub(super) async fn payload_and_headers_of_requests_and_replies_arrive_as_sent(fixture: &Fixture) {
    let service = serve_mirror(fixture).await;
    for payload in payloads().into_iter().take(16) {
        for headers in [Headers::new(), headers()] {
            let request = Request::to("a", payload.clone()).headers(headers.clone());
            let reply = within(fixture.bus.call(request)).await.unwrap();
            assert_eq!((reply.payload(), reply.headers()), (&payload, &headers));
        }
    }
    service.stop().await.unwrap();
}

pub(super) async fn a_request_of_one_mib_arrives_and_a_larger_one_is_payload_too_large(fixture: &Fixture) {
    let service = serve_mirror(fixture).await;
    let of_size = |size: usize| {
        let headers = headers();
        Request::to("a", vec![0xa5; size - headers.encoded_len()]).headers(headers)
    };
    let reply = within(fixture.bus.call(of_size(MAX_PAYLOAD))).await.unwrap();
    assert_eq!(reply.payload().len() + reply.headers().encoded_len(), MAX_PAYLOAD);
    let limit = MAX_PAYLOAD as u64;
    let too_large = ErrorKind::PayloadTooLarge { size: limit + 1, limit };
    assert_eq!(kind(within(fixture.bus.call(of_size(MAX_PAYLOAD + 1))).await), too_large);
    assert_eq!(kind(within(fixture.bus.call_stream(of_size(MAX_PAYLOAD + 1))).await), too_large);
    service.stop().await.unwrap();
}
