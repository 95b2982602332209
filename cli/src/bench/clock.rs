//! Times that two processes can compare.

use std::time::Duration;

/// Bytes of a time in a payload.
pub(crate) const BYTES: usize = 8;

/// What the times are of, as the result names it. A monotonic clock of the system counts for all processes alike, which
/// `Instant` promises within one only.
#[cfg(unix)]
pub(crate) const NAME: &str = "monotonic";
/// The wall clock may be set while it is measured; there is no other that two processes share without unsafe code.
#[cfg(not(unix))]
pub(crate) const NAME: &str = "wall";

/// Nanoseconds since a moment that is the same for all processes.
#[cfg(unix)]
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    nanos(Duration::try_from(now).unwrap_or_default())
}

#[cfg(not(unix))]
pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now();
    nanos(now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}

/// A time in nanoseconds, of which 64 bits hold 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A payload of this size, of at least [`BYTES`], that begins with the time.
pub(crate) fn stamped(size: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; size];
    payload[..BYTES].copy_from_slice(&now().to_le_bytes());
    payload
}

/// Nanoseconds since the payload was stamped; `None` if it was not.
pub(crate) fn age(payload: &[u8]) -> Option<u64> {
    let now = now();
    let (stamp, _) = payload.split_first_chunk()?;
    Some(now.saturating_sub(u64::from_le_bytes(*stamp)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_when_it_was_stamped() {
        let payload = stamped(BYTES);
        std::thread::sleep(Duration::from_millis(2));
        let age = age(&payload).unwrap();
        assert!((2_000_000..60_000_000_000).contains(&age), "{age}");
        assert_eq!(super::age(b"short"), None);
    }
}
