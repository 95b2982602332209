//! What is kept of a cumulative consumer: one record, of which each change is made by whoever knew the one before.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::consumer::{AckPolicy, OnFailure};
use crate::consumer_settings::ConsumerSettings;
use crate::filter::Filter;
use crate::job_handle::Failure;
use crate::nats::jetstream::consumers::settings::{hear_backoff, hear_start, say_backoff, say_start};
use crate::retry::millis;

/// So many lines are kept of how an event has failed, the newest.
const LINES: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) settings: ConsumerSettings,
    pub(super) created: DateTime<Utc>,
    /// Everything up to here is done with.
    pub(super) position: u64,
    /// Up to the last of these, only these count: it began with the newest event of each subject.
    pub(super) only: BTreeSet<u64>,
    /// The active member.
    pub(super) holder: Option<String>,
    /// What fences deliveries: new with each member that takes over, and at each move.
    pub(super) place: u64,
    /// The events behind the position whose deliveries have failed.
    pub(super) failing: BTreeMap<u64, Failing>,
    /// Events behind the position that have dead letters.
    pub(super) given_up: BTreeSet<u64>,
    /// Nothing is handed over before this wall time.
    pub(super) again_at: Option<i64>,
    /// In front of which event it stands, and why.
    pub(super) stopped: Option<(u64, String)>,
    pub(super) paused: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Failing {
    pub(super) attempts: u32,
    pub(super) failures: Vec<Failure>,
}

impl Failing {
    pub(super) fn new(attempts: u32, mut failures: Vec<Failure>) -> Self {
        failures.drain(..failures.len().saturating_sub(LINES));
        Self { attempts, failures }
    }
}

impl Record {
    pub(super) fn new(settings: ConsumerSettings, created: DateTime<Utc>) -> Self {
        Self {
            settings,
            created,
            position: 0,
            only: BTreeSet::new(),
            holder: None,
            // Those of a consumer of this name that was deleted are others.
            place: created.timestamp_millis().unsigned_abs(),
            failing: BTreeMap::new(),
            given_up: BTreeSet::new(),
            again_at: None,
            stopped: None,
            paused: false,
        }
    }

    /// As it is kept.
    pub(super) fn say(&self) -> String {
        let settings = &self.settings;
        let filters: Vec<_> = settings.filters.iter().map(Filter::as_str).collect();
        let failing = self.failing.iter().map(|(sequence, failing)| {
            let lines = failing.failures.iter();
            let lines: Vec<_> =
                lines.map(|one| json!([one.attempt, one.at.timestamp_millis(), one.message])).collect();
            json!([sequence, failing.attempts, lines])
        });
        json!({
            "filters": filters,
            "start": say_start(settings.start),
            "stops": settings.on_failure == OnFailure::Stop,
            "backoff": say_backoff(settings.backoff),
            "max_deliver": settings.max_deliver,
            "inactive_threshold": settings.inactive_threshold.map(millis),
            "created": self.created.timestamp_millis(),
            "position": self.position,
            "only": self.only,
            "holder": self.holder,
            "place": self.place,
            "failing": failing.collect::<Vec<_>>(),
            "given_up": self.given_up,
            "again_at": self.again_at,
            "stopped": self.stopped,
            "paused": self.paused,
        })
        .to_string()
    }

    /// What was kept; `None` for what stands for a deleted one, and for what is no record.
    pub(super) fn hear(said: &[u8]) -> Option<Self> {
        let said: Value = serde_json::from_slice(said).ok()?;
        let sequences = |said: &Value| said.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>();
        let filters = said["filters"].as_array()?.iter().map(|filter| Filter::new(filter.as_str()?).ok());
        let settings = ConsumerSettings {
            filters: filters.collect::<Option<_>>()?,
            start: hear_start(said["start"].as_str()?)?,
            ack_policy: AckPolicy::Cumulative,
            on_failure: if said["stops"].as_bool()? { OnFailure::Stop } else { OnFailure::DeadLetter },
            backoff: hear_backoff(said["backoff"].as_str()?)?,
            max_deliver: u32::try_from(said["max_deliver"].as_u64()?).ok()?,
            inactive_threshold: said["inactive_threshold"].as_u64().map(std::time::Duration::from_millis),
            ..ConsumerSettings::default()
        };
        let stopped = &said["stopped"];
        Some(Self {
            settings,
            created: DateTime::from_timestamp_millis(said["created"].as_i64()?)?,
            position: said["position"].as_u64()?,
            only: sequences(&said["only"])?,
            holder: said["holder"].as_str().map(str::to_owned),
            place: said["place"].as_u64()?,
            failing: said["failing"].as_array()?.iter().map(hear_failing).collect::<Option<_>>()?,
            given_up: sequences(&said["given_up"])?,
            again_at: said["again_at"].as_i64(),
            stopped: stopped[0].as_u64().zip(stopped[1].as_str().map(str::to_owned)),
            paused: said["paused"].as_bool()?,
        })
    }
}

fn hear_failing(said: &Value) -> Option<(u64, Failing)> {
    let line = |said: &Value| {
        let attempt = u32::try_from(said[0].as_u64()?).ok()?;
        Some(Failure::new(attempt, DateTime::from_timestamp_millis(said[1].as_i64()?)?, said[2].as_str()?))
    };
    let failures = said[2].as_array()?.iter().map(line).collect::<Option<_>>()?;
    let attempts = u32::try_from(said[1].as_u64()?).ok()?;
    Some((said[0].as_u64()?, Failing { attempts, failures }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::consumer::Consumer;

    #[test]
    fn what_is_heard_is_what_was_said() {
        let consumer = Consumer::durable("c").ack_policy(AckPolicy::Cumulative).filter("a.*").max_deliver(3);
        let consumer = consumer.inactive_threshold(Duration::from_secs(60));
        let settings = consumer.into_parts().unwrap().resolve(None).unwrap();
        let now = DateTime::from_timestamp_millis(1_234_567).unwrap();
        let mut record = Record::new(settings, now);
        assert_eq!(Record::hear(record.say().as_bytes()).unwrap(), record);
        record.position = 7;
        record.only = [8, 9].into();
        record.holder = Some("m".to_owned());
        record.place = 2;
        record.failing.insert(8, Failing::new(1, vec![Failure::new(1, now, "no")]));
        record.given_up.insert(9);
        record.again_at = Some(5);
        record.stopped = Some((8, "why".to_owned()));
        record.paused = true;
        assert_eq!(Record::hear(record.say().as_bytes()).unwrap(), record);
        assert_eq!(Record::hear(b"{}"), None);
        assert_eq!(Record::hear(b""), None);
    }

    #[test]
    fn of_an_event_that_fails_for_ever_the_newest_lines_are_kept() {
        let now = DateTime::from_timestamp_millis(0).unwrap();
        let failures = (1..=100).map(|attempt| Failure::new(attempt, now, "no")).collect();
        let failing = Failing::new(100, failures);
        assert_eq!(
            (failing.attempts, failing.failures.len(), failing.failures[63].attempt),
            (100, LINES, 100)
        );
    }
}
