//! What backends cannot share is named here, not hidden.

/// What a backend has beyond the contract that all share; see [`Messenger::capabilities`](crate::Messenger::capabilities).
///
/// ```
/// use rowbus::{InMemBus, Messenger};
///
/// let bus = InMemBus::new();
/// assert!(bus.capabilities().replay && !bus.capabilities().lossless);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// What was acknowledged outlives the process.
    pub durable: bool,
    /// Streams may begin in the past, and `last` works.
    pub replay: bool,
    /// All subscribers see one total order, that of the sequences.
    pub total_order: bool,
    /// A subscriber that falls behind loses nothing that the log still holds.
    pub lossless: bool,
    /// `send_all` lands whole or not at all.
    pub atomic_batches: bool,
    /// `message_id` keeps duplicates out.
    pub deduplication: bool,
    /// `expect_last` is checked.
    pub expect_last: bool,
    /// A request waits until its deadline for a server that starts late.
    pub waits_for_servers: bool,
    /// `as_durable` gives a bus that keeps jobs.
    pub jobs: bool,
    /// `as_durable` gives a bus that keeps consumers.
    pub consumers: bool,
}

impl Capabilities {
    /// None at all; a backend sets what it has.
    pub fn none() -> Self {
        Self::default()
    }
}
