//! What a consumer is set to, and what may be changed of it.

use std::time::Duration;

use crate::consumer::{AckPolicy, ConsumerParts, OnFailure};
use crate::defaults::{ACK_WAIT, MAX_ACK_PENDING, MAX_DELIVER};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::retry::Backoff;
use crate::subscribe::StartAt;

/// The settings of a consumer that exists; see [`Consumer`](crate::Consumer) for what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerSettings {
    /// What it gets: at least one.
    pub filters: Vec<Filter>,
    /// Where it began.
    pub start: StartAt,
    /// How what was handled is told.
    pub ack_policy: AckPolicy,
    /// What becomes of an event that is given up on.
    pub on_failure: OnFailure,
    /// How long a delivery is held by who got it.
    pub ack_wait: Duration,
    /// The pause before what failed comes again.
    pub backoff: Backoff,
    /// How often an event is delivered.
    pub max_deliver: u32,
    /// How many deliveries are held at the same time.
    pub max_ack_pending: usize,
    /// How long it stays without members; for ever if `None`.
    pub inactive_threshold: Option<Duration>,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            filters: vec![Filter::everything()],
            start: StartAt::Oldest,
            ack_policy: AckPolicy::Explicit,
            on_failure: OnFailure::DeadLetter,
            ack_wait: ACK_WAIT,
            backoff: Backoff::default(),
            max_deliver: MAX_DELIVER,
            max_ack_pending: MAX_ACK_PENDING,
            inactive_threshold: None,
        }
    }
}

impl ConsumerSettings {
    pub(crate) fn resolve(given: &ConsumerParts, existing: Option<&Self>) -> Result<Self> {
        let mut settings = existing.cloned().unwrap_or_default();
        if let Some(existing) = existing {
            existing.check_fixed(given)?;
        } else {
            settings.start = given.start.unwrap_or(StartAt::Oldest);
            settings.ack_policy = given.ack_policy.unwrap_or_default();
            if settings.ack_policy == AckPolicy::Cumulative {
                settings.on_failure = OnFailure::Stop;
            }
        }
        check_of_use(settings.ack_policy, given)?;
        if !given.filters.is_empty() {
            settings.filters.clone_from(&given.filters);
        }
        settings.on_failure = given.on_failure.unwrap_or(settings.on_failure);
        settings.ack_wait = given.ack_wait.unwrap_or(settings.ack_wait);
        settings.backoff = given.backoff.unwrap_or(settings.backoff);
        settings.max_deliver = given.max_deliver.unwrap_or(settings.max_deliver);
        settings.max_ack_pending = given.max_ack_pending.unwrap_or(settings.max_ack_pending);
        settings.inactive_threshold = given.inactive_threshold.or(settings.inactive_threshold);
        Ok(settings)
    }

    /// Refuses to change what cannot be.
    fn check_fixed(&self, given: &ConsumerParts) -> Result<()> {
        if let Some(policy) = given.ack_policy
            && policy != self.ack_policy
        {
            let remedy =
                "what one of them has noted means nothing to the other; use another name, or delete it first";
            return Err(mismatch(
                &given.name,
                "ack_policy",
                self.ack_policy.as_str(),
                policy.as_str(),
                remedy,
            ));
        }
        let same = match (given.start, self.start) {
            (None, _) | (Some(StartAt::Time(_)), StartAt::Time(_)) => true,
            (Some(given), own) => given == own,
        };
        if !same {
            let remedy = "it goes on where it was; seek moves it";
            let (own, wanted) =
                (format!("{:?}", self.start), format!("{:?}", given.start.unwrap_or_default()));
            return Err(mismatch(&given.name, "start", &own, &wanted, remedy));
        }
        Ok(())
    }
}

/// Refuses what an ack policy has no use for: it would be believed to have an effect.
fn check_of_use(policy: AckPolicy, given: &ConsumerParts) -> Result<()> {
    let useless = match policy {
        AckPolicy::Explicit if given.on_failure == Some(OnFailure::Stop) => {
            "OnFailure::Stop: what it gives up on becomes a dead letter, and holds up nobody"
        }
        AckPolicy::Cumulative if given.ack_wait.is_some() => {
            "an ack_wait: its active member has its place until it leaves or dies"
        }
        AckPolicy::Cumulative if given.max_ack_pending.is_some() => {
            "a max_ack_pending: nothing is stored for what is not acknowledged"
        }
        _ => return Ok(()),
    };
    let message = format!("consumer {:?} is {policy}, which has no use for {useless}", given.name);
    Err(Error::new(ErrorKind::InvalidOption, message))
}

fn mismatch(name: &str, setting: &'static str, own: &str, wanted: &str, remedy: &str) -> Error {
    let message =
        format!("the {setting} of consumer {name:?} is {own} and cannot be changed to {wanted}: {remedy}");
    Error::new(ErrorKind::ConsumerMismatch { setting }, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Consumer;

    fn resolve(consumer: Consumer, existing: Option<&ConsumerSettings>) -> Result<ConsumerSettings> {
        consumer.into_parts().unwrap().resolve(existing)
    }

    #[test]
    fn what_is_not_given_stays_as_it_was() {
        let first = Consumer::durable("a").filter("a.*").ack_wait(Duration::from_secs(9)).max_deliver(3);
        let first = resolve(first, None).unwrap();
        assert_eq!((first.max_ack_pending, first.on_failure), (1_000, OnFailure::DeadLetter));
        assert_eq!(resolve(Consumer::durable("a"), Some(&first)).unwrap(), first);
        let second = resolve(Consumer::durable("a").filter("b").max_deliver(4), Some(&first)).unwrap();
        assert_eq!(
            (second.filters[0].as_str(), second.max_deliver, second.ack_wait),
            ("b", 4, first.ack_wait)
        );
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        let explicit = resolve(Consumer::durable("a").from(StartAt::New), None).unwrap();
        let setting = |consumer: Consumer| resolve(consumer, Some(&explicit)).unwrap_err().kind();
        let policy = Consumer::durable("a").ack_policy(AckPolicy::Cumulative);
        assert_eq!(setting(policy), ErrorKind::ConsumerMismatch { setting: "ack_policy" });
        let start = Consumer::durable("a").from(StartAt::Oldest);
        assert_eq!(setting(start), ErrorKind::ConsumerMismatch { setting: "start" });
        assert!(resolve(Consumer::durable("a").from(StartAt::New), Some(&explicit)).is_ok());
        // A time is computed anew at each start of a program.
        let time = |millis| StartAt::Time(chrono::DateTime::from_timestamp_millis(millis).unwrap());
        let timed = resolve(Consumer::durable("a").from(time(1)), None).unwrap();
        assert_eq!(resolve(Consumer::durable("a").from(time(2)), Some(&timed)).unwrap().start, time(1));
    }

    #[test]
    fn what_a_policy_has_no_use_for_is_refused() {
        let cumulative = || Consumer::durable("a").ack_policy(AckPolicy::Cumulative);
        assert_eq!(resolve(cumulative(), None).unwrap().on_failure, OnFailure::Stop);
        for useless in [
            cumulative().ack_wait(Duration::from_secs(1)),
            cumulative().max_ack_pending(1),
            Consumer::durable("a").on_failure(OnFailure::Stop),
        ] {
            assert_eq!(resolve(useless, None).unwrap_err().kind(), ErrorKind::InvalidOption);
        }
    }
}
