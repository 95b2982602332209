//! Which stream holds the events: made, verified, or used as it is.

use super::*;

async fn open(server: &NatsServer, prefix: &str, stream: EventStream) -> rowbus::Result<NatsBus> {
    NatsBus::builder(&server.url()).prefix(prefix).stream(stream).connect().await
}

#[tokio::test]
async fn without_a_stream_there_is_nothing_durable_and_the_error_says_how() {
    let Some(server) = server() else { return };
    let bus = NatsBus::connect(&server.url()).await.unwrap();
    let error = bus.as_durable().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("NatsBuilder::stream"), "{error}");
    assert!(!bus.capabilities().jobs && !bus.capabilities().consumers);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_is_named_in_the_url_as_well() {
    let Some(server) = server() else { return };
    let name = name();
    let url = format!("{}?prefix={name}&stream={name}&stream_subjects=orders.>,users.>", server.url());
    let bus = NatsBus::connect(&url).await.unwrap().as_durable().unwrap();
    assert_eq!(bus.publish("orders.created", "").await.unwrap().sequence, 1);
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = plain.get_stream(&name).await.unwrap();
    let subjects = &stream.cached_info().config.subjects;
    assert_eq!(*subjects, [format!("{name}.orders.>"), format!("{name}.users.>")]);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_no_stream_keeps_is_no_stream_and_not_acknowledged() {
    let Some(server) = server() else { return };
    let name = name();
    let bus = open(server, &name, EventStream::named(&name).subject("orders.>")).await.unwrap();
    let bus = bus.as_durable().unwrap();
    assert_eq!(bus.publish("users.created", "").await.unwrap_err().kind(), ErrorKind::NoStream);
    assert_eq!(bus.publish("orders.created", "").await.unwrap().sequence, 1);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_first_connect_that_is_tried_again_has_no_stream() {
    let url = "nats://127.0.0.1:9?stream=S&retry_first_connect=true";
    let error = NatsBus::connect(url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("retry_first_connect"), "{error}");
}

#[tokio::test]
async fn a_request_that_the_stream_would_keep_is_unsupported() {
    let Some(server) = server() else { return };
    let name = name();
    let core = open(server, &name, EventStream::named(&name).subject("orders.>")).await.unwrap();
    let bus = core.as_durable().unwrap();
    let service = bus.serve("price.quote", |_: Call| async { Ok("4.50") }).await.unwrap();
    assert_eq!(bus.request("orders.count", "").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(core.request("orders.count", "").await.unwrap_err().kind(), ErrorKind::Unsupported);
    let parts = core.call_stream(Request::to("orders.count", "")).await;
    assert_eq!(parts.map(drop).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(bus.request("price.quote", "").await.unwrap().text(), Some("4.50"));
    assert!(bus.last("orders.count".try_into().unwrap()).await.unwrap().is_none());
    service.stop().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_with_another_setting_is_a_mismatch_that_names_it() {
    let Some(server) = server() else { return };
    let name = name();
    let stream = || EventStream::named(&name).under("events").max_messages(5).max_age(HOUR);
    open(server, &name, stream()).await.unwrap().close().await.unwrap();
    open(server, &name, stream()).await.unwrap().close().await.unwrap();
    for (other, setting) in [
        (stream().max_messages(6), "max_messages"),
        (stream().max_age(HOUR * 2), "max_age"),
        (stream().max_bytes(1 << 20), "max_bytes"),
        (stream().max_per_subject(3), "max_per_subject"),
        (stream().duplicate_window(Duration::from_secs(7)), "duplicate_window"),
        (stream().subject("orders.>"), "subject"),
        (stream().in_memory(), "in_memory"),
    ] {
        let error = open(server, &name, other).await.map(drop).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::StreamMismatch { setting: found, .. } if found == setting),
            "{error:?}"
        );
        assert!(error.to_string().contains(setting), "{error}");
    }
    // What is not asked for is not compared.
    open(server, &name, EventStream::named(&name).under("events")).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn an_existing_stream_is_used_as_it_is() {
    let Some(server) = server() else { return };
    let name = name();
    let missing = open(server, &name, EventStream::existing(&name)).await.map(drop).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let subjects = vec![format!("{name}.orders.*")];
    let theirs =
        || jetstream::stream::Config { name: name.clone(), subjects: subjects.clone(), ..Default::default() };
    plain.create_stream(theirs()).await.unwrap();
    let bus = open(server, &name, EventStream::existing(&name)).await.unwrap().as_durable().unwrap();
    assert_eq!(bus.publish("orders.created", "").await.unwrap().sequence, 1);
    // It was made without batches.
    assert!(!bus.capabilities().atomic_batches);
    let batch = vec![Publish::new("orders.created", ""), Publish::new("orders.created", "")];
    assert_eq!(bus.send_all(batch).await.unwrap_err().kind(), ErrorKind::Unsupported);
    bus.close().await.unwrap();
    // One that forgets what was read is none.
    plain.delete_stream(&name).await.unwrap();
    let queue =
        jetstream::stream::Config { retention: jetstream::stream::RetentionPolicy::WorkQueue, ..theirs() };
    plain.create_stream(queue).await.unwrap();
    let error = open(server, &name, EventStream::existing(&name)).await.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::StreamMismatch { setting: "retention", .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_unsupported() {
    let Some(server) = NatsServer::start() else { return };
    let error = open(&server, "p", EventStream::named("S")).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
}

#[tokio::test]
async fn a_full_stream_that_drops_nothing_is_disk_full() {
    let Some(server) = server() else { return };
    let name = name();
    let plain = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    plain
        .create_stream(jetstream::stream::Config {
            name: name.clone(),
            subjects: vec![format!("{name}.>")],
            max_messages: 2,
            discard: jetstream::stream::DiscardPolicy::New,
            ..Default::default()
        })
        .await
        .unwrap();
    let bus = open(server, &name, EventStream::existing(&name)).await.unwrap().as_durable().unwrap();
    for _ in 0..2 {
        bus.publish("a", "").await.unwrap();
    }
    assert_eq!(bus.publish("a", "").await.unwrap_err().kind(), ErrorKind::DiskFull);
    bus.close().await.unwrap();
}
