//! How long events are kept: what a policy says, and what became of it.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;

/// How long the events of a filter are kept: until any of its limits is reached, the oldest go first.
///
/// ```
/// use std::time::Duration;
/// use rowbus::Retention;
///
/// let day = Duration::from_secs(24 * 3600);
/// let sensors = Retention::new().max_age(day).max_bytes(1 << 30);
/// let settings = Retention::new().max_per_subject(1);
/// let orders = Retention::new().max_age(7 * day).keep_unacked(1 << 30);
/// # for retention in [sensors, settings, orders] { assert!(retention.into_parts().is_ok()); }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a policy is set by passing it to `retention` of the builder or `set_retention` of the bus"]
pub struct Retention {
    parts: Result<RetentionParts>,
}

/// A checked [`Retention`]. What is not limited is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionParts {
    /// Older events are removed.
    pub max_age: Option<Duration>,
    /// So many are kept.
    pub max_messages: Option<u64>,
    /// So many bytes of payload and headers are kept.
    pub max_bytes: Option<u64>,
    /// So many are kept of each subject.
    pub max_per_subject: Option<u64>,
    /// What a durable consumer has not acknowledged is kept in spite of the limits, up to so many bytes.
    pub keep_unacked: Option<u64>,
}

const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Default for Retention {
    fn default() -> Self {
        Self::new()
    }
}

impl Retention {
    /// Without a limit so far.
    pub fn new() -> Self {
        Self { parts: Ok(RetentionParts::default()) }
    }

    /// Nothing is ever removed.
    pub fn keep_everything() -> Self {
        Self::new()
    }

    /// Events older than this are removed: 1 ms to 100 years. Age is judged by the wall clock, but a sudden jump of it
    /// empties no log, see `DESIGN.md`.
    pub fn max_age(self, age: Duration) -> Self {
        self.and(|parts| {
            parts.max_age = Some(age);
            let ok = age >= Duration::from_millis(1) && age <= LONGEST;
            ok.then_some(()).ok_or(format!("max_age is 1 ms to 100 years; got {age:?}"))
        })
    }

    /// So many events are kept, the newest.
    pub fn max_messages(self, messages: u64) -> Self {
        self.and(|parts| {
            parts.max_messages = Some(messages);
            at_least_one("max_messages", messages)
        })
    }

    /// So many bytes of payload and headers are kept, those of the newest events.
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.and(|parts| {
            parts.max_bytes = Some(bytes);
            at_least_one("max_bytes", bytes)
        })
    }

    /// So many events of each subject are kept, the newest.
    pub fn max_per_subject(self, messages: u64) -> Self {
        self.and(|parts| {
            parts.max_per_subject = Some(messages);
            at_least_one("max_per_subject", messages)
        })
    }

    /// What lies behind the ack floor of a durable consumer that may want it is kept in spite of the limits, as long as what is
    /// kept so has no more than this many bytes. Beyond it the oldest go, which is logged as a warning.
    pub fn keep_unacked(self, cap_bytes: u64) -> Self {
        self.and(|parts| {
            parts.keep_unacked = Some(cap_bytes);
            at_least_one("the cap of keep_unacked", cap_bytes)
        })
    }

    /// The checked parts.
    ///
    /// # Errors
    /// The first mistake made while building; `InvalidOption` also for `keep_unacked` without a limit that it is an exception
    /// from.
    pub fn into_parts(self) -> Result<RetentionParts> {
        let parts = self.parts?;
        if parts.keep_unacked.is_some() && !parts.is_limited() {
            let message = "keep_unacked is an exception from limits, and there is none";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(parts)
    }

    fn and(mut self, set: impl FnOnce(&mut RetentionParts) -> Result<(), String>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(message) = set(parts)
        {
            self.parts = Err(Error::new(ErrorKind::InvalidOption, message));
        }
        self
    }
}

impl RetentionParts {
    /// Whether anything is ever removed.
    pub fn is_limited(&self) -> bool {
        self.max_age.is_some()
            || self.max_messages.is_some()
            || self.max_bytes.is_some()
            || self.max_per_subject.is_some()
    }
}

fn at_least_one(what: &str, number: u64) -> Result<(), String> {
    let ok = (1..=i64::MAX.cast_unsigned()).contains(&number);
    ok.then_some(()).ok_or(format!("{what} is 1 to {}; got {number}", i64::MAX))
}

/// Who set a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetBy {
    /// Nobody: it came with the file.
    Default,
    /// A program, as it opened the bus.
    Builder,
    /// A person with the command or plain SQL, or a program by `set_retention`.
    Operator,
}

impl SetBy {
    /// The word for it, as the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Builder => "builder",
            Self::Operator => "operator",
        }
    }
}

/// A policy of the file, and how far it was acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionInfo {
    /// Which subjects it is for, unless a more literal filter matches them as well.
    pub filter: Filter,
    /// What it says.
    pub retention: RetentionParts,
    /// Who said so.
    pub set_by: SetBy,
    /// Events up to this sequence may have been removed for it.
    pub pruned_through: u64,
    /// Events up to this sequence have been counted.
    pub counted_through: u64,
    /// How many of them are there.
    pub messages: u64,
    /// Their payload and headers, in bytes.
    pub bytes: u64,
}

/// What was removed; from `SqliteBus::prune`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Events.
    pub events: u64,
    /// Their payload and headers, in bytes.
    pub bytes: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Ids against duplicates.
    pub message_ids: u64,
    /// Pages of the file that were given back to the system.
    pub pages: u64,
    /// How far the clock by which age is judged is behind the wall clock, since that has jumped.
    pub clock_behind: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mistake_is_the_error() {
        for wrong in [
            Retention::new().max_age(Duration::ZERO).max_messages(0),
            Retention::new().max_age(Duration::MAX),
            Retention::new().max_messages(0),
            Retention::new().max_bytes(0),
            Retention::new().max_bytes(u64::MAX),
            Retention::new().max_per_subject(0),
            Retention::new().max_messages(5).keep_unacked(0),
            Retention::new().keep_unacked(5),
        ] {
            assert_eq!(wrong.clone().into_parts().unwrap_err().kind(), ErrorKind::InvalidOption, "{wrong:?}");
        }
        assert!(!Retention::keep_everything().into_parts().unwrap().is_limited());
    }
}
