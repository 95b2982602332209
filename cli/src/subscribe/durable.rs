//! The options of `rowbus sub` for a consumer.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rowbus::{AckPolicy, Consumer, Filter, OnFailure};

use crate::duration;
use crate::failure::Result;
use crate::start::Start;
use crate::stdout;
use crate::subscribe::member::Task;

#[derive(Args)]
#[command(next_help_heading = "As a member of a consumer")]
pub(super) struct DurableArgs {
    /// Read as a member of the consumer of this name; made if there is none
    #[arg(long, value_name = "NAME")]
    durable: Option<String>,

    /// Acknowledge each message when it was written
    #[arg(long, requires = "durable")]
    ack: bool,

    /// How a new consumer is told what was handled: explicit, each message on its own and shared by the members (unless
    /// given), or cumulative, everything up to a message, and one member reads at a time
    #[arg(long, value_name = "POLICY", requires = "durable", hide_possible_values = true)]
    policy: Option<Policy>,

    /// When a message that was not acknowledged comes again; 30s unless given. Explicit only
    #[arg(long, value_name = "DURATION", requires = "durable", value_parser = duration::argument)]
    ack_wait: Option<Duration>,

    /// How often a message is delivered before it is given up on; 20 unless given
    #[arg(long, value_name = "N", requires = "durable")]
    max_deliver: Option<u32>,

    /// How many messages the members may hold at the same time, all together; 1000 unless given. Explicit only
    #[arg(long, value_name = "N", requires = "durable")]
    max_ack_pending: Option<usize>,

    /// What becomes of a message that is given up on: stop in front of it, or dead-letter it and go on; stop unless given,
    /// and always dead-letter if explicit
    #[arg(long, value_name = "WHAT", requires = "durable", hide_possible_values = true)]
    on_failure: Option<Failing>,

    /// Delete the consumer when it had no member for this long; never unless given
    #[arg(long, value_name = "DURATION", requires = "durable", value_parser = duration::argument)]
    inactive_threshold: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    Explicit,
    Cumulative,
}

#[derive(Clone, Copy, ValueEnum)]
enum Failing {
    Stop,
    DeadLetter,
}

impl DurableArgs {
    /// The consumer to read from, if there is one.
    pub(super) fn check(self, filters: &[Filter], from: Option<Start>) -> Result<Option<Task>> {
        let Some(name) = self.durable else { return Ok(None) };
        let mut consumer = Consumer::durable(&name);
        for filter in filters {
            consumer = consumer.filter(filter);
        }
        if let Some(Start(start)) = from {
            consumer = consumer.from(start);
        }
        if let Some(policy) = self.policy {
            consumer = consumer.ack_policy(match policy {
                Policy::Explicit => AckPolicy::Explicit,
                Policy::Cumulative => AckPolicy::Cumulative,
            });
        }
        if let Some(wait) = self.ack_wait {
            consumer = consumer.ack_wait(wait);
        }
        if let Some(times) = self.max_deliver {
            consumer = consumer.max_deliver(times);
        }
        if let Some(most) = self.max_ack_pending {
            consumer = consumer.max_ack_pending(most);
        }
        if let Some(failing) = self.on_failure {
            consumer = consumer.on_failure(match failing {
                Failing::Stop => OnFailure::Stop,
                Failing::DeadLetter => OnFailure::DeadLetter,
            });
        }
        if let Some(threshold) = self.inactive_threshold {
            consumer = consumer.inactive_threshold(threshold);
        }
        if self.ack {
            stdout::must_be_open()?;
        }
        let parts = consumer.clone().into_parts()?;
        // An existing consumer has the policy that is given, or is refused; else its own is not known yet.
        if self.policy.is_some() {
            parts.resolve(None)?;
        }
        Ok(Some(Task { name, filters: filters.to_vec(), consumer, ack: self.ack }))
    }
}
