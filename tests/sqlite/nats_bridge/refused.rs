//! What the server refuses: some of it for now, some for ever.

use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use rowbus::bridge::{Bridge, BridgeState, BridgeStatus};
use rowbus::testing::NatsServer;
use rowbus::{Dead, Durable, ErrorKind, Filter, MessengerExt, NatsBus};

use super::{Rig, stream, wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stream_is_waited_for() {
    let Some(rig) = Rig::new().await else { return };
    rig.publish(0..20).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    let status = wait(&bridge, |status| status.state == BridgeState::Waiting).await;
    assert!(status.last_error.unwrap().to_string().contains("there is no stream for a.>"));
    rig.stream().await;
    let status = wait(&bridge, |status| status.position == 20).await;
    assert_eq!((status.state, status.forwarded), (BridgeState::Forwarding, 20));
    rig.has_all(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stream_is_made_where_that_was_asked_for() {
    let Some(rig) = Rig::new().await else { return };
    rig.publish(0..20).await;
    let bridge = rig.start(Bridge::forward("a.>").filter("b.x").stream("S").create_stream(true)).await;
    wait(&bridge, |status| status.position == 20).await;
    let made = rig.jetstream.get_stream("S").await.unwrap();
    assert_eq!(made.cached_info().config.subjects, ["a.>", "b.x"]);
    rig.has_all(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_streams_for_the_events_are_a_question_for_the_operator() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream_with(Config { name: "A".to_owned(), subjects: vec!["a.1".to_owned()], ..Config::default() })
        .await;
    rig.stream_with(Config { name: "B".to_owned(), subjects: vec!["a.2".to_owned()], ..Config::default() })
        .await;
    rig.publish(0..3).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    let status = wait(&bridge, |status| status.state == BridgeState::Waiting).await;
    assert!(status.last_error.unwrap().to_string().contains("several streams take these events: A, B"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_holds_the_bridge_up_and_costs_nothing() {
    let Some(rig) = Rig::new().await else { return };
    let small = Config { max_messages: 50, discard: DiscardPolicy::New, ..stream() };
    rig.stream_with(small.clone()).await;
    rig.publish(0..120).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    let status = wait(&bridge, |status| status.state == BridgeState::Waiting).await;
    assert!(
        status.last_error.as_ref().unwrap().to_string().contains("maximum messages exceeded"),
        "{status:?}"
    );
    assert_eq!((status.position, status.refused), (50, 0));
    // It looks again and again, and that is not to go on.
    let looks = status.looks;
    let said = wait(&bridge, |status| status.state != BridgeState::Waiting || status.looks > looks + 3).await;
    assert_eq!(said.state, BridgeState::Waiting);
    rig.jetstream.update_stream(Config { max_messages: 1000, ..small }).await.unwrap();
    wait(&bridge, |status| status.position == 120).await;
    rig.has_all(120).await;
}

/// Until it says why it waits, in these words.
async fn waits_since(bridge: &Bridge, words: &str) -> BridgeStatus {
    wait(bridge, |status| {
        let why = status.last_error.as_ref().map(ToString::to_string);
        status.state == BridgeState::Waiting && why.is_some_and(|why| why.contains(words))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_not_only_that_there_is_no_connection() {
    let Some(server) = NatsServer::builder().user("ann", "s3cret").start() else { return };
    let place = crate::Place::without_disk();
    let bus = place.open().await;
    bus.publish("a.1", "").await.unwrap();
    let builder = NatsBus::builder(&format!("nats://{}", server.address()));
    let nats = builder.user("ann", "other").retry_first_connect(true).connect().await.unwrap();
    let bridge = Bridge::forward("a.>").to(&nats).start(&bus).await.unwrap();
    let status = waits_since(&bridge, "authorization violation").await;
    assert_eq!(status.last_error.unwrap().kind(), ErrorKind::NotPermitted);
}

const LIMITED: &str = r#"authorization { users: [
    { user: ann, password: x },
    { user: bob, password: x, permissions: { publish: { deny: "b.x" } } },
    { user: cleo, password: x, permissions: { publish: { deny: "$JS.>" } } },
    { user: dan, password: x, permissions: { subscribe: { deny: "_INBOX.>" } } } ] }"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_do_is_told_and_waited_for() {
    let Some(server) = NatsServer::builder().jetstream(true).config(LIMITED).start() else { return };
    let as_user = |user: &str| NatsBus::builder(&format!("nats://{}", server.address())).user(user, "x");
    let admin = ConnectOptions::new().user_and_password("ann".to_owned(), "x".to_owned());
    let admin = admin.connect(server.address()).await.unwrap();
    async_nats::jetstream::new(admin).create_stream(stream()).await.unwrap();
    let place = crate::Place::without_disk();
    let bus = place.open().await;
    for subject in ["b.1", "b.x", "b.2"] {
        bus.publish(subject, "").await.unwrap();
    }
    for (user, refused, position) in [
        ("bob", "Publish to \"b.x\"", 1),
        ("cleo", "Publish to \"$JS.API.STREAM", 0),
        ("dan", "Subscription to \"_INBOX.", 0),
    ] {
        let nats = as_user(user).retry_first_connect(true).connect().await.unwrap();
        let forward = Bridge::forward("b.>").name(user).patience(Duration::from_millis(300));
        let bridge = forward.to(&nats).start(&bus).await.unwrap();
        let status = waits_since(&bridge, refused).await;
        assert_eq!(status.last_error.unwrap().kind(), ErrorKind::NotPermitted, "{user}");
        assert_eq!((status.position, status.refused), (position, 0), "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_can_never_take_is_a_dead_letter_and_holds_up_nothing() {
    let Some(rig) = Rig::with(NatsServer::builder().max_payload(200_000)).await else { return };
    let config = Config { max_message_size: 100_000, subjects: vec!["a.>".to_owned()], ..stream() };
    rig.stream_with(config).await;
    rig.publish(0..10).await;
    rig.bus.publish("a.large", vec![b'x'; 150_000]).await.unwrap();
    rig.publish(10..20).await;
    rig.bus.publish("a.huge", vec![b'x'; 300_000]).await.unwrap();
    rig.bus.publish("b.elsewhere", "").await.unwrap();
    rig.publish(20..30).await;
    rig.bus.publish("b.last", "").await.unwrap();
    let bridge = rig.start(Bridge::forward("a.>").filter("b.>").stream("S")).await;
    let status = wait(&bridge, |status| status.position == 34).await;
    assert_eq!((status.forwarded, status.refused), (30, 4));
    let sequences: Vec<_> = rig.stored().await.iter().map(|stored| stored.sequence).collect();
    let expected: Vec<_> = (1..=34).filter(|sequence| ![11, 22, 23, 34].contains(sequence)).collect();
    assert_eq!(sequences, expected);
    bridge.stop().await.unwrap();
    let dead = rig.bus.dead_letters(Dead::Of(Filter::everything()), 0, 10).await.unwrap();
    let mut told: Vec<_> = dead.iter().map(|dead| (dead.subject.as_str(), dead.reason.as_str())).collect();
    told.sort_unstable();
    let subjects: Vec<_> = told.iter().map(|(subject, _)| *subject).collect();
    assert_eq!(subjects, ["a.huge", "a.large", "b.elsewhere", "b.last"]);
    assert!(told[1].1.contains("the server takes 100000"), "{told:?}");
    assert!(told[2].1.contains("stream S takes no subject b.elsewhere"), "{told:?}");
    assert_eq!(rig.bus.consumer_info("bridge:default").await.unwrap().ack_floor, 34);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_larger_meanwhile_takes_what_it_would_have_refused() {
    let Some(rig) = Rig::new().await else { return };
    let small = Config { max_message_size: 1000, ..stream() };
    rig.stream_with(small.clone()).await;
    rig.publish(0..1).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    wait(&bridge, |status| status.position == 1).await;
    rig.jetstream.update_stream(Config { max_message_size: 100_000, ..small }).await.unwrap();
    rig.bus.publish("a.large", vec![b'x'; 50_000]).await.unwrap();
    let status =
        tokio::time::timeout(Duration::from_secs(60), bridge.wait_for(|status| status.position == 2)).await;
    assert_eq!(status.unwrap().refused, 0);
}
