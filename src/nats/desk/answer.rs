//! Answers on the wire, and who waits for them.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::message::OutboundMessage;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::handler::HandlerError;
use crate::nats::headers;
use crate::reply::Response;

/// Who waits for the answer.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) subject: String,
    /// One that knows what gives back and parts are.
    pub(super) is_ours: bool,
    pub(super) wants_parts: bool,
    /// How many parts were sent: held while one is being sent, since they go in their order.
    pub(super) parts: Arc<tokio::sync::Mutex<u64>>,
}

pub(super) fn message(caller: &Caller, payload: Bytes, headers: HeaderMap) -> OutboundMessage {
    OutboundMessage { subject: caller.subject.as_str().into(), reply: None, payload, headers: Some(headers) }
}

/// A message whose meaning is a header.
pub(super) fn reply_with(caller: &Caller, name: &str, value: &str) -> OutboundMessage {
    let mut map = HeaderMap::new();
    // Ours have no line breaks.
    let _ = headers::append(&mut map, name, value);
    message(caller, Bytes::new(), map)
}

pub(super) async fn answered(caller: &Caller, response: &Response) -> Result<OutboundMessage> {
    let mut map = headers::to_wire(response.headers())?;
    let parts = *caller.parts.lock().await;
    if parts > 0 {
        headers::append(&mut map, headers::PARTS, &parts.to_string())?;
    }
    Ok(message(caller, response.payload().clone(), map))
}

/// The words of NATS' own services for everybody, and the same exactly for callers of ours.
pub(super) fn failed(caller: &Caller, error: &HandlerError) -> OutboundMessage {
    let mut map = HeaderMap::new();
    let plain = |text: &str| text.replace(['\r', '\n'], " ");
    let mut add = |name: &str, value: &str| drop(headers::append(&mut map, name, value));
    add(headers::ERROR, &plain(error.message()));
    add(headers::ERROR_CODE, &plain(error.code().unwrap_or("500")));
    if caller.is_ours {
        add(headers::SAID, &headers::encode(error.message()));
        if let Some(code) = error.code() {
            add(headers::SAID_CODE, &headers::encode(code));
        }
    }
    message(caller, error.body().clone(), map)
}

/// A caller of ours sends it again; any other is told that it failed.
pub(super) fn given_back(caller: &Caller) -> OutboundMessage {
    if caller.is_ours {
        return reply_with(caller, headers::RELEASED, "1");
    }
    let message = "the server has ended, or takes no more, and has not done it";
    failed(caller, &HandlerError::new(message).with_code("503"))
}

pub(super) fn unsendable(error: Error) -> HandlerError {
    HandlerError::new(format!("the reply cannot be sent: {error}")).with_code("unsendable")
}
