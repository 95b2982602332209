//! A line to the server that fails: cut, mute, or with a server that is restarted behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rowbus::NatsBus;
use rowbus::bridge::{Bridge, BridgeState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Rig, wait};

/// Longer than the duplicate window of the streams here.
const BEYOND: Duration = Duration::from_millis(300);

/// A line between a client and a server. What is muted takes what the client sends to the server, and answers nothing.
struct Line {
    address: String,
    muted: Arc<AtomicBool>,
    connections: Arc<tokio::sync::Mutex<JoinSet<()>>>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let muted = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
        let (mutes, all) = (Arc::clone(&muted), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                all.lock().await.spawn(carry(client, server, Arc::clone(&mutes)));
            }
        });
        Self { address, muted, connections }
    }

    fn mute(&self) {
        self.muted.store(true, Ordering::SeqCst);
    }

    /// Every connection ends; new ones are heard again.
    async fn cut(&self) {
        self.connections.lock().await.abort_all();
        self.muted.store(false, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, server: TcpStream, muted: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let down = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            if !muted.load(Ordering::SeqCst) {
                to_client.write_all(&buffer[..read]).await?;
            }
        }
    };
    let ended: Result<(), std::io::Error> = tokio::select! { ended = up => ended, ended = down => ended };
    drop(ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_and_never_acknowledged_is_found_beyond_the_duplicate_window() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    let line = Line::to(rig.server.address()).await;
    let nats = NatsBus::connect(&format!("nats://{}", line.address)).await.unwrap();
    let patient = Bridge::forward("a.>").patience(Duration::from_secs(1)).to(&nats);
    let bridge = patient.start(&rig.bus).await.unwrap();
    rig.publish(0..10).await;
    wait(&bridge, |status| status.position == 10).await;
    line.mute();
    rig.publish(10..100).await;
    // The stream has them, and no answer comes.
    let stored = || async { rig.jetstream.get_stream("S").await.unwrap().cached_info().state.messages };
    while stored().await < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bridge.status().position, 10);
    tokio::time::sleep(BEYOND).await;
    line.cut().await;
    let status = wait(&bridge, |status| status.position == 100).await;
    assert_eq!((status.forwarded, status.found), (10, 90), "{status:?}");
    rig.publish(100..150).await;
    wait(&bridge, |status| status.position == 150).await;
    rig.has_all(150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_again_and_again_costs_no_event_and_brings_none_twice() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    let line = Line::to(rig.server.address()).await;
    let nats = NatsBus::connect(&format!("nats://{}", line.address)).await.unwrap();
    let patient = Bridge::forward("a.>").patience(Duration::from_secs(1)).to(&nats);
    let bridge = patient.start(&rig.bus).await.unwrap();
    for round in 0..8 {
        rig.publish(round * 1000..(round + 1) * 1000).await;
        let some = round as u64 * 1000 + 100;
        wait(&bridge, |status| status.position >= some).await;
        if round % 2 == 0 {
            line.mute();
            tokio::time::sleep(BEYOND).await;
        }
        line.cut().await;
    }
    wait(&bridge, |status| status.position == 8000).await;
    rig.has_all(8000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_waited_for() {
    let Some(mut rig) = Rig::new().await else { return };
    rig.stream().await;
    let bridge = rig.start(Bridge::forward("a.>")).await;
    rig.publish(0..100).await;
    wait(&bridge, |status| status.position == 100).await;
    rig.server.kill();
    rig.publish(100..300).await;
    let status = wait(&bridge, |status| status.state == BridgeState::Waiting).await;
    assert_eq!(status.position, 100);
    tokio::time::sleep(BEYOND).await;
    rig.server.restart();
    wait(&bridge, |status| status.position == 300).await;
    rig.has_all(300).await;
}
