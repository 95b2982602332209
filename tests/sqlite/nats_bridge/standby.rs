//! Two bridges of one name on a file, in two processes.

use rowbus::bridge::{Bridge, BridgeState};

use super::{Rig, wait};
use crate::child::Process;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_bridges_one_works_and_the_other_takes_over_when_it_is_killed() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    let (path, url) = (rig.place.path(), rig.server.url());
    let mut first = Process::start("bridge-run", &[path.to_str().unwrap(), &url, "0"]);
    assert_eq!(first.hear(), "begins");
    rig.publish(0..100).await;
    while rig.jetstream.get_stream("S").await.unwrap().cached_info().state.messages < 100 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let bridge = rig.start(Bridge::forward("a.>")).await;
    rig.publish(100..200).await;
    while rig.jetstream.get_stream("S").await.unwrap().cached_info().state.messages < 200 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let status = bridge.status();
    assert_eq!((status.state, status.forwarded), (BridgeState::StandingBy, 0));
    first.kill();
    wait(&bridge, |status| status.state == BridgeState::Forwarding).await;
    rig.publish(200..300).await;
    let status = wait(&bridge, |status| status.position == 300).await;
    assert!(status.forwarded >= 100, "{status:?}");
    rig.has_all(300).await;
}
