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
    /// An acknowledged event is in a log and has a sequence. Else it was passed on to whoever listened, and its sequence is 0.
    pub logged: bool,
    /// Requests wait in one place, and go to a server that has a place for them. Else each is dealt out when it is made, and waits
    /// at its server although another may be free.
    pub shared_queue: bool,
    /// What a server held that has died is given to another, or its caller told, before the deadline.
    pub takes_over: bool,
    /// `as_durable` gives a bus that keeps jobs.
    pub jobs: bool,
    /// `as_durable` gives a bus that keeps consumers.
    pub consumers: bool,
    /// A duplicate is acknowledged as one although what it [expects](Self::expect_last) has changed since.
    pub duplicates_before_expectations: bool,
    /// A batch may hold duplicates, which are not published.
    pub duplicates_in_batches: bool,
    /// Consumers may be [cumulative](crate::AckPolicy::Cumulative).
    pub cumulative_consumers: bool,
    /// What waits out a backoff uses up no [`max_ack_pending`](crate::Consumer::max_ack_pending), and is told apart.
    pub backing_off_apart: bool,
    /// A dead letter has a line for each attempt that failed, and not for the last one alone.
    pub failure_history: bool,
    /// A dead letter is written in one step with the end of what it is a copy of, and not a moment before.
    pub dead_letters_in_one_step: bool,
    /// Dead letters can be [requeued](crate::Durable::requeue).
    pub requeue: bool,
    /// [`Durable::job`](crate::Durable::job) tells how a job fares.
    pub job_info: bool,
    /// Jobs can be [cancelled](crate::Durable::cancel).
    pub job_cancellation: bool,
    /// Jobs may have [priorities](crate::Job::priority).
    pub job_priorities: bool,
    /// Jobs may have [keys](crate::Job::key).
    pub job_keys: bool,
    /// Jobs may have [unique keys](crate::Job::unique).
    pub job_uniqueness: bool,
    /// Jobs may [expire](crate::Job::expires_in).
    pub job_expiry: bool,
    /// Subjects can be [paused](crate::Durable::pause).
    pub job_pauses: bool,
    /// A job that its server gives back was not tried.
    pub free_releases: bool,
    /// A server with a wildcard takes jobs of the subjects that wait in turn.
    pub fair_subjects: bool,
    /// [`Delivery::release`](crate::Delivery::release) gives a delivery back without counting it.
    pub releases: bool,
}

impl Capabilities {
    /// None at all; a backend sets what it has.
    pub fn none() -> Self {
        Self::default()
    }
}
