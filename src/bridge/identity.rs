//! How an event is called beyond its file, so that it is known again.

use async_nats::HeaderMap;

use crate::bridge::outgoing::{BRIDGE, MESSAGE_ID};
use crate::sqlite::Lineage;

/// Who forwards: a file, which may be a copy of others, and a bridge.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) lineage: Lineage,
    pub(super) bridge: String,
}

impl Identity {
    /// The `Nats-Msg-Id` of an event: the incarnation in which it was written, and its sequence.
    pub(super) fn message_id(&self, sequence: u64) -> String {
        format!("{}:{sequence}", self.lineage.of(sequence))
    }

    /// The sequence of a message in the stream, if this bridge has forwarded it from this file, or from one that it is a copy of.
    pub(super) fn sequence_of(&self, headers: &HeaderMap) -> Option<u64> {
        if headers.get(BRIDGE)?.as_str() != self.bridge {
            return None;
        }
        let (incarnation, sequence) = headers.get(MESSAGE_ID)?.as_str().rsplit_once(':')?;
        let sequence = sequence.parse().ok()?;
        (self.lineage.of(sequence) == incarnation).then_some(sequence)
    }
}
