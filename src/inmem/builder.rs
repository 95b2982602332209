//! The options of the bus in memory.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::defaults::{DEDUP_WINDOW, MAX_PAYLOAD, MEMORY_LOG, MEMORY_LOG_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::inmem::InMemBus;
use crate::inmem::broker::Broker;
use crate::inmem::dedup::Dedup;
use crate::inmem::log::Log;
use crate::inmem::shared::Shared;

/// The options of an [`InMemBus`]; [`build`](Self::build) checks them.
///
/// ```
/// use std::time::Duration;
///
/// use rowbus::InMemBus;
///
/// let bus = InMemBus::builder().max_payload(64 << 10).dedup_window(Duration::from_secs(5)).build()?;
/// assert!(InMemBus::builder().log_capacity(0).build().is_err());
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a bus is made by `build`"]
pub struct InMemBuilder {
    max_payload: usize,
    dedup_window: Duration,
    log_capacity: usize,
    log_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl Default for InMemBuilder {
    fn default() -> Self {
        Self {
            max_payload: MAX_PAYLOAD,
            dedup_window: DEDUP_WINDOW,
            log_capacity: MEMORY_LOG,
            log_bytes: MEMORY_LOG_BYTES,
            clock: Arc::new(SystemClock),
        }
    }
}

impl InMemBuilder {
    /// How many bytes payload and encoded headers of one message may have together: 1 MiB unless set.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// How long a `message_id` is remembered: 2 minutes unless set, at least 1 ms.
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.dedup_window = window;
        self
    }

    /// How many events are kept for replay: 65,536 unless set, at least 1. Beyond that, each new one takes
    /// the place of the oldest.
    pub fn log_capacity(mut self, messages: usize) -> Self {
        self.log_capacity = messages;
        self
    }

    /// How many bytes of payload and encoded headers are kept for replay: 64 MiB unless set. The newest event
    /// is kept even if it is larger.
    pub fn log_bytes(mut self, bytes: usize) -> Self {
        self.log_bytes = bytes;
        self
    }

    /// Where event times, due times, deadlines and the window against duplicates take the time from: the system's clocks
    /// unless set; see [`InMemBus::nudge`]. It is asked under the lock of the bus, so that times follow the order of the log, and must not
    /// use the bus itself.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A new, empty bus.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for an option out of its range.
    pub fn build(self) -> Result<InMemBus> {
        if self.log_capacity == 0 {
            return Err(Error::new(ErrorKind::InvalidOption, "log_capacity is at least 1 message; got 0"));
        }
        if self.dedup_window < Duration::from_millis(1) {
            let message = format!("dedup_window is at least 1 ms; got {:?}", self.dedup_window);
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(self.build_unchecked())
    }

    /// For options known to be in range.
    pub(super) fn build_unchecked(self) -> InMemBus {
        let log = Log::new(self.log_capacity, self.log_bytes);
        let dedup = Dedup::new(self.dedup_window);
        let broker = Broker::new(Arc::clone(&self.clock), self.max_payload);
        InMemBus::over(Shared::new(log, dedup, self.clock, self.max_payload), broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused_with_their_name_and_value() {
        let refusal = |builder: InMemBuilder| {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            error.to_string()
        };
        assert!(refusal(InMemBus::builder().log_capacity(0)).contains("log_capacity"));
        assert!(refusal(InMemBus::builder().dedup_window(Duration::from_micros(1))).contains("1µs"));
    }
}
