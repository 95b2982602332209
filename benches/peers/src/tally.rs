//! Jobs that a system gives to handlers: how many were done, and the time from one to the next.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::measure::{Meter, micros};
use crate::sample::Report;

#[derive(Debug)]
pub struct Tally {
    waiting: usize,
    done: Mutex<Done>,
    gone: Notify,
}

#[derive(Debug)]
struct Done {
    last: Instant,
    delays: Vec<f64>,
}

impl Tally {
    pub fn new(waiting: usize) -> Arc<Self> {
        let done = Mutex::new(Done { last: Instant::now(), delays: Vec::new() });
        Arc::new(Self { waiting, done, gone: Notify::new() })
    }

    /// By each handler.
    pub fn count(&self) {
        let mut done = self.done.lock().unwrap();
        let delay = micros(done.last);
        done.last = Instant::now();
        done.delays.push(delay);
        if done.delays.len() == self.waiting {
            self.gone.notify_one();
        }
    }

    /// Returns when the time is over or nothing waits any more.
    pub async fn wait(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.gone.notified()).await;
    }

    /// When the system has written what its handlers have done: all that was counted counts. There are delays where jobs
    /// are done one at a time.
    pub fn stop(&self, meter: Meter, batch: usize) -> Report {
        let delays = std::mem::take(&mut self.done.lock().unwrap().delays);
        meter.stop(Some(delays.len()), if batch == 1 { delays } else { Vec::new() })
    }
}
