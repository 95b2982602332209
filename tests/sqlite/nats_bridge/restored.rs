//! Files and streams that are set back to an earlier state of themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::stream::{Config, SubjectTransform};
use rowbus::bridge::{Bridge, BridgeState};
use rowbus::{Durable, ErrorKind, MessengerExt, NatsBus};

use super::{Rig, all_once, open, publish, stored, stream, wait};
use crate::PATIENCE;
use crate::child::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_restored_from_a_backup_sends_nothing_twice_and_leaves_nothing_out() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    rig.publish(0..100).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    wait(&bridge, |status| status.position == 100).await;
    rig.publish(100..200).await;
    let backup = rig.place.join("backup.db");
    rig.bus.backup(&backup).await.unwrap();
    // Its position is older than what was forwarded by now, and what it publishes next has sequences that the other one gave too.
    wait(&bridge, |status| status.position == 200).await;
    rig.publish(200..230).await;
    wait(&bridge, |status| status.position == 230).await;
    bridge.stop().await.unwrap();
    let restored = open(&backup).await;
    restored.seek_consumer("bridge:default", rowbus::StartAt::Sequence(50)).await.unwrap();
    restored.publish("a.new", "new").await.unwrap();
    let bridge = Bridge::forward("a.>").to(&rig.nats).start(&restored).await.unwrap();
    let status = wait(&bridge, |status| status.position == 201).await;
    assert_eq!((status.forwarded, status.found), (1, 151), "{status:?}");
    let stored = rig.stored().await;
    all_once(&stored[..230], 230);
    assert_eq!((stored.len(), stored[230].sequence, stored[230].payload.as_str()), (231, 201, "new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_set_back_by_copying_it_is_not_forwarded_over_what_it_has_forgotten() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    let path = rig.place.join("till.db");
    let copy = rig.place.join("copy.db");
    let bus = open(&path).await;
    publish(&bus, 0..50).await;
    rowbus::Messenger::close(&bus).await.unwrap();
    drop(bus);
    std::fs::copy(&path, &copy).unwrap();
    let bus = open(&path).await;
    publish(&bus, 50..100).await;
    let bridge = Bridge::forward("a.>").to(&rig.nats).start(&bus).await.unwrap();
    wait(&bridge, |status| status.position == 100).await;
    bridge.stop().await.unwrap();
    // The stream has events that this file has never had.
    let bus = open(&copy).await;
    let bridge = Bridge::forward("a.>").to(&rig.nats).start(&bus).await.unwrap();
    assert!(matches!(bridge.ended().await.unwrap_err().kind(), ErrorKind::CursorAhead { newest: 50, .. }));
    drop(bridge);
    // And others than this one has, under the same sequences.
    publish(&bus, 1000..1060).await;
    let bridge = Bridge::forward("a.>").to(&rig.nats).start(&bus).await.unwrap();
    assert!(matches!(bridge.ended().await.unwrap_err().kind(), ErrorKind::CursorAhead { .. }));
    rig.has_all(100).await;
}

/// 250 events are acknowledged, and then the server has lost those from 100 on, with no bridge there.
async fn lose_what_was_acknowledged(rig: &mut Rig) {
    rig.stream().await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    rig.publish(0..100).await;
    wait(&bridge, |status| status.position == 100).await;
    let kept = keep_store(rig);
    rig.publish(100..250).await;
    wait(&bridge, |status| status.position == 250).await;
    bridge.stop().await.unwrap();
    lose_the_rest(rig, &kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_has_lost_though_it_had_acknowledged_it_is_sent_again() {
    let Some(mut rig) = Rig::new().await else { return };
    lose_what_was_acknowledged(&mut rig).await;
    rig.nats = NatsBus::connect(&rig.server.url()).await.unwrap();
    rig.publish(250..260).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    wait(&bridge, |status| status.position == 260).await;
    all_once(&stored(&rig.jetstream, "S").await, 260);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_stood_by_sees_what_the_server_has_lost_since() {
    let Some(mut rig) = Rig::new().await else { return };
    rig.stream().await;
    let (path, url) = (rig.place.path(), rig.server.url());
    let mut first = Process::start("bridge-run", &[path.to_str().unwrap(), &url, "0"]);
    assert_eq!(first.hear(), "begins");
    rig.publish(0..100).await;
    until_position(&rig, 100).await;
    let kept = keep_store(&mut rig);
    let bridge = rig.start(Bridge::forward("a.>")).await;
    rig.publish(100..250).await;
    until_position(&rig, 250).await;
    lose_the_rest(&mut rig, &kept);
    assert_eq!(bridge.status().state, BridgeState::StandingBy);
    first.kill();
    wait(&bridge, |status| status.state != BridgeState::StandingBy).await;
    rig.publish(250..260).await;
    wait(&bridge, |status| status.position == 260).await;
    all_once(&stored(&rig.jetstream, "S").await, 260);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_dies_as_it_goes_back_for_what_was_lost_leaves_that_to_the_next() {
    let Some(mut rig) = Rig::new().await else { return };
    lose_what_was_acknowledged(&mut rig).await;
    rig.publish(250..260).await;
    let (path, url) = (rig.place.path(), rig.server.url());
    let mut dies = Process::start("bridge-run", &[path.to_str().unwrap(), &url, "moving"]);
    assert_eq!(dies.hear(), "begins");
    assert_eq!(dies.hear_if_it_lives(), None);
    rig.nats = NatsBus::connect(&rig.server.url()).await.unwrap();
    let bridge = rig.start(Bridge::forward("a.>")).await;
    wait(&bridge, |status| status.position == 260).await;
    all_once(&stored(&rig.jetstream, "S").await, 260);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_was_changed_is_no_file_that_was_set_back() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    rig.publish(0..10).await;
    let bridge = rig.start(Bridge::forward("a.>").prefix("a")).await;
    wait(&bridge, |status| status.position == 10).await;
    bridge.stop().await.unwrap();
    rig.publish(10..20).await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    wait(&bridge, |status| status.position == 20).await;
    rig.has_all(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_keeps_events_under_other_subjects_has_each_of_them_once() {
    for elsewhere in ["a.moved.{{wildcard(1)}}", "moved.{{wildcard(1)}}"] {
        let Some(rig) = Rig::new().await else { return };
        let transform = SubjectTransform { source: "a.*".to_owned(), destination: elsewhere.to_owned() };
        rig.stream_with(Config { subject_transform: Some(transform), ..stream() }).await;
        rig.publish(0..20).await;
        let bridge = rig.start(Bridge::forward("a.>")).await;
        wait(&bridge, |status| status.position == 20).await;
        bridge.stop().await.unwrap();
        // As if the file did not know of the last ones.
        rig.bus.seek_consumer("bridge:default", rowbus::StartAt::Sequence(11)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        rig.publish(20..30).await;
        let bridge = rig.start(Bridge::forward("a.>")).await;
        wait(&bridge, |status| status.position == 30).await;
        rig.has_all(30).await;
    }
}

/// Until the file says so.
async fn until_position(rig: &Rig, position: u64) {
    let waited = async {
        while rig.bus.consumer_info("bridge:default").await.unwrap().ack_floor < position {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap();
}

/// What the server has by now, as what it has flushed: by default it flushes every two minutes.
fn keep_store(rig: &mut Rig) -> PathBuf {
    let kept = rig.place.join("store");
    rig.server.stop();
    copy_folder(&rig.server.store(), &kept);
    rig.server.restart();
    kept
}

/// As a power cut that leaves the server with what it has flushed.
fn lose_the_rest(rig: &mut Rig, kept: &Path) {
    rig.server.stop();
    let store = rig.server.store();
    std::fs::remove_dir_all(&store).unwrap();
    copy_folder(kept, &store);
    rig.server.restart();
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}
