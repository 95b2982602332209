//! What wakes the bus when something is due though nobody asks: one task, asleep until then.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::inmem::broker::Broker;
use crate::inmem::requests::{Due, Now};

/// While something is due later, the clocks are looked at so often at least, for they may be set or have stood still.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The broker's side of it.
#[derive(Default)]
pub(super) struct Timer {
    task: Option<AbortHandle>,
    rearm: Arc<Notify>,
    /// What the task sleeps until, or will when it has read what it was told.
    armed: Due,
}

impl Timer {
    /// Has the task awake by then. It is started at first need, and again where its runtime has ended; outside of a runtime
    /// that waits for the next step.
    pub(super) fn arm(&mut self, due: Due, broker: &Arc<Broker>) {
        if due == Due::default() {
            return;
        }
        if self.task.as_ref().is_none_or(AbortHandle::is_finished) {
            let Ok(runtime) = Handle::try_current() else {
                return;
            };
            self.armed = due;
            let task = runtime.spawn(run(Arc::downgrade(broker), Arc::clone(&self.rearm)));
            self.task = Some(task.abort_handle());
        } else if is_earlier(due.unix, self.armed.unix) || is_earlier(due.awake, self.armed.awake) {
            self.armed = due;
            self.rearm.notify_one();
        }
    }

    /// The task has read what is next.
    pub(super) fn told(&mut self, due: Due) {
        self.armed = due;
    }

    /// Has the task read what is next.
    pub(super) fn wake(&self) {
        self.rearm.notify_one();
    }

    pub(super) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(broker: Weak<Broker>, rearm: Arc<Notify>) {
    // Grows while the clock does not reach what was slept for, as one does that a test holds still.
    let mut patience = Duration::ZERO;
    loop {
        let Some((due, now)) = broker.upgrade().map(|broker| broker.tick()) else {
            return;
        };
        let Some(remaining) = remaining(due, now) else {
            rearm.notified().await;
            continue;
        };
        let sleep = remaining.max(patience).min(LONGEST_SLEEP);
        patience = match tokio::time::timeout(sleep, rearm.notified()).await {
            Ok(()) => Duration::ZERO,
            Err(_) => (patience * 2).clamp(Duration::from_millis(1), LONGEST_SLEEP),
        };
    }
}

/// The time until something is due.
fn remaining(due: Due, now: Now) -> Option<Duration> {
    let until = |at: Option<i64>, now: i64| {
        Some(Duration::from_millis(u64::try_from(at?.saturating_sub(now)).unwrap_or(0)))
    };
    let (unix, awake) = (until(due.unix, now.unix), until(due.awake, now.awake));
    unix.into_iter().chain(awake).min()
}

fn is_earlier(due: Option<i64>, armed: Option<i64>) -> bool {
    due.is_some_and(|due| armed.is_none_or(|armed| due < armed))
}
