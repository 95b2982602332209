//! `rowbus retention set`, `rm` and `dead-letters`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, value_parser};
use rowbus::{Filter, Retention, SqliteBus};

use crate::duration::{self, written};
use crate::failure::{Failure, Result};
use crate::size;
use crate::status::Status;

const SET_EXAMPLES: &str = "\
Examples:
  rowbus retention set '>' --max-age 7d
  rowbus retention set 'orders.>' --max-age 30d --keep-unacked 1GiB
  rowbus retention set 'audit.>' --keep-everything";

/// Set the policy of a filter, in place of what it was
#[derive(Args)]
#[command(after_help = SET_EXAMPLES)]
pub(super) struct SetArgs {
    /// Messages of these subjects, unless a more literal filter has a policy
    filter: String,

    /// Remove messages that are older
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    max_age: Option<Duration>,

    /// Keep so many messages, the newest
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    max_messages: Option<u64>,

    /// Keep so many bytes of messages and headers, the newest
    #[arg(long, value_name = "SIZE", value_parser = size::argument)]
    max_bytes: Option<u64>,

    /// Keep so many messages of each subject, the newest
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    max_per_subject: Option<u64>,

    /// Keep what a consumer has not acknowledged in spite of the limits, up to so many bytes
    #[arg(long, value_name = "CAP", value_parser = size::argument)]
    keep_unacked: Option<u64>,

    /// Remove nothing
    #[arg(long, conflicts_with_all = ["max_age", "max_messages", "max_bytes", "max_per_subject", "keep_unacked"])]
    keep_everything: bool,
}

pub(crate) struct Set {
    filter: Filter,
    retention: Retention,
}

impl SetArgs {
    pub(super) fn check(self) -> Result<Set> {
        let filter = Filter::new(&self.filter)?;
        let numbers = [self.max_messages, self.max_bytes, self.max_per_subject, self.keep_unacked];
        if !self.keep_everything && self.max_age.is_none() && numbers.iter().all(Option::is_none) {
            return Err(Failure::usage("say what is kept, as in --max-age 7d, or --keep-everything"));
        }
        let retention = Retention::new();
        let retention = self.max_age.into_iter().fold(retention, Retention::max_age);
        let retention = self.max_messages.into_iter().fold(retention, Retention::max_messages);
        let retention = self.max_bytes.into_iter().fold(retention, Retention::max_bytes);
        let retention = self.max_per_subject.into_iter().fold(retention, Retention::max_per_subject);
        let retention = self.keep_unacked.into_iter().fold(retention, Retention::keep_unacked);
        retention.clone().into_parts()?;
        Ok(Set { filter, retention })
    }
}

impl Set {
    pub(super) async fn run(self, bus: &SqliteBus, status: &Status) -> Result<()> {
        bus.set_retention(&self.filter, self.retention).await?;
        status.say(&format!("set the policy of {}", self.filter));
        Ok(())
    }
}

/// Remove the policy of a filter, so that a less literal one holds
///
/// Of '>', what was set goes, and the default of 7 days holds again.
#[derive(Args)]
#[command(after_help = "Examples:\n  rowbus retention rm 'sensors.>'")]
pub(super) struct RmArgs {
    /// The filter
    filter: String,
}

impl RmArgs {
    pub(super) fn check(self) -> Result<Filter> {
        Ok(Filter::new(&self.filter)?)
    }
}

/// Set how long dead letters are kept
#[derive(Args)]
#[command(
    after_help = "Examples:\n  rowbus retention dead-letters 30d\n  rowbus retention dead-letters forever"
)]
pub(super) struct DeadLettersArgs {
    /// For how long, as in 90d, or forever
    #[arg(value_name = "DURATION")]
    pub(super) keep: Keep,
}

/// How long something is kept; `None` is for ever.
#[derive(Clone, Copy)]
pub(crate) struct Keep(pub(super) Option<Duration>);

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" { Ok(Self(None)) } else { duration::argument(text).map(|age| Self(Some(age))) }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map_or_else(|| "forever".to_owned(), written))
    }
}
