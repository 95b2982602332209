//! Retention on a file: what goes and what stays, whoever is killed and whatever the clock says.

mod ages;
mod counts;
mod gaps;
mod kept;
mod others;
mod turns;

use std::sync::Mutex;

use rowbus::{Clock, Publish, RetentionInfo, SqliteBus};
use rowbus::{Messenger, rusqlite::Connection};

/// What a child process does in one of these roles; `None` if it is none of them.
pub(crate) async fn role(words: &[&str]) -> Option<()> {
    match words {
        ["retention-prune", path, name] => counts::publish_and_prune(path, name).await,
        ["retention-consume", path, log] => kept::consume(path, log).await,
        ["retention-keep", path] => kept::prune(path).await,
        ["retention-open", path] => turns::open(path).await,
        _ => return None,
    }
    Some(())
}

const SECOND: i64 = 1_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// A clock that is set by hand.
#[derive(Debug)]
struct Set(Mutex<(i64, i64)>);

impl Set {
    fn at(wall: i64) -> Self {
        Self(Mutex::new((wall, 1_000_000)))
    }

    /// Time passes.
    fn pass(&self, millis: i64) {
        let mut set = self.0.lock().unwrap();
        *set = (set.0 + millis, set.1 + millis);
    }

    /// Somebody sets the wall clock.
    fn jump(&self, millis: i64) {
        self.0.lock().unwrap().0 += millis;
    }
}

impl Clock for Set {
    fn unix_millis(&self) -> i64 {
        self.0.lock().unwrap().0
    }

    fn boot_millis(&self) -> i64 {
        self.0.lock().unwrap().1
    }
}

async fn publish(bus: &SqliteBus, subject: &str, count: usize) {
    bus.send_all((0..count).map(|at| Publish::new(subject, at.to_string())).collect()).await.unwrap();
}

/// The sequences that are there.
fn there(sql: &Connection) -> Vec<i64> {
    let mut statement = sql.prepare("SELECT id FROM bus_events ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

async fn policy(bus: &SqliteBus, filter: &str) -> RetentionInfo {
    let policies = bus.retention().await.unwrap();
    policies.into_iter().find(|policy| policy.filter.as_str() == filter).unwrap()
}
