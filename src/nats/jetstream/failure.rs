//! What the server said, or did not say, as an error of this crate.

use std::error::Error as StdError;

use async_nats::jetstream::context::{PublishError, PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::{Error as ServerError, ErrorCode};

use crate::error::{Error, ErrorKind};
use crate::nats::jetstream::api::Refusal;

type Source = Box<dyn StdError + Send + Sync>;

/// What the server says of the newest sequence of a subject, in front of the number.
const NEWEST: &str = "wrong last sequence: ";

/// The server could not be asked, or did not answer; nothing was changed by that.
pub(super) fn unreachable(error: impl Into<Source>) -> Error {
    Error::with_source(ErrorKind::Disconnected, "the NATS server did not answer", error)
}

/// The server was asked to change something, and did not answer.
pub(super) fn unsure(what: &str, error: impl Into<Source>) -> Error {
    let message = format!("the NATS server did not say whether {what}");
    Error::with_source(ErrorKind::Indeterminate, message, error)
}

pub(super) fn of_stream(stream: &str, error: impl Into<Source>) -> Error {
    Error::with_source(ErrorKind::Disconnected, format!("stream {stream:?} cannot be asked"), error)
}

/// A request that only reads was refused.
pub(super) fn refused(what: &str, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Said(error) => said(what, error),
        Refusal::Silent(error) => unreachable(error),
        Refusal::Forbidden(error) => error,
    }
}

/// A request that changes something was refused.
pub(super) fn not_changed(what: &str, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Said(error) => said(what, error),
        // Nobody was there to do it.
        Refusal::Silent(error) if error.kind() == RequestErrorKind::NoResponders => unreachable(error),
        Refusal::Silent(error) => unsure(&format!("it did it: {what}"), error),
        Refusal::Forbidden(error) => error,
    }
}

/// A stream was not made or found. To make one again changes nothing.
pub(super) fn not_opened(what: &str, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Silent(error) if error.kind() == RequestErrorKind::NoResponders => {
            let message =
                format!("{what}: the NATS server has no JetStream, or not for this user, or not yet");
            Error::with_source(ErrorKind::Unsupported, message, error)
        }
        refusal => refused(what, refusal),
    }
}

/// What the server said no to.
pub(super) fn said(what: &str, error: ServerError) -> Error {
    let code = error.error_code();
    let kind = match code {
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND => {
            ErrorKind::NotFound
        }
        _ if is_full(code) => ErrorKind::DiskFull,
        ErrorCode::JETSTREAM_NOT_ENABLED
        | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        | ErrorCode::ATOMIC_PUBLISH_DISABLED
        | ErrorCode::MESSAGE_SCHEDULES_DISABLED
        | ErrorCode::MESSAGE_TTL_DISABLED => ErrorKind::Unsupported,
        ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER
        | ErrorCode::INSUFFICIENT_RESOURCES => ErrorKind::Busy,
        _ => ErrorKind::Refused,
    };
    let message = format!("{what}: the NATS server refused it: {error}");
    Error::with_source(kind, message, error)
}

fn is_full(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED
    )
}

/// What became of a publish that was not acknowledged.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// `expect_last` did not hold; the sequence of the newest event, where the server told it.
    WrongSequence(Option<u64>),
    /// A batch has a message that the stream has already.
    Duplicate,
    Other(Error),
}

/// What the server made of a publish, or did not say.
pub(super) fn unpublished(subject: &str, error: PublishError) -> Unpublished {
    let refusal = StdError::source(&error).and_then(|source| source.downcast_ref::<ServerError>()).cloned();
    if let Some(refusal) = refusal {
        return match refusal.error_code() {
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
                Unpublished::WrongSequence(newest(&refusal))
            }
            ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE
            | ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => Unpublished::Duplicate,
            _ => Unpublished::Other(said(&format!("the message on {subject:?} was not published"), refusal)),
        };
    }
    Unpublished::Other(match error.kind() {
        PublishErrorKind::StreamNotFound => {
            let message = format!("no stream of the NATS server keeps {subject:?}; nothing was written");
            Error::with_source(ErrorKind::NoStream, message, error)
        }
        PublishErrorKind::MaxPayloadExceeded => {
            Error::with_source(ErrorKind::Refused, "the NATS server takes no message of this size", error)
        }
        _ => unsure(&format!("it keeps the message on {subject:?}"), error),
    })
}

/// The number is nowhere but in the server's sentence.
fn newest(refusal: &ServerError) -> Option<u64> {
    let said = refusal.to_string();
    let (_, number) = said.split_once(NEWEST)?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}
