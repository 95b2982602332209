//! What a publisher says of a message, and what it is told.

use std::fmt;

use bytes::Bytes;

use crate::defaults::MAX_MESSAGE_ID;
use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;
use crate::subject::Subject;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// What was acknowledged survives a crash of the process; a power cut may take the newest of it, always a suffix.
    Relaxed,
    /// What was acknowledged survives a power cut: it was flushed to the disk before.
    Full,
}

/// A message to publish.
///
/// Mistakes are reported by the call that sends it, before anything is written.
///
/// ```
/// use rowbus::Publish;
///
/// let publish = Publish::new("orders.created", "{}").header("Trace", "7f2c").message_id("order-17");
/// assert_eq!(publish.into_parts()?.subject, "orders.created");
/// assert!(Publish::new("orders..created", "{}").into_parts().is_err());
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a message is published by sending it"]
pub struct Publish {
    parts: Result<PublishParts>,
}

/// A checked [`Publish`], as a backend takes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct PublishParts {
    /// The subject.
    pub subject: Subject,
    /// The bytes.
    pub payload: Bytes,
    /// The headers.
    pub headers: Headers,
    /// The id against duplicates.
    pub message_id: Option<Box<str>>,
    /// The durability asked for, if it is not the bus's own.
    pub durability: Option<Durability>,
    /// The sequence that the subject's newest event must have.
    pub expect_last: Option<u64>,
}

impl Publish {
    /// A message with this subject and payload.
    pub fn new<S>(subject: S, payload: impl Into<Bytes>) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        let parts = subject.try_into().map_err(Error::from).map(|subject| PublishParts {
            subject,
            payload: payload.into(),
            headers: Headers::new(),
            message_id: None,
            durability: None,
            expect_last: None,
        });
        Self { parts }
    }

    /// A message whose payload is this value as JSON.
    #[cfg(feature = "json")]
    pub fn json<S>(subject: S, value: &impl serde::Serialize) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(subject, body),
            Err(error) => {
                let message = "the value cannot be written as JSON";
                Self { parts: Err(Error::with_source(ErrorKind::Json, message, error)) }
            }
        }
    }

    /// Adds a header; a name may have several values.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.and(|parts| parts.headers.append(name, value))
    }

    /// Replaces all headers.
    pub fn headers(self, headers: Headers) -> Self {
        self.and(|parts| {
            parts.headers = headers;
            Ok(())
        })
    }

    /// An id against duplicates: a second message with the same id within the bus's window (2 minutes
    /// unless configured) is not published again, and acknowledged as `duplicate` with the first one's
    /// sequence. The window is counted from the first and does not slide. At most 255 bytes.
    pub fn message_id(self, id: impl Into<Box<str>>) -> Self {
        let id = id.into();
        self.and(|parts| {
            if id.is_empty() || id.len() > MAX_MESSAGE_ID || id.chars().any(char::is_control) {
                let message = format!(
                    "a message_id is 1 to {MAX_MESSAGE_ID} bytes without control characters; got {} bytes",
                    id.len()
                );
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            parts.message_id = Some(id);
            Ok(())
        })
    }

    /// Publishes only if the subject's newest event has this sequence; 0 means that it has none.
    /// Else [`ErrorKind::WrongSequence`] says which it has.
    pub fn expect_last(self, sequence: u64) -> Self {
        self.and(|parts| {
            parts.expect_last = Some(sequence);
            Ok(())
        })
    }

    /// Acknowledged when it survives a crash of the process, without waiting for the disk.
    pub fn relaxed(self) -> Self {
        self.durability(Durability::Relaxed)
    }

    /// Acknowledged at this level instead of the bus's own.
    pub fn durability(self, durability: Durability) -> Self {
        self.and(|parts| {
            parts.durability = Some(durability);
            Ok(())
        })
    }

    /// The checked parts, for a backend.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn into_parts(self) -> Result<PublishParts> {
        self.parts
    }

    fn and(mut self, set: impl FnOnce(&mut PublishParts) -> Result<()>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(error) = set(parts)
        {
            self.parts = Err(error);
        }
        self
    }
}

impl PublishParts {
    /// Refuses what is larger than `limit` bytes with its headers.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadTooLarge`].
    pub fn check_size(&self, limit: usize) -> Result<()> {
        check_size("message", &self.subject, &self.payload, &self.headers, limit)
    }
}

/// Refuses what is larger than `limit` bytes with its headers.
pub(crate) fn check_size(
    what: &str,
    subject: &Subject,
    payload: &Bytes,
    headers: &Headers,
    limit: usize,
) -> Result<()> {
    let size = payload.len() + headers.encoded_len();
    if size <= limit {
        return Ok(());
    }
    let kind = ErrorKind::PayloadTooLarge { size: size as u64, limit: limit as u64 };
    let message = format!(
        "the {what} on {subject:?} has {size} bytes with its headers, and at most {limit} are allowed"
    );
    Err(Error::new(kind, message))
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            Ok(parts) => fmt::Debug::fmt(parts, f),
            Err(error) => f.debug_tuple("Publish").field(error).finish(),
        }
    }
}

impl fmt::Debug for PublishParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("subject", &self.subject)
            .field("payload_bytes", &self.payload.len())
            .field("headers", &self.headers)
            .field("durability", &self.durability)
            .field("expect_last", &self.expect_last)
            .finish_non_exhaustive()
    }
}

/// What a publisher is told when its message is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PubAck {
    /// The message's place in the log; 0 where the backend has none.
    pub sequence: u64,
    /// Whether the message had been published before, under the same `message_id`; then `sequence` is the first one's.
    pub duplicate: bool,
}

impl PubAck {
    /// An acknowledgement as a backend gives it.
    pub fn new(sequence: u64, duplicate: bool) -> Self {
        Self { sequence, duplicate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mistake_is_the_one_reported() {
        let publish = Publish::new("a..b", "").header("bad name", "x").message_id("");
        assert_eq!(publish.into_parts().unwrap_err().kind(), ErrorKind::InvalidSubject);
        let publish = Publish::new("a", "").header("bad name", "x").message_id("");
        assert_eq!(publish.into_parts().unwrap_err().kind(), ErrorKind::InvalidHeader);
        let publish = Publish::new("a", "").message_id("x".repeat(256));
        assert_eq!(publish.into_parts().unwrap_err().kind(), ErrorKind::InvalidOption);
    }

    #[test]
    fn headers_count_toward_the_size_limit() {
        let parts = Publish::new("a", vec![0; 8]).header("A", "1").into_parts().unwrap();
        assert!(parts.check_size(13).is_ok());
        let error = parts.check_size(12).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge { size: 13, limit: 12 });
    }

    #[test]
    fn debug_never_shows_the_payload_or_the_values_of_headers() {
        let shown = format!("{:?}", Publish::new("a", "secret").header("Name", "hidden"));
        assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    }
}
