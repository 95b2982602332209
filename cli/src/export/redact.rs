//! What a support ticket may show.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

use rowbus::{DeadLetter, Headers, Message};

use crate::json;
use crate::time::write_time;

/// Puts lengths and short hashes in place of contents. The hashes are under a key that nobody keeps: without it, short
/// contents could be found out by trying.
pub(super) struct Redactor {
    key: RandomState,
}

/// Reasons that quote nobody.
const REASONS: [&str; 4] = ["failed", "exhausted", "expired", "salvaged"];

impl Redactor {
    pub(super) fn new() -> Self {
        Self { key: RandomState::new() }
    }

    fn hash(&self, bytes: &[u8]) -> String {
        format!("{:08x}", self.key.hash_one(bytes) >> 32)
    }

    fn redacted(&self, bytes: &[u8]) -> String {
        format!("<{} bytes, {}>", bytes.len(), self.hash(bytes))
    }

    fn headers(&self, headers: &Headers) -> Headers {
        let mut shown = Headers::new();
        for (name, value) in headers.iter() {
            // A name that was accepted once, and a value of plain ASCII.
            let _ = shown.append(name, &self.redacted(value.as_bytes()));
        }
        shown
    }

    /// An event as a line that says that it is redacted, so that nobody imports it.
    pub(super) fn write(&self, out: &mut impl Write, event: &Message) -> io::Result<()> {
        write!(out, "{{\"redacted\":true,\"sequence\":{},\"subject\":", event.sequence())?;
        json::string(out, event.subject())?;
        write_time(out, event)?;
        json::headers(out, &self.headers(event.headers()))?;
        if let Some(id) = event.message_id() {
            out.write_all(b",\"message_id\":")?;
            json::string(out, &self.redacted(id.as_bytes()))?;
        }
        let payload = event.payload();
        writeln!(out, ",\"bytes\":{},\"hash\":\"{}\"}}", payload.len(), self.hash(payload))
    }

    /// Handlers quote what they were given, so what they said goes as well, the reason too unless it is one of the bus's words.
    pub(super) fn redact(&self, letter: &mut DeadLetter) {
        if !REASONS.contains(&&*letter.reason) {
            letter.reason = self.redacted(letter.reason.as_bytes());
        }
        letter.payload = self.redacted(&letter.payload).into_bytes().into();
        letter.headers = self.headers(&letter.headers);
        for failure in &mut letter.failures {
            failure.message = self.redacted(failure.message.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_are_equal_within_an_export_and_not_between_two() {
        let (one, other) = (Redactor::new(), Redactor::new());
        assert_eq!(one.redacted(b"secret"), one.redacted(b"secret"));
        assert_ne!(one.redacted(b"secret"), one.redacted(b"Secret"));
        assert_ne!(one.redacted(b"secret"), other.redacted(b"secret"));
        assert!(one.redacted(b"secret").starts_with("<6 bytes, "));
    }
}
