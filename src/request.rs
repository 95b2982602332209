//! What a caller asks of a server.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::defaults::{MAX_REQUEST_TIMEOUT, REQUEST_TIMEOUT};
use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;
use crate::subject::Subject;

/// A request to make: a subject, a body and options.
///
/// ```
/// use std::time::Duration;
/// use rowbus::Request;
///
/// let quote = Request::to("price.quote", "2 pizzas").header("Currency", "EUR").timeout(Duration::from_secs(2)).if_served();
/// assert!(quote.into_parts().is_ok());
/// ```
#[derive(Clone)]
#[must_use = "a request is made by passing this to `call`"]
pub struct Request {
    parts: Result<RequestParts>,
}

/// A checked [`Request`], as a backend takes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct RequestParts {
    /// The subject, which a server's filter is to match.
    pub subject: Subject,
    /// The bytes.
    pub payload: Bytes,
    /// The headers.
    pub headers: Headers,
    /// How long to wait for the reply; the request is not begun after it.
    pub timeout: Duration,
    /// To fail at once if nobody serves the subject.
    pub if_served: bool,
    /// To be given to another server if the first one dies.
    pub redeliver: bool,
}

impl Request {
    /// A request with this subject and body.
    pub fn to<S>(subject: S, payload: impl Into<Bytes>) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        let parts = subject.try_into().map_err(Error::from).map(|subject| RequestParts {
            subject,
            payload: payload.into(),
            headers: Headers::new(),
            timeout: REQUEST_TIMEOUT,
            if_served: false,
            redeliver: true,
        });
        Self { parts }
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

    /// How long to wait for the reply, 10 s unless set, from 1 ms to 24 h. What takes longer is a [`Job`](crate::Job).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.and(|parts| {
            if timeout < Duration::from_millis(1) || timeout > MAX_REQUEST_TIMEOUT {
                let message = format!("a request's timeout is 1 ms to 24 h; got {timeout:?}");
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            parts.timeout = timeout;
            Ok(())
        })
    }

    /// Fails at once with [`ErrorKind::NoResponders`] if nobody serves the subject, in place of waiting for somebody who may.
    pub fn if_served(self) -> Self {
        self.and(|parts| {
            parts.if_served = true;
            Ok(())
        })
    }

    /// Whether another server is to take over when the first one dies: `true` unless set. With `false`
    /// the caller gets [`ErrorKind::ServerLost`], and knows that the request may have been done in part.
    pub fn redeliver(self, redeliver: bool) -> Self {
        self.and(|parts| {
            parts.redeliver = redeliver;
            Ok(())
        })
    }

    /// The checked parts, for a backend.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn into_parts(self) -> Result<RequestParts> {
        self.parts
    }

    fn and(mut self, set: impl FnOnce(&mut RequestParts) -> Result<()>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(error) = set(parts)
        {
            self.parts = Err(error);
        }
        self
    }
}

impl RequestParts {
    /// Refuses what is larger than `limit` bytes with its headers.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadTooLarge`].
    pub fn check_size(&self, limit: usize) -> Result<()> {
        crate::publish::check_size("request", &self.subject, &self.payload, &self.headers, limit)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            Ok(parts) => fmt::Debug::fmt(parts, f),
            Err(error) => f.debug_tuple("Request").field(error).finish(),
        }
    }
}

impl fmt::Debug for RequestParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("subject", &self.subject)
            .field("payload_bytes", &self.payload.len())
            .field("headers", &self.headers)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
