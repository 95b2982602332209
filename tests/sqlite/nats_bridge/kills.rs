//! Bridges and servers that are killed at any point of what they do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rowbus::bridge::Bridge;
use rowbus::rusqlite::trace::{TraceEvent, TraceEventCodes};
use rowbus::{Durability, Durable, NatsBus, SqliteBus};

use super::Rig;
use crate::PATIENCE;
use crate::child::{Process, say};

/// Positions that are still written before the process kills itself; 0 while it is not to.
static POSITIONS_LEFT: AtomicU64 = AtomicU64::new(0);
/// It is to die as it moves its consumer back.
static DIES_MOVING: AtomicBool = AtomicBool::new(false);

/// Called as each statement begins: the acknowledgements are there, and the position is not yet written.
fn die_before_position(event: TraceEvent<'_>) {
    let TraceEvent::Stmt(_, sql) = event else { return };
    if !sql.starts_with("UPDATE bus_consumers") || !sql.contains("SET position =") {
        return;
    }
    let is_last =
        POSITIONS_LEFT.load(Ordering::SeqCst) > 0 && POSITIONS_LEFT.fetch_sub(1, Ordering::SeqCst) == 1;
    let is_moved = DIES_MOVING.load(Ordering::SeqCst) && sql.contains("epoch = epoch + 1");
    if is_last || is_moved {
        // SAFETY: plain system calls.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

/// A bridge in a process of its own, which dies as it is about to write its so-manieth position, or (`moving`) to move it back.
pub(super) async fn run(path: &str, url: &str, dies_at: &str) {
    DIES_MOVING.store(dies_at == "moving", Ordering::SeqCst);
    POSITIONS_LEFT.store(dies_at.parse().unwrap_or(0), Ordering::SeqCst);
    let builder = SqliteBus::builder(path).durability(Durability::Relaxed).busy_deadline(PATIENCE);
    let traced = builder.on_connect(|conn| {
        conn.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(die_before_position));
        Ok(())
    });
    let bus = traced.open().await.unwrap();
    // The server may be down just now.
    let nats = loop {
        match NatsBus::connect(url).await {
            Ok(nats) => break nats,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let forward = Bridge::forward("a.>").patience(Duration::from_secs(1)).to(&nats);
    let bridge = forward.start(&bus).await.unwrap();
    say("begins");
    bridge.ended().await.unwrap();
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// `ROWBUS_BRIDGE_EVENTS` has it forward more, and `ROWBUS_TEST_SEED` repeats a run.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_and_whenever_each_event_is_in_the_stream_once_and_in_order() {
    let Some(mut rig) = Rig::new().await else { return };
    rig.stream().await;
    let number =
        |name: &str, default: u64| std::env::var(name).ok().map_or(default, |value| value.parse().unwrap());
    let events = number("ROWBUS_BRIDGE_EVENTS", 10_000);
    let seed = number("ROWBUS_TEST_SEED", u64::from(std::process::id()));
    let mut chance = Chance(seed);
    let (path, url) = (rig.place.path(), rig.server.url());
    let start = |chance: &mut Chance| {
        // Some die on purpose, between the acknowledgement and the position.
        let dies_at = if chance.below(2) == 0 { 1 + chance.below(12) } else { 0 };
        Process::start("bridge-run", &[path.to_str().unwrap(), &url, &dies_at.to_string()])
    };
    let mut bridges = [start(&mut chance), start(&mut chance)];
    let bus = rig.bus.clone();
    let publisher = tokio::spawn(async move {
        // Slowly enough that much is killed meanwhile.
        let (mut at, mut chance) = (0, Chance(seed));
        while at < events {
            let to = (at + 1 + chance.below(500)).min(events);
            super::publish(&bus, at as usize..to as usize).await;
            at = to;
            tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        }
    });
    let (mut bridge_kills, mut server_kills) = (0, 0);
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(20 + chance.below(250))).await;
        let position = rig.bus.consumer_info("bridge:default").await.map_or(0, |info| info.ack_floor);
        if position >= events {
            break;
        }
        assert!(began.elapsed() < PATIENCE * 15, "seed {seed}: {position} of {events}");
        // What died on purpose is among them.
        if chance.below(5) == 0 {
            rig.server.kill();
            // Now and then for longer than the duplicate window.
            tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
            rig.server.restart();
            server_kills += 1;
        } else {
            let victim = usize::try_from(chance.below(2)).unwrap();
            bridges[victim].kill();
            bridges[victim] = start(&mut chance);
            bridge_kills += 1;
        }
    }
    publisher.await.unwrap();
    eprintln!(
        "seed {seed}: {events} events, {bridge_kills} kills of a bridge, {server_kills} of the server, {:?}",
        began.elapsed()
    );
    rig.has_all(events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_dies_between_acknowledgement_and_position_sends_nothing_twice() {
    let Some(rig) = Rig::new().await else { return };
    rig.stream().await;
    rig.publish(0..2000).await;
    let (path, url) = (rig.place.path(), rig.server.url());
    for _ in 0..3 {
        let mut bridge = Process::start("bridge-run", &[path.to_str().unwrap(), &url, "2"]);
        assert_eq!(bridge.hear(), "begins");
        assert_eq!(bridge.hear_if_it_lives(), None);
        // Beyond the duplicate window.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let bridge = rig.start(Bridge::forward("a.>")).await;
    let status = super::wait(&bridge, |status| status.position == 2000).await;
    assert!(status.found > 0, "{status:?}");
    rig.has_all(2000).await;
}
