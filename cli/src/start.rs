//! Where a stream begins, as the command line says it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use rowbus::StartAt;

use crate::duration;

/// The value of `--from`, and of other places that mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start(pub(crate) StartAt);

const LOOKS_LIKE: &str = "expected new, oldest, last, a sequence, a time with its zone as in 2026-11-23T07:05:00Z, \
                          or an age as in 10m, 2h, 7d";

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, Utc::now()).ok_or_else(|| LOOKS_LIKE.to_owned())
    }
}

impl Start {
    fn parse(text: &str, now: DateTime<Utc>) -> Option<Self> {
        let start = match text {
            "new" => StartAt::New,
            "oldest" => StartAt::Oldest,
            "last" => StartAt::LastPerSubject,
            // A sign would be accepted as part of a number.
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => StartAt::Sequence(text.parse().ok()?),
            _ => match duration::parse(text) {
                Some(age) => StartAt::Time(now.checked_sub_signed(chrono::TimeDelta::from_std(age).ok()?)?),
                None => StartAt::Time(DateTime::parse_from_rfc3339(text).ok()?.to_utc()),
            },
        };
        Some(Self(start))
    }
}

impl Start {
    /// As it is read.
    pub(crate) fn word(&self) -> String {
        match self.0 {
            StartAt::Sequence(sequence) => sequence.to_string(),
            StartAt::LastPerSubject => "last".to_owned(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            StartAt::New => f.write_str("new"),
            StartAt::Oldest => f.write_str("oldest"),
            StartAt::LastPerSubject => f.write_str("last of each subject"),
            StartAt::Sequence(sequence) => write!(f, "sequence {sequence}"),
            StartAt::Time(time) => f.write_str(&rfc3339(time)),
            // Starts of later versions of the library, none of which `parse` gives.
            other => write!(f, "{other:?}"),
        }
    }
}

/// A time as this command writes it: UTC, to the millisecond, as the log keeps it.
pub(crate) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<StartAt> {
        let now = DateTime::from_timestamp_millis(1_800_000_000_000).unwrap();
        Start::parse(text, now).map(|start| start.0)
    }

    #[test]
    fn places_in_the_log_are_told_from_times() {
        assert_eq!(parsed("new"), Some(StartAt::New));
        assert_eq!(parsed("oldest"), Some(StartAt::Oldest));
        assert_eq!(parsed("last"), Some(StartAt::LastPerSubject));
        assert_eq!(parsed("17"), Some(StartAt::Sequence(17)));
        for text in ["new", "oldest", "last", "17", "2026-11-23T07:05:00.250Z"] {
            assert_eq!(Start(parsed(text).unwrap()).word(), text);
        }
    }

    #[test]
    fn an_age_is_that_long_ago() {
        let time = DateTime::from_timestamp_millis(1_800_000_000_000 - 600_000).unwrap();
        assert_eq!(parsed("10m"), Some(StartAt::Time(time)));
    }

    #[test]
    fn a_time_may_have_any_zone() {
        let time = DateTime::from_timestamp_millis(1_795_417_500_250).unwrap();
        assert_eq!(parsed("2026-11-23T07:05:00.25Z"), Some(StartAt::Time(time)));
        assert_eq!(parsed("2026-11-23T08:05:00.25+01:00"), Some(StartAt::Time(time)));
        assert_eq!(rfc3339(time), "2026-11-23T07:05:00.250Z");
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "",
            "newest",
            "-1",
            "+1",
            "99999999999999999999",
            "2026-11-23",
            "2026-11-23T07:05:00",
            "9999999999d",
        ];
        for text in bad {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
