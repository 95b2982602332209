//! How a consumer fares.

use chrono::{DateTime, Utc};

use crate::consumer_settings::ConsumerSettings;
use crate::job_handle::Failure;

/// How a consumer fares; from [`Durable::consumer_info`](crate::Durable::consumer_info). The names are those of NATS wherever it
/// has the thing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub settings: ConsumerSettings,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Every event up to this sequence is done with.
    pub ack_floor: u64,
    /// Every event up to this sequence was delivered once, or need not be. Of a cumulative consumer the same as `ack_floor`: what
    /// its member has read ahead is known to nobody else.
    pub delivered: u64,
    /// Matching events that were not delivered yet, counted up to a bound, and those that were given back as if they had not been.
    /// A NATS server may count an event a moment after it has acknowledged it.
    pub num_pending: u64,
    /// Whether `num_pending` is all of them: else there are at least that many.
    pub num_pending_is_exact: bool,
    /// Deliveries that members hold.
    pub num_ack_pending: u64,
    /// Deliveries that members hold and that are not the first of their events, and what waits to come again.
    pub num_redelivered: u64,
    /// Deliveries that wait out a pause before they come again.
    pub num_backing_off: u64,
    /// How many sequences the ack floor is behind the newest event, of whichever subject.
    pub lag: u64,
    /// How long the oldest matching event that is not done with has been there, in milliseconds; 0 if there is none.
    pub lag_millis: u64,
    /// How many have it open, if that is known.
    pub members: Option<usize>,
    /// Whether it is paused.
    pub paused: bool,
    /// Why it has stopped: what was said of the event that it stands in front of, as the reason to terminate it or the last
    /// failure.
    pub stopped: Option<String>,
    /// How deliveries of the event behind the ack floor have failed, of a cumulative consumer.
    pub failures: Vec<Failure>,
}

impl ConsumerInfo {
    /// What a backend knows of every consumer; the rest is set on it.
    pub fn new(name: impl Into<String>, settings: ConsumerSettings, created_at: DateTime<Utc>) -> Self {
        Self {
            name: name.into(),
            settings,
            created_at,
            ack_floor: 0,
            delivered: 0,
            num_pending: 0,
            num_pending_is_exact: true,
            num_ack_pending: 0,
            num_redelivered: 0,
            num_backing_off: 0,
            lag: 0,
            lag_millis: 0,
            members: None,
            paused: false,
            stopped: None,
            failures: Vec::new(),
        }
    }
}
