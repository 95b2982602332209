//! Line 12: what is refused.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::Fixture;
use super::support::{from, kind, text, within};
use crate::call::Call;
use crate::error::{Error, ErrorKind};
use crate::ext::MessengerExt;
use crate::handler::handler_fn;
use crate::publish::Publish;
use crate::request::Request;
use crate::serve::Serve;
use crate::subscribe::{StartAt, Subscribe};

/// Invalid subjects, each with what a message names of it.
const SUBJECTS: &[(&str, &str)] = &[
    ("", "empty"),
    (".a", "token 1"),
    ("a..b", "token 2"),
    ("a.b.", "token 3"),
    ("a.b c", "token 2"),
    ("a.b\n", "token 2"),
    ("a\0.b", "token 1"),
    ("a.*", "token 2"),
    ("a.>", "token 2"),
];

/// Invalid filters, likewise.
const FILTERS: &[(&str, &str)] =
    &[("", "empty"), ("a..>", "token 2"), ("a.>.b", "token 2"), ("a.* ", "token 2")];

fn assert_names(error: &Error, token: &str) {
    assert_eq!(error.kind(), ErrorKind::InvalidSubject);
    assert!(error.to_string().contains(token), "{error} was to name {token}");
}

pub(super) async fn an_invalid_subject_is_invalid_subject_naming_the_offending_token(fixture: &Fixture) {
    let mut stream = fixture.bus.stream(">").await.unwrap();
    for (subject, token) in SUBJECTS {
        assert_names(&fixture.bus.publish(*subject, "").await.unwrap_err(), token);
        if fixture.bus.capabilities().atomic_batches {
            let batch = vec![Publish::new("a", "written too early"), Publish::new(*subject, "")];
            assert_names(&fixture.bus.send_all(batch).await.unwrap_err(), token);
        }
    }
    fixture.bus.publish("a", "next").await.unwrap();
    assert_eq!(text(&mut stream).await, "next", "nothing was written");
}

pub(super) async fn an_invalid_filter_is_invalid_subject_naming_the_offending_token(fixture: &Fixture) {
    for (filter, token) in FILTERS {
        assert_names(&fixture.bus.stream(*filter).await.unwrap_err(), token);
        let replay = Subscribe::to(*filter).from(StartAt::Oldest);
        assert_names(&fixture.bus.subscribe(replay).await.unwrap_err(), token);
    }
}

pub(super) async fn a_mistake_in_an_option_is_reported_before_anything_is_written(fixture: &Fixture) {
    let mut stream = fixture.bus.stream(">").await.unwrap();
    let bad_header = || Publish::new("a", "").header("not a name", "");
    let bad_id = || Publish::new("a", "").message_id("");
    assert_eq!(kind(fixture.bus.send(bad_header()).await), ErrorKind::InvalidHeader);
    assert_eq!(kind(fixture.bus.send(bad_id()).await), ErrorKind::InvalidOption);
    assert_eq!(kind(fixture.bus.subscribe(Subscribe::to("a").buffer(0)).await), ErrorKind::InvalidOption);
    fixture.bus.publish("a", "next").await.unwrap();
    assert_eq!(text(&mut stream).await, "next");
    if fixture.bus.capabilities().replay {
        assert_eq!(text(&mut from(&fixture.bus, ">", StartAt::Oldest).await).await, "next");
    }
}

pub(super) async fn an_invalid_subject_of_a_request_or_service_is_invalid_subject(fixture: &Fixture) {
    for (subject, token) in SUBJECTS {
        assert_names(&fixture.bus.request(*subject, "").await.unwrap_err(), token);
        assert_names(&fixture.bus.request_stream(*subject, "").await.unwrap_err(), token);
    }
    for (filter, token) in FILTERS {
        assert_names(&fixture.bus.serve(*filter, |_: Call| async { Ok(()) }).await.unwrap_err(), token);
    }
}

pub(super) async fn a_mistake_in_an_option_of_a_request_or_service_is_reported(fixture: &Fixture) {
    let call = async |request: Request| kind(fixture.bus.call(request).await);
    assert_eq!(call(Request::to("a", "").timeout(Duration::ZERO)).await, ErrorKind::InvalidOption);
    assert_eq!(call(Request::to("a", "").header("not a name", "")).await, ErrorKind::InvalidHeader);
    let handler = Arc::new(handler_fn(|_: Call| async { Ok(()) }));
    for serve in [
        Serve::on("a").concurrency(0),
        Serve::on("a").lease(Duration::ZERO),
        Serve::on("a").max_run(Duration::ZERO),
    ] {
        let refused = fixture.bus.serve_with(serve, handler.clone()).await;
        assert_eq!(kind(refused), ErrorKind::InvalidOption);
    }
    let unserved = within(fixture.bus.call(Request::to("a", "").if_served())).await;
    assert_eq!(kind(unserved), ErrorKind::NoResponders, "nothing was begun");
}
