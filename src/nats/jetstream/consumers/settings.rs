//! The settings of a consumer as the server keeps them: its own words, and metadata where it has none.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy as ServerAck, Config, DeliverPolicy, Info};
use chrono::{DateTime, Utc};

use crate::consumer::AckPolicy;
use crate::consumer_settings::ConsumerSettings;
use crate::filter::Filter;
use crate::nats::jetstream::subjects::Subjects;
use crate::retry::Backoff;
use crate::subscribe::StartAt;

const START: &str = "rowbus.start";
const BACKOFF: &str = "rowbus.backoff";
const MAX_DELIVER: &str = "rowbus.max_deliver";
const CREATED: &str = "rowbus.created";

/// A consumer of this name, beginning there, as the server is to make it.
pub(super) fn config(
    subjects: &Subjects,
    name: &str,
    settings: &ConsumerSettings,
    created: DateTime<Utc>,
    policy: DeliverPolicy,
) -> Config {
    let mut config = Config {
        name: Some(name.to_owned()),
        durable_name: Some(name.to_owned()),
        deliver_policy: policy,
        ack_policy: ServerAck::Explicit,
        // Members count: what was delivered often enough is to be a dead letter, and not to be forgotten.
        max_deliver: -1,
        ..Config::default()
    };
    config.metadata.insert(CREATED.to_owned(), created.timestamp_millis().to_string());
    config.metadata.insert(START.to_owned(), say_start(settings.start));
    change(&mut config, subjects, settings);
    config
}

/// Changes what can be changed.
pub(super) fn change(config: &mut Config, subjects: &Subjects, settings: &ConsumerSettings) {
    config.filter_subject = String::new();
    config.filter_subjects = settings.filters.iter().map(|filter| subjects.events(filter)).collect();
    config.ack_wait = settings.ack_wait;
    config.max_ack_pending = i64::try_from(settings.max_ack_pending).unwrap_or(i64::MAX);
    config.inactive_threshold = settings.inactive_threshold.unwrap_or_default();
    config.metadata.insert(BACKOFF.to_owned(), say_backoff(settings.backoff));
    config.metadata.insert(MAX_DELIVER.to_owned(), settings.max_deliver.to_string());
}

/// What a consumer is set to. One that was made by others has our defaults where the server has no word for it.
pub(super) fn of(info: &Info, subjects: &Subjects) -> ConsumerSettings {
    let config = &info.config;
    let mut settings = ConsumerSettings::default();
    let one = Some(&config.filter_subject).filter(|filter| !filter.is_empty());
    let filters = one.into_iter().chain(&config.filter_subjects).filter_map(|lies| subjects.filter_of(lies));
    let filters: Vec<Filter> = filters.collect();
    if !filters.is_empty() {
        settings.filters = filters;
    }
    let metadata = &config.metadata;
    settings.ack_policy = AckPolicy::Explicit;
    settings.start =
        metadata.get(START).and_then(|said| hear_start(said)).unwrap_or(match config.deliver_policy {
            DeliverPolicy::All => StartAt::Oldest,
            DeliverPolicy::ByStartSequence { start_sequence } => StartAt::Sequence(start_sequence),
            DeliverPolicy::ByStartTime { start_time } => StartAt::Time(start_time),
            DeliverPolicy::LastPerSubject => StartAt::LastPerSubject,
            _ => StartAt::New,
        });
    settings.ack_wait = config.ack_wait;
    settings.backoff = metadata.get(BACKOFF).and_then(|said| hear_backoff(said)).unwrap_or_default();
    settings.max_deliver = number(metadata, MAX_DELIVER)
        .or_else(|| u32::try_from(config.max_deliver).ok().filter(|most| *most > 0))
        .unwrap_or(u32::MAX);
    settings.max_ack_pending = usize::try_from(config.max_ack_pending).unwrap_or(usize::MAX);
    settings.inactive_threshold = Some(config.inactive_threshold).filter(|threshold| !threshold.is_zero());
    settings
}

/// When a consumer was made, though it was moved since.
pub(super) fn created(info: &Info) -> DateTime<Utc> {
    let noted = number(&info.config.metadata, CREATED).and_then(DateTime::from_timestamp_millis);
    noted.unwrap_or(info.created)
}

fn number<T: std::str::FromStr>(metadata: &HashMap<String, String>, name: &str) -> Option<T> {
    metadata.get(name)?.parse().ok()
}

pub(super) fn say_start(start: StartAt) -> String {
    match start {
        StartAt::New => "new".to_owned(),
        StartAt::Oldest => "oldest".to_owned(),
        StartAt::Sequence(sequence) => format!("sequence {sequence}"),
        StartAt::Time(time) => format!("time {}", time.timestamp_micros()),
        StartAt::LastPerSubject => "last_per_subject".to_owned(),
    }
}

pub(super) fn hear_start(said: &str) -> Option<StartAt> {
    Some(match said.split_once(' ') {
        None if said == "new" => StartAt::New,
        None if said == "oldest" => StartAt::Oldest,
        None if said == "last_per_subject" => StartAt::LastPerSubject,
        Some(("sequence", sequence)) => StartAt::Sequence(sequence.parse().ok()?),
        Some(("time", micros)) => StartAt::Time(DateTime::from_timestamp_micros(micros.parse().ok()?)?),
        _ => return None,
    })
}

pub(super) fn say_backoff(backoff: Backoff) -> String {
    format!("{} {}", backoff.first_millis(), backoff.longest_millis())
}

pub(super) fn hear_backoff(said: &str) -> Option<Backoff> {
    let (first, longest) = said.split_once(' ')?;
    let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
    Some(Backoff::exponential(millis(first)?, millis(longest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Consumer;

    #[test]
    fn what_is_read_back_is_what_was_set() {
        let subjects = Subjects::new(Some("p"), Some("e"), "S");
        let time = DateTime::from_timestamp_micros(1_234_567).unwrap();
        let starts = [
            StartAt::New,
            StartAt::Oldest,
            StartAt::Sequence(7),
            StartAt::Time(time),
            StartAt::LastPerSubject,
        ];
        for start in starts {
            let consumer = Consumer::durable("c").filter("a.*").filter("b").from(start).max_deliver(3);
            let consumer = consumer.ack_wait(Duration::from_secs(9)).max_ack_pending(5);
            let backoff = Backoff::exponential(Duration::from_millis(20), Duration::from_secs(2));
            let settings = consumer.backoff(backoff).into_parts().unwrap().resolve(None).unwrap();
            let config = config(&subjects, "c", &settings, time, DeliverPolicy::All);
            assert_eq!(config.filter_subjects, ["p.e.a.*", "p.e.b"]);
            let info = serde_json::json!({
                "stream_name": "S", "name": "c", "created": "2026-01-01T00:00:00Z", "config": config,
                "delivered": { "consumer_seq": 0, "stream_seq": 0 }, "ack_floor": { "consumer_seq": 0, "stream_seq": 0 },
                "num_ack_pending": 0, "num_redelivered": 0, "num_waiting": 0, "num_pending": 0,
            });
            let info: Info = serde_json::from_value(info).unwrap();
            assert_eq!(of(&info, &subjects), settings);
            assert_eq!(created(&info).timestamp_millis(), time.timestamp_millis());
        }
    }
}
