//! Consumers on a file: processes that are killed, members that share, and what the file says of it.

mod clocks;
mod effects;
mod exact;
mod idle;
mod log;
mod members;
mod nacks;
mod places;
mod spoilers;
mod standbys;
mod tail;
mod truth;

use std::time::Duration;

use rowbus::{AckPolicy, Consumer, Delivery, Durable, Inbox, Publish, Result, SqliteBus};
use rowbus::{ConsumerInfo, MessengerExt, rusqlite::Connection};

use crate::child::Process;
use crate::{PATIENCE, Place};

/// What a child process does in one of these roles; `None` if it is none of them.
pub(crate) async fn role(words: &[&str]) -> Option<()> {
    match words {
        ["consumer-project", path, policy] => exact::project(path, policy_of(policy)).await,
        ["consumer-note", path, policy, log] => tail::note(path, policy_of(policy), log).await,
        ["consumer-share", path, log, seed] => members::share(path, log, seed.parse().unwrap()).await,
        ["consumer-stand-by", path, log] => standbys::stand_by(path, log).await,
        ["consumer-nack", path, policy] => nacks::nack_for_a_second(path, policy_of(policy)).await,
        _ => return None,
    }
    Some(())
}

const BOTH: [AckPolicy; 2] = [AckPolicy::Explicit, AckPolicy::Cumulative];

fn policy_of(word: &str) -> AckPolicy {
    BOTH.into_iter().find(|policy| policy.as_str() == word).unwrap()
}

/// A sequence of numbers that is the same for the same seed; that of `ROWBUS_SEED`, where a test has one.
struct Chance(u64);

impl Chance {
    fn from_env() -> Self {
        Self(std::env::var("ROWBUS_SEED").map_or(7, |seed| seed.parse().unwrap()))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// Publishes numbers, from the first to before the last, in transactions of so many.
async fn publish_numbers(bus: &SqliteBus, subject: &str, numbers: std::ops::Range<u64>, batch: usize) {
    let numbers: Vec<u64> = numbers.collect();
    for batch in numbers.chunks(batch) {
        bus.publish_all(batch.iter().map(|number| Publish::new(subject, number.to_string()))).await.unwrap();
    }
}

/// The next item, which has to come.
async fn next(inbox: &mut Inbox) -> Result<Delivery> {
    tokio::time::timeout(PATIENCE, inbox.next()).await.expect("an item in time").expect("the inbox goes on")
}

/// The next delivery's number.
async fn next_number(inbox: &mut Inbox) -> u64 {
    next(inbox).await.unwrap().text().unwrap().parse().unwrap()
}

/// Waits until the consumer is as wanted.
async fn fares(
    bus: &SqliteBus,
    name: &str,
    what: &str,
    wanted: impl Fn(&ConsumerInfo) -> bool,
) -> ConsumerInfo {
    let start = std::time::Instant::now();
    loop {
        let info = bus.consumer_info(name).await.unwrap();
        if wanted(&info) {
            return info;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}: {info:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Kills the process 200 times, after 50 to 200 ms each, while 100,000 numbers are published: half of them ahead, so that there
/// is always enough to do, and the others bit by bit, so that there is also something new. The last process is left alive.
async fn while_it_is_killed(place: &Place, bus: &SqliteBus, start: impl Fn() -> Process) -> Process {
    let mut chance = Chance::from_env();
    publish_numbers(bus, "number", 1..ALL / 2 + 1, 500).await;
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            let mut at = ALL / 2 + 1;
            // 200 kills take about 25 s; this is done a little before.
            let mut ticks = tokio::time::interval(Duration::from_millis(4));
            while at <= ALL {
                ticks.tick().await;
                publish_numbers(&bus, "number", at..(at + 10).min(ALL + 1), 10).await;
                at += 10;
            }
        }
    });
    let (mut behind, newest) = (0, "SELECT max(id) FROM bus_events");
    for _ in 0..KILLS {
        let mut victim = start();
        assert_eq!(victim.hear(), "ready");
        tokio::time::sleep(chance.millis(50, 200)).await;
        victim.kill();
        let sql: Connection = place.sql();
        let position = "SELECT min(position) FROM bus_consumers";
        let one = |statement| sql.query_row(statement, [], |row| row.get::<_, Option<i64>>(0)).unwrap();
        behind += usize::from(one(position) < one(newest));
    }
    eprintln!("{KILLS} kills, {behind} of them with events left to handle");
    assert!(behind > 0, "none was killed at work");
    publishing.await.unwrap();
    start()
}

/// How many numbers are published while a process is killed.
const ALL: u64 = 100_000;
const KILLS: usize = 200;

/// The consumer that this module's processes open.
fn consumer(policy: AckPolicy) -> Consumer {
    Consumer::durable("it").filter("number").ack_policy(policy)
}
