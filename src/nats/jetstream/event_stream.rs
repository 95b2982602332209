//! Which stream holds a bus's events, and how it is made.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::defaults::DEDUP_WINDOW;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;

/// The stream of JetStream that holds a bus's events, with its limits.
///
/// It is made where there is none of this name. One that exists is verified: a setting that was asked for and is another is
/// [`ErrorKind::StreamMismatch`], which names it. Where nothing says what it is to keep, it has to exist, and keeps what it keeps. Jobs have a stream beside it, `<name>_JOBS`, and their replies, dead letters
/// and cumulative consumers another, `<name>_STATE`; they are made when they are first needed, by a server of 2.12 or later.
///
/// ```
/// use std::time::Duration;
/// use rowbus::EventStream;
///
/// let orders = EventStream::named("ORDERS").subject("orders.>").max_age(Duration::from_secs(7 * 24 * 3600));
/// let whole = EventStream::named("SHOP").under("events");       // every event, as `events.…` on the server
/// let theirs = EventStream::existing("THEIRS");                 // as somebody else has made it
/// # let _ = (orders, whole, theirs);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a stream is used by passing this to the builder of a bus"]
pub struct EventStream {
    parts: Result<EventStreamParts>,
}

/// A checked [`EventStream`].
#[derive(Clone, Debug)]
pub(crate) struct EventStreamParts {
    pub(super) name: String,
    pub(super) exists: bool,
    /// Tokens in front of every event's subject, behind the prefix of the bus.
    pub(super) under: Option<String>,
    /// What is kept; everything, if none was given.
    pub(super) subjects: Vec<Filter>,
    pub(super) max_age: Option<Duration>,
    pub(super) max_messages: Option<i64>,
    pub(super) max_bytes: Option<i64>,
    pub(super) max_per_subject: Option<i64>,
    pub(super) duplicate_window: Option<Duration>,
    pub(super) replicas: Option<usize>,
    pub(super) in_memory: bool,
}

/// A name of JetStream has at most so many bytes, less what ours add.
const LONGEST_NAME: usize = 240;

impl EventStream {
    /// The stream of this name, which is made if there is none. A name has no blank, control character, `.`, `*`, `>`, `/`
    /// or `\`.
    pub fn named(name: impl Into<String>) -> Self {
        Self::of(name.into(), false)
    }

    /// The stream of this name as it is: whoever made it has said what it holds and for how long. It has to keep what it is
    /// given (`retention` `limits`) and to acknowledge it.
    pub fn existing(name: impl Into<String>) -> Self {
        Self::of(name.into(), true)
    }

    fn of(name: String, exists: bool) -> Self {
        let wrong = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
        let parts = if name.is_empty() || name.len() > LONGEST_NAME || name.contains(wrong) {
            Err(invalid(format!(
                "a stream's name has 1 to {LONGEST_NAME} bytes and no blank, control character, '.', '*', '>', '/' or '\\'; got {name:?}"
            )))
        } else {
            Ok(EventStreamParts {
                name,
                exists,
                under: None,
                subjects: Vec::new(),
                max_age: None,
                max_messages: None,
                max_bytes: None,
                max_per_subject: None,
                duplicate_window: None,
                replicas: None,
                in_memory: false,
            })
        };
        Self { parts }
    }

    /// Has it keep what this filter matches; given several times, what any of them does. They lie under the prefix of the bus.
    /// None given is everything below the prefix or [`under`](Self::under); without these too it is what the stream keeps that is
    /// there, and none is made: JetStream takes no stream of all there is.
    pub fn subject<F>(self, filter: F) -> Self
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        self.with(|parts| {
            parts.subjects.push(filter.try_into()?);
            Ok(())
        })
    }

    /// Puts these tokens in front of every event's subject on the server, so that a subject can be published on and be asked as
    /// well: the stream would take a request on a subject that it keeps for an event.
    pub fn under(self, tokens: &str) -> Self {
        self.with(|parts| {
            crate::subject::Subject::new(tokens)?;
            parts.under = Some(tokens.to_owned());
            Ok(())
        })
    }

    /// How long an event is kept: for ever unless set.
    pub fn max_age(self, age: Duration) -> Self {
        self.with(|parts| {
            if age < Duration::from_millis(100) {
                return Err(invalid(format!("max_age is at least 100 ms; got {age:?}")));
            }
            parts.max_age = Some(age);
            Ok(())
        })
    }

    /// How many events are kept, the newest of them: any number unless set.
    pub fn max_messages(self, messages: u64) -> Self {
        self.with(|parts| {
            parts.max_messages = Some(limit("max_messages", messages)?);
            Ok(())
        })
    }

    /// How many bytes are kept, the newest of them: any number unless set.
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.with(|parts| {
            parts.max_bytes = Some(limit("max_bytes", bytes)?);
            Ok(())
        })
    }

    /// How many events of each subject are kept, the newest of them: any number unless set.
    pub fn max_per_subject(self, messages: u64) -> Self {
        self.with(|parts| {
            parts.max_per_subject = Some(limit("max_per_subject", messages)?);
            Ok(())
        })
    }

    /// How long a `message_id` is remembered: 2 minutes unless set, and never longer than events are kept.
    pub fn duplicate_window(self, window: Duration) -> Self {
        self.with(|parts| {
            if window < Duration::from_millis(100) {
                return Err(invalid(format!("duplicate_window is at least 100 ms; got {window:?}")));
            }
            parts.duplicate_window = Some(window);
            Ok(())
        })
    }

    /// On how many servers of a cluster it is kept: 1 unless set, 5 at most.
    pub fn replicas(self, servers: usize) -> Self {
        self.with(|parts| {
            if !(1..=5).contains(&servers) {
                return Err(invalid(format!("replicas are 1 to 5; got {servers}")));
            }
            parts.replicas = Some(servers);
            Ok(())
        })
    }

    /// Has the server keep it in memory alone, so that nothing outlives the server.
    pub fn in_memory(self) -> Self {
        self.with(|parts| {
            parts.in_memory = true;
            Ok(())
        })
    }

    /// The checked parts.
    pub(crate) fn into_parts(self) -> Result<EventStreamParts> {
        self.parts
    }

    fn with(mut self, change: impl FnOnce(&mut EventStreamParts) -> Result<()>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(error) = change(parts)
        {
            self.parts = Err(error);
        }
        self
    }
}

impl EventStreamParts {
    /// What the server is asked for. `lies` puts a subject where it lies on the server.
    pub(super) fn config(&self, lies: impl Fn(&Filter) -> String) -> Config {
        let all = [Filter::everything()];
        let subjects = if self.subjects.is_empty() { &all[..] } else { &self.subjects };
        let max_age = self.max_age.unwrap_or_default();
        let window = self.duplicate_window.unwrap_or(match max_age {
            Duration::ZERO => DEDUP_WINDOW,
            age => age.min(DEDUP_WINDOW),
        });
        Config {
            name: self.name.clone(),
            subjects: subjects.iter().map(lies).collect(),
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            storage: if self.in_memory { StorageType::Memory } else { StorageType::File },
            num_replicas: self.replicas.unwrap_or(1),
            max_age,
            max_messages: self.max_messages.unwrap_or(-1),
            max_bytes: self.max_bytes.unwrap_or(-1),
            max_messages_per_subject: self.max_per_subject.unwrap_or(-1),
            duplicate_window: window,
            max_consumers: -1,
            allow_direct: true,
            allow_atomic_publish: true,
            ..Config::default()
        }
    }

    /// Whether anything beside the prefix of the bus says what the stream is to keep.
    pub(super) fn says_what(&self) -> bool {
        self.under.is_some() || !self.subjects.is_empty()
    }

    /// That there is no such stream, and that a new one cannot be made by its name alone.
    pub(super) fn keeps_what(&self) -> Error {
        invalid(format!(
            "there is no stream {:?} yet, and what a new one is to keep was not said: say stream_subjects=orders.> as well in the \
             URL, or stream_under=events (EventStream::subject, EventStream::under)",
            self.name
        ))
    }

    /// Refuses a stream that differs in what was asked for, or cannot do what is needed. What it keeps is compared if that was said.
    pub(super) fn verify(&self, found: &Config, wanted: &Config, says_what: bool) -> Result<()> {
        let name = &self.name;
        needed(name, "retention", found.retention == RetentionPolicy::Limits, "limits")?;
        needed(name, "no_ack", !found.no_ack, "false")?;
        needed(name, "sealed", !found.sealed, "false")?;
        if self.exists {
            return Ok(());
        }
        let sorted = |subjects: &[String]| {
            let mut subjects = subjects.to_vec();
            subjects.sort_unstable();
            subjects
        };
        if says_what {
            same(name, "subject", &sorted(&found.subjects), &sorted(&wanted.subjects))?;
            same(name, "allow_atomic", &found.allow_atomic_publish, &wanted.allow_atomic_publish)?;
        }
        if says_what || self.in_memory {
            same(name, "in_memory", &found.storage, &wanted.storage)?;
        }
        same_if(name, "max_age", self.max_age.map(|_| (found.max_age, wanted.max_age)))?;
        same_if(name, "max_messages", self.max_messages.map(|most| (found.max_messages, most)))?;
        same_if(name, "max_bytes", self.max_bytes.map(|most| (found.max_bytes, most)))?;
        let per_subject = self.max_per_subject.map(|most| (found.max_messages_per_subject, most));
        same_if(name, "max_per_subject", per_subject)?;
        same_if(
            name,
            "duplicate_window",
            self.duplicate_window.map(|window| (found.duplicate_window, window)),
        )?;
        same_if(name, "replicas", self.replicas.map(|servers| (found.num_replicas, servers)))
    }
}

fn same_if<T: PartialEq + std::fmt::Debug>(
    name: &str,
    setting: &'static str,
    both: Option<(T, T)>,
) -> Result<()> {
    both.map_or(Ok(()), |(found, wanted)| same(name, setting, &found, &wanted))
}

/// Refuses a stream whose setting is not the one asked for.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    name: &str,
    setting: &'static str,
    found: &T,
    wanted: &T,
) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let message = format!(
        "the {setting} of stream {name:?} is {found:?}, and {wanted:?} was asked for: change one of them, or use \
         EventStream::existing to take the stream as it is"
    );
    Err(Error::new(ErrorKind::StreamMismatch { setting }, message))
}

fn needed(name: &str, setting: &'static str, holds: bool, needs: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    let message = format!("stream {name:?} cannot hold a bus's events: its {setting} has to be {needs}");
    Err(Error::new(ErrorKind::StreamMismatch { setting }, message))
}

fn limit(what: &str, most: u64) -> Result<i64> {
    match i64::try_from(most) {
        Ok(most) if most > 0 => Ok(most),
        _ => Err(invalid(format!("{what} is 1 to {}; got {most}", i64::MAX))),
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_by_name() {
        let refused = |stream: EventStream| stream.into_parts().unwrap_err().to_string();
        assert!(refused(EventStream::named("A.B")).contains("a stream's name"));
        assert!(refused(EventStream::named("A").max_messages(0)).contains("max_messages"));
        assert!(refused(EventStream::named("A").max_bytes(u64::MAX)).contains("max_bytes"));
        assert!(
            refused(EventStream::named("A").duplicate_window(Duration::ZERO)).contains("duplicate_window")
        );
        assert!(refused(EventStream::named("A").replicas(6)).contains("replicas"));
        assert!(refused(EventStream::named("A").subject("a..b")).contains("token 2"));
        assert!(refused(EventStream::named("A").under("a.*")).contains("token 2"));
    }

    #[test]
    fn a_setting_that_differs_is_named_and_one_that_was_not_given_is_not_compared() {
        let parts = EventStream::named("A").subject("a.>").max_messages(5).into_parts().unwrap();
        let wanted = parts.config(|filter| filter.as_str().to_owned());
        let verify = |change: fn(&mut Config)| {
            let mut found = wanted.clone();
            change(&mut found);
            parts.verify(&found, &wanted, true).map_err(|error| error.kind())
        };
        assert_eq!(verify(|found| found.max_age = Duration::from_secs(1)), Ok(()));
        let mismatch = |setting| Err(ErrorKind::StreamMismatch { setting });
        assert_eq!(verify(|found| found.max_messages = 6), mismatch("max_messages"));
        assert_eq!(verify(|found| found.subjects = vec!["b".into()]), mismatch("subject"));
        assert_eq!(verify(|found| found.retention = RetentionPolicy::WorkQueue), mismatch("retention"));
        assert_eq!(verify(|found| found.no_ack = true), mismatch("no_ack"));
    }

    #[test]
    fn a_message_id_is_remembered_no_longer_than_events_are_kept() {
        let window = |stream: EventStream| {
            stream.into_parts().unwrap().config(|filter| filter.as_str().to_owned()).duplicate_window
        };
        assert_eq!(window(EventStream::named("A")), DEDUP_WINDOW);
        let short = Duration::from_secs(10);
        assert_eq!(window(EventStream::named("A").max_age(short)), short);
    }
}
