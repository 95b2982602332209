//! The wall clock, so that tests can pass time in.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a bus takes the time from: event times, due times and the window against duplicates from the wall clock; leases and
/// deadlines from the time awake, which no clock setting moves.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn unix_millis(&self) -> i64;

    /// Milliseconds that the machine was awake since it was started, the same for all of its processes. On systems other
    /// than Linux it is the wall clock.
    fn awake_millis(&self) -> i64 {
        awake_millis()
    }

    /// Milliseconds that have passed since the machine was started, whether it was awake or not: what tells a jump of the wall
    /// clock from a night with the lid closed. On systems other than Linux, since this process began.
    fn boot_millis(&self) -> i64 {
        boot_millis()
    }
}

#[cfg(all(feature = "sqlite", target_os = "linux"))]
fn boot_millis() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}

#[cfg(not(all(feature = "sqlite", target_os = "linux")))]
fn boot_millis() -> i64 {
    use std::sync::LazyLock;
    use std::time::Instant;
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(all(feature = "sqlite", target_os = "linux"))]
fn awake_millis() -> i64 {
    // CLOCK_MONOTONIC stands still in suspend.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}

#[cfg(not(all(feature = "sqlite", target_os = "linux")))]
fn awake_millis() -> i64 {
    SystemClock.unix_millis()
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_millis(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
        }
    }
}
