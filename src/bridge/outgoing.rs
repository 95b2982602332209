//! An event on its way, and the message that it becomes.

use async_nats::HeaderMap;

use crate::bridge::identity::Identity;
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::nats::headers::{append, is_servers, to_wire};

/// What the server knows duplicates by.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The condition on which the server stores a message: that this is the stream's last sequence,
const EXPECTED_LAST: &str = "Nats-Expected-Last-Sequence";
/// or this the id of its last message. A server that was restarted may have forgotten it.
const EXPECTED_LAST_ID: &str = "Nats-Expected-Last-Msg-Id";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// The bridge that has forwarded a message.
pub(super) const BRIDGE: &str = "Rowbus-Bridge";
/// The event's place in the log of its file.
const SEQUENCE: &str = "Rowbus-Sequence";
/// When it was published there.
pub(super) const TIME: &str = "Rowbus-Time";
/// Of the first event behind a gap: the first and the last sequence that may be missing in front of it.
const GAP: &str = "Rowbus-Gap";

/// What is to be the stream's last message when another is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behind {
    /// Whatever has this sequence in the stream.
    Sequence(u64),
    /// This event of the file.
    Event(u64),
}

/// An event that was read, and is to be forwarded.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) delivery: Delivery,
    /// Events in front of it that may have been removed before they were forwarded.
    pub(super) gap: Option<(u64, u64)>,
}

impl Outgoing {
    pub(super) fn sequence(&self) -> u64 {
        self.delivery.sequence()
    }

    /// The message's headers, to be stored in this stream only, and only right behind this.
    ///
    /// # Errors
    /// `InvalidHeader` for one of the event that the server would take for an instruction.
    pub(super) fn headers(
        &self,
        identity: &Identity,
        stream: &str,
        behind: Option<&Behind>,
    ) -> Result<HeaderMap> {
        let instruction = self.delivery.headers().iter().find(|(name, _)| is_servers(name));
        if let Some((name, _)) = instruction {
            let message =
                format!("header {name:?} has a meaning of its own on NATS, and cannot be forwarded");
            return Err(Error::new(ErrorKind::InvalidHeader, message));
        }
        let mut map = to_wire(self.delivery.headers())?;
        let sequence = self.sequence();
        append(&mut map, MESSAGE_ID, &identity.message_id(sequence))?;
        append(&mut map, BRIDGE, &identity.bridge)?;
        append(&mut map, SEQUENCE, &sequence.to_string())?;
        append(&mut map, TIME, &time(self.delivery.unix_millis()))?;
        if let Some((first, last)) = self.gap {
            append(&mut map, GAP, &format!("{first}-{last}"))?;
        }
        append(&mut map, EXPECTED_STREAM, stream)?;
        match behind {
            Some(Behind::Sequence(last)) => append(&mut map, EXPECTED_LAST, &last.to_string())?,
            Some(Behind::Event(last)) => append(&mut map, EXPECTED_LAST_ID, &identity.message_id(*last))?,
            None => {}
        }
        Ok(map)
    }
}

/// A time as the header has it: RFC 3339, in UTC, to the millisecond.
pub(super) fn time(unix_millis: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(unix_millis).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
