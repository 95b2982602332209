//! A bridge to begin: what it forwards, and to where.

use std::time::Duration;

use crate::bridge::Bridge;
use crate::consumer::Consumer;
use crate::defaults::{BRIDGE_PATIENCE, BRIDGE_WINDOW};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::nats::NatsBus;
use crate::sqlite::SqliteBus;
use crate::subject::Subject;
use crate::subscribe::StartAt;

/// A bridge to begin; from [`Bridge::forward`].
#[derive(Clone, Debug)]
#[must_use = "a bridge begins with `start`"]
pub struct Forward {
    parts: Result<Route>,
    target: Option<NatsBus>,
}

/// What is forwarded, and how: a checked [`Forward`].
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) filters: Vec<Filter>,
    /// What is in front of each subject in the stream, with the dot behind it; empty for nothing.
    pub(super) under: String,
    pub(super) stream: Option<String>,
    pub(super) create: bool,
    pub(super) start: StartAt,
    pub(super) window: usize,
    pub(super) patience: Duration,
}

const MOST_IN_WINDOW: usize = 4096;
const SHORTEST_PATIENCE: Duration = Duration::from_millis(100);

impl Forward {
    pub(super) fn new(filter: Result<Filter>) -> Self {
        let parts = filter.map(|filter| Route {
            name: "default".to_owned(),
            filters: vec![filter],
            under: String::new(),
            stream: None,
            create: false,
            start: StartAt::Oldest,
            window: BRIDGE_WINDOW,
            patience: BRIDGE_PATIENCE,
        });
        Self { parts, target: None }
    }

    /// Forwards what this filter matches as well. No two filters of a bridge may match the same subject.
    pub fn filter<F>(self, filter: F) -> Self
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        self.with(|route| {
            route.filters.push(filter.try_into()?);
            Ok(())
        })
    }

    /// The server to whose JetStream it forwards.
    pub fn to(mut self, target: &NatsBus) -> Self {
        self.target = Some(target.clone());
        self
    }

    /// The bridge's name: `default` unless set. Its position in the file is under this name, as a consumer `bridge:NAME`; of all bridges of
    /// one name on a file, in whichever processes, one works, and the others stand by.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with(|route| {
            route.name = name.into();
            Ok(())
        })
    }

    /// Puts this in front of each subject, with a dot: `orders.created` of the file is `till-7.orders.created` in the stream. A prefix
    /// of the target stands in front of that.
    pub fn prefix<S>(self, prefix: S) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        self.with(|route| {
            route.under = format!("{}.", prefix.try_into()?.as_str());
            Ok(())
        })
    }

    /// The stream that the events are to be stored in. Unless it is named, it is the one that takes their subjects.
    pub fn stream(self, name: impl Into<String>) -> Self {
        self.with(|route| {
            let name = name.into();
            if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c)) {
                return Err(invalid(format!(
                    "a stream's name has no blank, control character, '.', '*', '>', '/' or '\\'; got {name:?}"
                )));
            }
            route.stream = Some(name);
            Ok(())
        })
    }

    /// Makes the stream where it is missing, for the bridge's subjects and with the server's defaults. Without this, a bridge
    /// waits until somebody has made it.
    pub fn create_stream(self, create: bool) -> Self {
        self.with(|route| {
            route.create = create;
            Ok(())
        })
    }

    /// Where a new bridge begins: with the oldest event there is unless set. One whose position is in the file goes on there.
    pub fn from(self, start: StartAt) -> Self {
        self.with(|route| {
            route.start = start;
            Ok(())
        })
    }

    /// How many events may be under way without an acknowledgement: 512 unless set, and 4096 at most.
    pub fn window(self, events: usize) -> Self {
        self.with(|route| {
            if events == 0 || events > MOST_IN_WINDOW {
                return Err(invalid(format!(
                    "a bridge's window is 1 to {MOST_IN_WINDOW} events; got {events}"
                )));
            }
            route.window = events;
            Ok(())
        })
    }

    /// How long an answer of the server is waited for before the bridge looks anew: 5 s unless set, and at least 100 ms.
    pub fn patience(self, patience: Duration) -> Self {
        self.with(|route| {
            if patience < SHORTEST_PATIENCE {
                return Err(invalid(format!("patience is at least {SHORTEST_PATIENCE:?}; got {patience:?}")));
            }
            route.patience = patience;
            Ok(())
        })
    }

    /// The same, if nothing in it is a mistake.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn checked(self) -> Result<Self> {
        let route = self.parts.as_ref().map_err(Error::clone)?;
        if route.create && route.stream.is_none() {
            return Err(invalid("a stream that is to be made needs a name: call `stream`".to_owned()));
        }
        route.consumer().into_parts()?;
        Ok(self)
    }

    /// Begins to forward. It goes on by itself, through everything that may pass, until it is stopped or the bus is closed.
    ///
    /// # Errors
    /// `InvalidOption` for a mistake made while building, or without a target; as opening a consumer.
    pub async fn start(self, bus: &SqliteBus) -> Result<Bridge> {
        let Self { parts, target } = self.checked()?;
        let mut route = parts?;
        let target = target.ok_or_else(|| invalid("a bridge needs a target: call `to`".to_owned()))?;
        route.under = target.connection().wire(&route.under);
        Bridge::begin(bus.clone(), target, route).await
    }

    fn with(mut self, change: impl FnOnce(&mut Route) -> Result<()>) -> Self {
        if let Ok(route) = &mut self.parts
            && let Err(error) = change(route)
        {
            self.parts = Err(error);
        }
        self
    }
}

impl Route {
    /// The name of the consumer whose position is the bridge's.
    pub(super) fn consumer_name(&self) -> String {
        format!("bridge:{}", self.name)
    }

    /// The consumer whose position is the bridge's. What the stream can never take is a dead letter, and holds up nothing.
    pub(super) fn consumer(&self) -> Consumer {
        use crate::consumer::{AckPolicy, OnFailure};
        let consumer = Consumer::durable(self.consumer_name())
            .ack_policy(AckPolicy::Cumulative)
            .on_failure(OnFailure::DeadLetter);
        self.filters.iter().fold(consumer, |consumer, filter| consumer.filter(filter.clone()))
    }

    /// What is forwarded, as the stream has it.
    pub(super) fn subjects(&self) -> Vec<String> {
        self.filters.iter().map(|filter| self.with_prefix(filter.as_str())).collect()
    }

    /// A subject, as the stream has it.
    pub(super) fn subject(&self, subject: &Subject) -> String {
        self.with_prefix(subject.as_str())
    }

    fn with_prefix(&self, text: &str) -> String {
        format!("{}{text}", self.under)
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}
