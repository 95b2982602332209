//! What is sent, and when.

use std::time::Duration;

/// Bytes of payload in every measurement.
pub const SIZE: usize = 128;
pub const PAYLOAD: [u8; SIZE] = [b'x'; SIZE];
pub const SUBJECT: &str = "bench.orders.created";
pub const FILTER: &str = "bench.>";

/// Between two deliveries, so that the reader has gone to sleep: random, since a reader that looks at its file in a
/// fixed rhythm must not meet a publisher in the same rhythm.
const PAUSE_MICROS: std::ops::Range<u64> = 300..3_000;
pub const MEAN_PAUSE: Duration = Duration::from_micros((PAUSE_MICROS.start + PAUSE_MICROS.end) / 2);

/// Nanoseconds of CLOCK_MONOTONIC, which all processes share.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) }, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A payload that says when it was sent. It is text, since honker's are JSON.
pub fn stamped(sent: u64) -> String {
    format!("{sent:020}{}", "x".repeat(SIZE - 20))
}

pub fn sent_at(payload: &[u8]) -> u64 {
    assert_eq!(payload.len(), SIZE);
    payload[..20].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// The same pauses for every system.
pub struct Pauses(u64);

impl Pauses {
    pub fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    pub fn pause(&mut self) {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let micros = PAUSE_MICROS.start + self.0 % (PAUSE_MICROS.end - PAUSE_MICROS.start);
        std::thread::sleep(Duration::from_micros(micros));
    }
}
