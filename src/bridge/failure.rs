//! What went wrong with a publish, and whether trying again can help.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use std::error::Error as StdError;

use crate::error::{Error, ErrorKind};

/// What follows from a failed publish.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Something else was stored meanwhile, or the one before was not: look, and go on.
    NotInOrder,
    /// The stream can never take this message, for this reason.
    Never(String),
    /// It may take it later.
    Passing(Error),
}

const TOO_LARGE: [ErrorCode; 2] =
    [ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM];
const FULL: [ErrorCode; 5] = [
    ErrorCode::STREAM_STORE_FAILED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
];

/// The answers that are about the message itself. All others, those that nobody knows yet included, may pass: what waits for an
/// operator is told by the status, and what was given up on in error is gone.
pub(super) fn judge(error: PublishError) -> Refusal {
    if matches!(error.kind(), PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId) {
        return Refusal::NotInOrder;
    }
    if error.kind() == PublishErrorKind::MaxPayloadExceeded {
        return Refusal::Never(error.to_string());
    }
    if let Some(answer) = answer(&error)
        && TOO_LARGE.contains(&answer.error_code())
    {
        return Refusal::Never(answer.to_string());
    }
    if let Some(answer) = answer(&error)
        && FULL.contains(&answer.error_code())
    {
        let message = format!("the stream, or its server, is full: {answer}");
        return Refusal::Passing(Error::with_source(ErrorKind::DiskFull, message, error));
    }
    Refusal::Passing(passing("the stream has not acknowledged an event", error))
}

fn answer(error: &PublishError) -> Option<&async_nats::jetstream::Error> {
    error.source()?.downcast_ref()
}

/// What the server or the way to it has to do with; it is tried again.
pub(super) fn passing(doing: &str, error: impl StdError + Send + Sync + 'static) -> Error {
    let message = format!("{doing}: {error}");
    Error::with_source(ErrorKind::Disconnected, message, error)
}
