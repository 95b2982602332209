//! A disk that is full, again and again: what was acknowledged is there, and pruning alone brings it back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rowbus::rusqlite::Connection;
use rowbus::{Durability, ErrorKind, Job, Messenger, MessengerExt, Publish, Retention, SqliteBus};

use crate::{PATIENCE, from_oldest, next};

/// Fills, fails, prunes and goes on so many times.
const ROUNDS: usize = 100;

#[tokio::test]
async fn a_full_disk_is_brought_back_by_pruning_alone_a_hundred_times_over() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(folder.path()).status();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs"]).is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting a small tmpfs takes root");
        return;
    }
    let rounds = std::panic::AssertUnwindSafe(fill_and_prune(folder.path().join("bus.db")));
    let outcome = rounds.catch_unwind().await;
    assert!(mount(&["umount", "-l"]).unwrap().success());
    outcome.unwrap();
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as i64
}

async fn fill_and_prune(path: PathBuf) {
    let bus = SqliteBus::builder(&path).durability(Durability::Relaxed).open().await.unwrap();
    let other = SqliteBus::builder(&path).durability(Durability::Relaxed).open().await.unwrap();
    // A connection of another program, which knows of no reserve.
    let sql = Connection::open(&path).unwrap();
    sql.busy_timeout(PATIENCE).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // What was acknowledged and is not pruned: the first byte and the length of each.
    let (mut kept, mut published, mut waits) = (BTreeMap::<u64, (u8, usize)>::new(), 0, Duration::ZERO);
    for round in 0..ROUNDS {
        let start = Instant::now();
        let mut filled = 0;
        loop {
            let (byte, length) = (random.below(256) as u8, 1 + random.below(60_000) as usize);
            let sender = if random.below(4) == 0 { &other } else { &bus };
            match sender.publish("a", vec![byte; length]).await {
                Ok(ack) => {
                    kept.insert(ack.sequence, (byte, length));
                    (filled, published) = (filled + 1, published + 1);
                    if filled == 1 {
                        waits += start.elapsed();
                    }
                }
                // The WAL of what was deleted is still being given back.
                Err(error) if filled == 0 => {
                    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
                    assert!(start.elapsed() < PATIENCE, "round {round}: there is never room again");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
                    assert!(error.to_string().contains("kept for pruning"), "SQLite was first: {error}");
                    break;
                }
            }
        }
        // A batch is there whole or not at all; the WAL may have been given back meanwhile, so that there is room for it.
        match bus.publish_all((0..3).map(|_| Publish::new("a", vec![0; 200_000]))).await {
            Ok(acks) => kept.extend(acks.iter().map(|ack| (ack.sequence, (0, 200_000)))),
            Err(error) => assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}"),
        }
        // There is never room for as much as this, however small the messages are that it is made of.
        let flood = (0..20_000).map(|_| Publish::new("a", vec![0; 400]));
        assert_eq!(bus.publish_all(flood).await.unwrap_err().kind(), ErrorKind::DiskFull);
        let then = now();
        let flood = (0..20_000).map(|_| (Publish::new("a", vec![0; 400]), then));
        let error = bus.import_all(flood.collect()).await.unwrap_err();
        assert!(error.to_string().contains("kept for pruning"), "SQLite was first: {error}");
        let jobs = (0..9).map(|_| Job::new("j", vec![0; 1_000_000]));
        let jobs = rowbus::DurableExt::enqueue_all(&bus, jobs).await;
        assert_eq!(jobs.unwrap_err().kind(), ErrorKind::DiskFull);
        // Some of the oldest go: by a policy of the bus, or by plain SQL in one transaction or in small ones.
        let newest = *kept.last_key_value().unwrap().0;
        let oldest = *kept.first_key_value().unwrap().0;
        let through = oldest + (newest - oldest) * (20 + random.below(75)) / 100;
        let way = random.below(3);
        if way == 0 {
            let policy = Retention::new().max_messages(kept.range(through + 1..).count() as u64);
            other.set_retention(">", policy).await.unwrap();
            bus.prune().await.unwrap();
            other.set_retention(">", Retention::keep_everything()).await.unwrap();
        }
        let step = if way == 1 { u64::MAX } else { 7 };
        let mut at = if way == 0 { u64::MAX } else { oldest };
        while at <= through {
            let to = through.min(at.saturating_add(step - 1));
            let deleted = sql.execute("DELETE FROM bus_events WHERE id <= ?1", [to.cast_signed()]);
            assert!(deleted.is_ok(), "round {round}: pruning does not work any more: {deleted:?}");
            at = to.saturating_add(1);
        }
        kept = kept.split_off(&(through + 1));
    }
    assert_eq!(
        sql.query_row("SELECT count(*) FROM bus_requests", [], |row| row.get::<_, i64>(0)).unwrap(),
        0
    );
    eprintln!("{published} events in {ROUNDS} rounds; {waits:?} until there was room again, all together");
    let mut all = from_oldest(&other, "a").await;
    for (sequence, (byte, length)) in kept {
        let message = next(&mut all).await.unwrap();
        assert_eq!((message.sequence(), message.payload().len()), (sequence, length));
        assert!(message.payload().iter().all(|found| *found == byte));
    }
    drop((all, sql));
    let refused = bus.stats().await.unwrap().bus.disk_full;
    assert!(refused > ROUNDS as u64);
    other.close().await.unwrap();
    bus.close().await.unwrap();
    let diagnosis = rowbus::sqlite::diagnose(&path, rowbus::sqlite::Depth::Full).unwrap();
    assert!(diagnosis.findings.iter().all(|found| found.check != "integrity" || found.remedy.is_none()));
}
