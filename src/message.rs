//! A message as a reader gets it.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::headers::Headers;
use crate::subject::Subject;

/// An event that was published, or a request as its server gets it: subject, payload, headers, and its place in the log or
/// the queue.
///
/// Cheap to clone: payload and headers are shared. `Debug` shows the payload's length and never its content.
#[derive(Clone)]
pub struct Message {
    subject: Subject,
    payload: Bytes,
    headers: Headers,
    sequence: u64,
    millis: i64,
    message_id: Option<Box<str>>,
}

impl Message {
    /// A message as a backend builds it; `sequence` is 0 where the backend has no log.
    pub fn new(subject: Subject, payload: Bytes, headers: Headers, sequence: u64, unix_millis: i64) -> Self {
        Self { subject, payload, headers, sequence, millis: unix_millis, message_id: None }
    }

    /// The same message with the id that its publisher gave it.
    #[must_use]
    pub fn with_message_id(mut self, id: Option<Box<str>>) -> Self {
        self.message_id = id;
        self
    }

    /// What the message is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The bytes, as they were published.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The bytes, without a copy.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// The bytes as text, if they are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.payload).ok()
    }

    /// The headers, as they were published.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The place in the log: from 1, rising, never given twice; there may be gaps. 0 where the backend has no log.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was published, by the publisher's wall clock, to the millisecond.
    ///
    /// A time outside of what `chrono` can express, as a hand-written row may have, is shown as the Unix epoch.
    pub fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.millis).unwrap_or_default()
    }

    /// The same as [`time`](Self::time), in milliseconds since the Unix epoch.
    pub fn unix_millis(&self) -> i64 {
        self.millis
    }

    /// The id that the publisher gave against duplicates.
    pub fn message_id(&self) -> Option<&str> {
        self.message_id.as_deref()
    }

    /// The payload as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Json`](crate::ErrorKind::Json) if it is none, or not of this shape.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> crate::Result<T> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            let message = format!("event {} on {:?} is not the expected JSON", self.sequence, self.subject);
            crate::Error::with_source(crate::ErrorKind::Json, message, error)
        })
    }

    /// What this message takes in a buffer.
    #[cfg(feature = "async")]
    pub(crate) fn weight(&self) -> usize {
        self.payload.len() + self.headers.encoded_len()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.subject)
            .field("sequence", &self.sequence)
            .field("payload_bytes", &self.payload.len())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_payload() {
        let subject = Subject::new("a").unwrap();
        let message = Message::new(subject, Bytes::from_static(b"secret"), Headers::new(), 7, 0);
        let shown = format!("{message:?}");
        assert!(!shown.contains("secret") && shown.contains("payload_bytes: 6"), "{shown}");
    }

    #[test]
    fn a_time_that_cannot_be_expressed_is_no_panic() {
        let subject = Subject::new("a").unwrap();
        let message = Message::new(subject, Bytes::new(), Headers::new(), 1, i64::MIN);
        assert_eq!(message.time().timestamp(), 0);
        assert_eq!(message.unix_millis(), i64::MIN);
    }
}
