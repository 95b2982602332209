//! A consumer to open: a name whose position lives with the log, and options.

use std::fmt;
use std::time::Duration;

use crate::consumer_settings::ConsumerSettings;
use crate::defaults::{MAX_CONSUMER_FILTERS, MAX_CONSUMER_NAME};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::retry::Backoff;
use crate::subscribe::StartAt;

/// How what was handled is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AckPolicy {
    /// Each delivery on its own, in any order. The consumer's members, in whichever processes, share the events; what is not
    /// acknowledged in time comes again, to any of them.
    #[default]
    Explicit,
    /// An acknowledgement counts for everything before it as well, and only the position is kept. One member is active and
    /// gets the events in order; the others stand by, and one of them goes on when it leaves or dies. (NATS calls it `All`.)
    Cumulative,
}

impl AckPolicy {
    /// The word for it, as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Cumulative => "cumulative",
        }
    }
}

impl fmt::Display for AckPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a cumulative consumer does with an event that it gives up on. An explicit one always writes a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnFailure {
    /// It stops in front of the event, and the active member's inbox ends with [`ErrorKind::ConsumerStopped`]. Those who stand by
    /// wait until the consumer is resumed, moved or opened anew; then it tries the event again, with all attempts before it.
    #[default]
    Stop,
    /// It makes a dead letter of the event, and goes on behind it.
    DeadLetter,
}

impl OnFailure {
    /// The word for it, as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::DeadLetter => "dead_letter",
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A consumer to open: a name, filters and options. It is made where there is none of this name.
///
/// Words and meanings are those of NATS JetStream wherever it has the thing. An option that is not given is as it was when
/// the consumer was last opened, and the default in a new one. One that is given changes an existing consumer for all its
/// members; only `ack_policy` and the start cannot be changed ([`ErrorKind::ConsumerMismatch`] says which was tried).
///
/// ```
/// use std::time::Duration;
/// use rowbus::{AckPolicy, Consumer, StartAt};
///
/// let mail = Consumer::durable("mailer").filter("orders.*.paid").filter("users.>").ack_wait(Duration::from_secs(60));
/// let index = Consumer::durable("indexer").ack_policy(AckPolicy::Cumulative).from(StartAt::Oldest);
/// assert!(mail.into_parts().is_ok() && index.into_parts().is_ok());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a consumer is opened by passing this to `consumer`"]
pub struct Consumer {
    parts: Result<ConsumerParts>,
}

/// A checked [`Consumer`], as a backend takes it. What is `None` was not given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerParts {
    /// Its name.
    pub name: String,
    /// What it is to get; no two of them overlap. Empty if none was given.
    pub filters: Vec<Filter>,
    /// Where a new one begins.
    pub start: Option<StartAt>,
    /// How what was handled is told.
    pub ack_policy: Option<AckPolicy>,
    /// What becomes of an event that is given up on.
    pub on_failure: Option<OnFailure>,
    /// How long a delivery is held by who got it.
    pub ack_wait: Option<Duration>,
    /// The pause before what failed comes again.
    pub backoff: Option<Backoff>,
    /// How often an event is delivered.
    pub max_deliver: Option<u32>,
    /// How many deliveries are held at the same time.
    pub max_ack_pending: Option<usize>,
    /// How long a consumer without members stays.
    pub inactive_threshold: Option<Duration>,
}

const SHORTEST_WAIT: Duration = Duration::from_millis(100);

impl Consumer {
    /// A consumer of this name, whose position outlives its processes. A name has 1 to 255 bytes, and no blank, control
    /// character, `.`, `*`, `>`, `/` or `\`, as in NATS.
    pub fn durable(name: impl Into<String>) -> Self {
        let name = name.into();
        let parts = check_name(&name).map(|()| ConsumerParts {
            name,
            filters: Vec::new(),
            start: None,
            ack_policy: None,
            on_failure: None,
            ack_wait: None,
            backoff: None,
            max_deliver: None,
            max_ack_pending: None,
            inactive_threshold: None,
        });
        Self { parts }
    }

    /// Gets what this filter matches; given several times, what any of them does. None given is everything. No two may match
    /// the same subject. Other filters than before count from the consumer's position on.
    pub fn filter<F>(self, filter: F) -> Self
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        self.with(|parts| {
            let filter = filter.try_into()?;
            if let Some(other) = parts.filters.iter().find(|other| other.overlaps(&filter)) {
                let message = format!("filters {other:?} and {filter:?} of one consumer overlap");
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            if parts.filters.len() == MAX_CONSUMER_FILTERS {
                let message = format!("a consumer has at most {MAX_CONSUMER_FILTERS} filters");
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            parts.filters.push(filter);
            Ok(())
        })
    }

    /// Where a new consumer begins: with the oldest event there is unless set. An existing one goes on where it was;
    /// [`seek`](crate::Durable::seek_consumer) moves it.
    pub fn from(self, start: StartAt) -> Self {
        self.with(|parts| {
            parts.start = Some(start);
            Ok(())
        })
    }

    /// How what was handled is told: [`AckPolicy::Explicit`] unless set.
    pub fn ack_policy(self, policy: AckPolicy) -> Self {
        self.with(|parts| {
            parts.ack_policy = Some(policy);
            Ok(())
        })
    }

    /// What a cumulative consumer does with an event that it gives up on: [`OnFailure::Stop`] unless set.
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        self.with(|parts| {
            parts.on_failure = Some(on_failure);
            Ok(())
        })
    }

    /// How long a delivery of an explicit consumer is held by the member that got it, from the moment it is handed over; then it
    /// comes again, perhaps to another. 30 s unless set, and at least 100 ms. It counts only while the machine is awake.
    pub fn ack_wait(self, wait: Duration) -> Self {
        self.with(|parts| {
            at_least("ack_wait", wait, SHORTEST_WAIT)?;
            parts.ack_wait = Some(whole_millis(wait));
            Ok(())
        })
    }

    /// The pause before an event that failed comes again, unless the failure says when: 1 s, doubled at each
    /// delivery up to 1 h, unless set.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.with(|parts| {
            parts.backoff = Some(backoff.in_millis());
            Ok(())
        })
    }

    /// How often an event is delivered before it is given up on: 20 times unless set.
    pub fn max_deliver(self, times: u32) -> Self {
        self.with(|parts| {
            if times == 0 {
                return Err(invalid("max_deliver is at least 1; got 0"));
            }
            parts.max_deliver = Some(times);
            Ok(())
        })
    }

    /// How many deliveries the members of an explicit consumer may hold at the same time, all together: 1,000 unless set. What
    /// waits out a backoff does not count.
    pub fn max_ack_pending(self, deliveries: usize) -> Self {
        self.with(|parts| {
            if deliveries == 0 {
                return Err(invalid("max_ack_pending is at least 1; got 0"));
            }
            parts.max_ack_pending = Some(deliveries);
            Ok(())
        })
    }

    /// How long a consumer stays when it has no member: for ever unless set. Then it is deleted, with its position.
    pub fn inactive_threshold(self, threshold: Duration) -> Self {
        self.with(|parts| {
            at_least("inactive_threshold", threshold, SHORTEST_WAIT)?;
            parts.inactive_threshold = Some(whole_millis(threshold));
            Ok(())
        })
    }

    /// The checked parts, for a backend.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn into_parts(self) -> Result<ConsumerParts> {
        self.parts
    }

    fn with(mut self, change: impl FnOnce(&mut ConsumerParts) -> Result<()>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(error) = change(parts)
        {
            self.parts = Err(error);
        }
        self
    }
}

impl ConsumerParts {
    /// The settings of the consumer when it is opened with these: what is given, and for the rest what an existing consumer
    /// has, or else the defaults.
    ///
    /// # Errors
    /// [`ErrorKind::ConsumerMismatch`] for what cannot be changed; [`ErrorKind::InvalidOption`] for what an ack policy has no
    /// use for.
    pub fn resolve(&self, existing: Option<&ConsumerSettings>) -> Result<ConsumerSettings> {
        ConsumerSettings::resolve(self, existing)
    }
}

/// Whether a consumer can have this name.
fn check_name(name: &str) -> Result<()> {
    let wrong = |character: &char| {
        character.is_whitespace() || character.is_control() || ".*>/\\".contains(*character)
    };
    if name.is_empty() || name.len() > MAX_CONSUMER_NAME {
        let message =
            format!("a consumer's name has 1 to {MAX_CONSUMER_NAME} bytes; {name:?} has {}", name.len());
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    match name.chars().find(wrong) {
        Some(character) => Err(invalid(&format!(
            "a consumer's name has no blank, control character, '.', '*', '>', '/' or '\\'; {name:?} has {character:?}"
        ))),
        None => Ok(()),
    }
}

/// As a file can keep it: what is read back is what was set.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn at_least(option: &str, given: Duration, least: Duration) -> Result<()> {
    if given < least {
        return Err(invalid(&format!("{option} is at least {least:?}; got {given:?}")));
    }
    Ok(())
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_nats_would_take() {
        for name in ["indexer", "a", "über-leser_2", &"x".repeat(255)] {
            assert!(Consumer::durable(name).into_parts().is_ok(), "{name}");
        }
        for name in ["", "a b", "a.b", "a*", ">", "a/b", "a\\b", "a\nb", "\u{7f}", &"x".repeat(256)] {
            let error = Consumer::durable(name).into_parts().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{name}");
        }
    }

    #[test]
    fn filters_that_match_the_same_subject_are_refused() {
        let overlapping = Consumer::durable("a").filter("orders.>").filter("users.>").filter("orders.*.paid");
        let error = overlapping.into_parts().unwrap_err();
        assert!(error.to_string().contains("\"orders.>\" and \"orders.*.paid\""), "{error}");
        let apart = Consumer::durable("a").filter("orders.*.paid").filter("orders.*.shipped");
        assert_eq!(apart.into_parts().unwrap().filters.len(), 2);
    }

    #[test]
    fn the_first_mistake_is_the_one_that_is_told() {
        let error = Consumer::durable("a").max_deliver(0).max_ack_pending(0).into_parts().unwrap_err();
        assert!(error.to_string().contains("max_deliver"), "{error}");
        let error = Consumer::durable("a").ack_wait(Duration::from_millis(99)).into_parts().unwrap_err();
        assert!(error.to_string().contains("ack_wait is at least 100ms"), "{error}");
    }
}
