//! Events as messages of their stream: there and back.

use async_nats::HeaderMap;
use async_nats::jetstream::message::{Message as Arrived, StreamMessage};
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;
use crate::message::Message;
use crate::nats::headers::{from_wire, is_servers, to_wire};
use crate::nats::jetstream::subjects::Subjects;
use crate::subject::Subject;

const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The headers as the server takes them. One that the server would follow is refused: it could replace what is kept.
pub(super) fn to_server(headers: &Headers) -> Result<HeaderMap> {
    if let Some((name, _)) = headers.iter().find(|(name, _)| is_servers(name)) {
        let message =
            format!("header {name:?}: names that begin with \"Nats-\" are instructions to JetStream");
        return Err(Error::new(ErrorKind::InvalidHeader, message));
    }
    to_wire(headers)
}

/// The headers as they were given, without the server's own.
pub(super) fn from_server(map: Option<&HeaderMap>) -> Headers {
    let all = from_wire(map);
    if !all.iter().any(|(name, _)| is_servers(name)) {
        return all;
    }
    let mut own = Headers::new();
    for (name, value) in all.iter().filter(|(name, _)| !is_servers(name)) {
        // They were headers before.
        let _ = own.append(name, value);
    }
    own
}

/// Where a message that was delivered lies in its stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) sequence: u64,
    /// Its number among what its consumer has delivered.
    pub(super) delivery: u64,
    pub(super) attempt: u32,
    pub(super) unix_millis: i64,
}

/// Where this lies, and the event that it is, if a bus can have published it.
pub(super) fn delivered(subjects: &Subjects, arrived: &Arrived) -> Option<(Place, Option<Message>)> {
    let place = place(arrived)?;
    let message = subjects.of_event(&arrived.message.subject).map(|subject| {
        event(
            subject,
            &arrived.message.payload,
            arrived.message.headers.as_ref(),
            place.sequence,
            place.unix_millis,
        )
    });
    Some((place, message))
}

pub(super) fn place(arrived: &Arrived) -> Option<Place> {
    let info = arrived.info().ok()?;
    Some(Place {
        sequence: info.stream_sequence,
        delivery: info.consumer_sequence,
        attempt: u32::try_from(info.delivered).unwrap_or(u32::MAX),
        unix_millis: info.published.timestamp_millis(),
    })
}

/// The event that was read from its stream.
pub(super) fn read(subjects: &Subjects, stored: &StreamMessage) -> Option<Message> {
    let subject = subjects.of_event(&stored.subject)?;
    Some(event(
        subject,
        &stored.payload,
        Some(&stored.headers),
        stored.sequence,
        stored.time.timestamp_millis(),
    ))
}

fn event(
    subject: Subject,
    payload: &Bytes,
    map: Option<&HeaderMap>,
    sequence: u64,
    unix_millis: i64,
) -> Message {
    let id = map.and_then(|map| map.get(MESSAGE_ID)).map(|id| id.as_str().into());
    Message::new(subject, payload.clone(), from_server(map), sequence, unix_millis).with_message_id(id)
}
