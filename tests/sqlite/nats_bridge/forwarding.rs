//! What arrives, and when a bridge ends.

use rowbus::bridge::{Bridge, BridgeState};
use rowbus::{Durable, ErrorKind, Messenger, MessengerExt, Publish, Retention, StartAt};

use super::{Rig, stored, wait};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_stored_once_and_in_order_as_it_was_published() {
    let Some(rig) = Rig::new().await else { return };
    let config = async_nats::jetstream::stream::Config {
        name: "TILL".to_owned(),
        subjects: vec!["till-7.>".to_owned()],
        ..Default::default()
    };
    rig.stream_with(config).await;
    rig.publish(0..1500).await;
    rig.bus.publish("c.x", "not wanted").await.unwrap();
    let bridge = rig.start(Bridge::forward("a.>").filter("b.*").prefix("till-7")).await;
    let special = Publish::new("b.x", "ü").header("Trace", "1").header("Trace", "2").header("Other", " x ");
    rig.bus.send(special).await.unwrap();
    wait(&bridge, |status| status.position == 1502).await;
    let stored = stored(&rig.jetstream, "TILL").await;
    assert_eq!(stored.len(), 1501);
    for (at, event) in stored[..1500].iter().enumerate() {
        assert_eq!(
            (event.subject.clone(), event.payload.clone()),
            (format!("till-7.a.{}", at % 7), at.to_string())
        );
        assert_eq!(event.sequence, at as u64 + 1);
    }
    let last = &stored[1500];
    assert_eq!((last.subject.as_str(), last.payload.as_str(), last.sequence), ("till-7.b.x", "ü", 1502));
    let time = rig.bus.last(rowbus::Subject::new("b.x").unwrap()).await.unwrap().unwrap().time();
    assert_eq!(last.headers["Rowbus-Time"], [time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)]);
    assert_eq!(last.headers["Rowbus-Bridge"], ["default"]);
    let status = bridge.status();
    assert_eq!((status.forwarded, status.found, status.refused), (1501, 0, 0));
    assert_eq!((status.stream.as_deref(), bridge.lag().await.unwrap()), (Some("TILL"), 0));
    bridge.stop().await.unwrap();
    let info = rig.bus.consumer_info("bridge:default").await.unwrap();
    assert_eq!((info.ack_floor, info.members), (1502, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_goes_on_where_another_of_its_name_has_stopped() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    for round in 0..3 {
        rig.publish(round * 100..(round + 1) * 100).await;
        let bridge = rig.start(Bridge::forward("a.>")).await;
        let status = wait(&bridge, |status| status.position == (round as u64 + 1) * 100).await;
        assert_eq!((status.forwarded, status.found, status.looks), (100, 0, 1));
        bridge.stop().await.unwrap();
    }
    rig.has_all(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bridge_begins_where_it_is_told() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    rig.publish(0..10).await;
    let bridge = rig.start(Bridge::forward("a.>").from(StartAt::Sequence(6))).await;
    wait(&bridge, |status| status.position == 10).await;
    let sequences: Vec<_> = rig.stored().await.iter().map(|stored| stored.sequence).collect();
    assert_eq!(sequences, [6, 7, 8, 9, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_bus_ends_its_bridges() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    rig.publish(0..5).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    wait(&bridge, |status| status.position == 5).await;
    rig.bus.close().await.unwrap();
    bridge.ended().await.unwrap();
    assert_eq!(bridge.status().state, BridgeState::Stopped);
    bridge.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_whose_consumer_is_deleted_ends_and_says_so() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    wait(&bridge, |status| status.state == BridgeState::Forwarding).await;
    rig.bus.delete_consumer("bridge:default").await.unwrap();
    assert_eq!(bridge.ended().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_before_it_is_forwarded_is_told_by_the_bridge_and_by_the_next_message() {
    let Some(rig) = Rig::new().await else { return };
    rig.publish(0..10).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    // The position is there, and no stream.
    wait(&bridge, |status| status.state == BridgeState::Waiting).await;
    bridge.stop().await.unwrap();
    rig.bus.set_retention(">", Retention::new().max_messages(4)).await.unwrap();
    rig.bus.prune().await.unwrap();
    rig.stream().await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    let status = wait(&bridge, |status| status.position == 10).await;
    assert_eq!((status.gaps, status.last_gap, status.forwarded), (1, Some((1, 6)), 4));
    let stored = rig.stored().await;
    assert_eq!(stored[0].headers["Rowbus-Gap"], ["1-6"]);
    assert!(stored[1..].iter().all(|event| !event.headers.contains_key("Rowbus-Gap")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_until_it_is_forwarded_outlives_its_retention() {
    let Some(rig) = Rig::new().await else { return };
    let kept = Retention::new().max_messages(4).keep_unacked(1 << 20);
    rig.bus.set_retention(">", kept).await.unwrap();
    let bridge = rig.start(Bridge::forward("a.>")).await;
    rig.publish(0..500).await;
    rig.bus.prune().await.unwrap();
    rig.stream().await;
    let status = wait(&bridge, |status| status.position == 500).await;
    assert_eq!((status.gaps, status.forwarded), (0, 500));
    bridge.stop().await.unwrap();
    rig.bus.prune().await.unwrap();
    assert!(rig.bus.stats().await.unwrap().file.events.count < 500);
    rig.has_all(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_in_the_same_stream_cost_time_and_no_event() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    let jetstream = rig.jetstream.clone();
    jetstream.publish("b.other", "x".into()).await.unwrap().await.unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let other = tokio::spawn(async move {
        while ended.is_empty() {
            jetstream.publish("b.other", "x".into()).await.unwrap().await.unwrap();
        }
    });
    rig.publish(0..3000).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    let status = wait(&bridge, |status| status.position == 3000).await;
    end.send(()).unwrap();
    other.await.unwrap();
    assert_eq!(status.forwarded + status.found, 3000, "{status:?}");
    assert!(status.conflicts > 0, "{status:?}");
    rig.has_all(3000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_options_is_told_before_anything_begins() {
    let Some(rig) = Rig::new().await else { return };
    let wrong = [
        Bridge::forward("a..b"),
        Bridge::forward("a.>").filter("a.*"),
        Bridge::forward("a.>").window(0),
        Bridge::forward("a.>").stream("a.b"),
        Bridge::forward("a.>").create_stream(true),
        Bridge::forward("a.>").name("with blank"),
        Bridge::forward("a.>").prefix("a.*"),
    ];
    for forward in wrong {
        let error = forward.to(&rig.nats).start(&rig.bus).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidOption | ErrorKind::InvalidSubject), "{error}");
    }
    let error = Bridge::forward("a.>").start(&rig.bus).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(rig.bus.consumers().await.unwrap().is_empty());
}
