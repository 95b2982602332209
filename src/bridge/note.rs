//! What a bridge notes in the file of the stream that it forwards to.
//!
//! The note is written and flushed before the first event is sent, and again with each flush. It holds for ever: an older one
//! says less, and nothing false. So it tells a look from where on the stream can have what the file has not noted as done.

use std::fmt;
use std::sync::Arc;

/// A stream, told from one of the same name that was made later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamId {
    pub(super) name: String,
    /// Unix milliseconds.
    pub(super) created: u128,
}

/// Every event behind `sequence` of the file is behind `stream_sequence` in the stream, if it is there at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) stream: Arc<StreamId>,
    pub(super) sequence: u64,
    pub(super) stream_sequence: u64,
}

/// The key of a bridge's note in `bus_meta`.
pub(super) fn key(bridge: &str) -> String {
    format!("bridge:{bridge}")
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, sequence, stream_sequence } = self;
        write!(f, "{sequence} {stream_sequence} {} {}", stream.created, stream.name)
    }
}

impl Note {
    /// Whether it is a newer one of the same stream.
    pub(super) fn says_more_than(&self, other: &Self) -> bool {
        self.stream == other.stream && self.stream_sequence > other.stream_sequence
    }

    /// Reads one; `None` for what is none, which is as if nothing had been noted.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let (sequence, stream_sequence) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let stream = StreamId { created: words.next()?.parse().ok()?, name: words.next()?.to_owned() };
        Some(Self { stream: Arc::new(stream), sequence, stream_sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_anything_else_is_none() {
        let stream = Arc::new(StreamId { name: "ORDERS".to_owned(), created: 1_700_000_000_123 });
        let note = Note { stream, sequence: 17, stream_sequence: 40 };
        assert_eq!(Note::parse(&note.to_string()), Some(note));
        for text in ["", "17", "17 40 x ORDERS", "17 40 5", "a b c d"] {
            assert_eq!(Note::parse(text), None, "{text}");
        }
    }
}
