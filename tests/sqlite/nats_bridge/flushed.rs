//! Nothing leaves the file that a power cut could still take from it.

use super::Rig;
use crate::child::Process;
use crate::linux::failing_sync;
use crate::until;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forwarded_before_an_fsync_covers_it() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    let (library, switch) = (failing_sync(&rig.place), rig.place.join("switch"));
    let (path, url) = (rig.place.path(), rig.server.url());
    let mut bridge = Process::start_with(
        "bridge-run",
        &[path.to_str().unwrap(), &url, "0"],
        &[("LD_PRELOAD", &library), ("FAIL_WHILE", &switch)],
    );
    assert_eq!(bridge.hear(), "begins");
    std::fs::write(&switch, "").unwrap();
    // Relaxed, and by another process, whose disk works: only the bridge's own flush can tell.
    rig.publish(0..100).await;
    let failures = rig.place.join("switch.failed");
    until("the bridge has tried to flush again and again", || {
        std::fs::metadata(&failures).is_ok_and(|failed| failed.len() >= 2)
    })
    .await;
    assert_eq!(rig.stored().await.len(), 0);
    std::fs::remove_file(&switch).unwrap();
    while rig.jetstream.get_stream("S").await.unwrap().cached_info().state.messages < 100 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    rig.has_all(100).await;
}
