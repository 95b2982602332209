//! What a program does with the requests it serves.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::call::Call;
use crate::future::BoxFuture;
use crate::reply::Response;

/// Answers requests. A closure from [`Call`] to a future is one, by way of [`handler_fn`].
///
/// A panic is caught, and is an error like any other. The future is dropped where it stands when the service is stopped and
/// the grace period is over.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, call: Call) -> BoxFuture<'static, Result<Response, HandlerError>>;
}

/// Makes a [`Handler`] of a closure.
///
/// ```
/// use rowbus::{Call, handler_fn};
///
/// let shout = handler_fn(|call: Call| async move { Ok(call.text().unwrap_or_default().to_uppercase()) });
/// # let _: std::sync::Arc<dyn rowbus::Handler> = std::sync::Arc::new(shout);
/// ```
pub fn handler_fn<F, Fut, R>(handle: F) -> impl Handler
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Into<Response>,
{
    HandlerFn(handle)
}

struct HandlerFn<F>(F);

impl<F, Fut, R> Handler for HandlerFn<F>
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Into<Response>,
{
    fn handle(&self, call: Call) -> BoxFuture<'static, Result<Response, HandlerError>> {
        let answer = (self.0)(call);
        Box::pin(async move { answer.await.map(Into::into) })
    }
}

/// Why a handler did not do what it was asked. Every error converts into it, so that `?` works in a handler.
///
/// The caller of a request gets it as [`ErrorKind::Handler`](crate::ErrorKind::Handler). A job is tried again after its
/// backoff, or as `retry_at` says, or not at all if it is `fatal`.
///
/// ```
/// use rowbus::HandlerError;
///
/// fn parse(text: &str) -> Result<u32, HandlerError> {
///     let number = text.parse::<u32>()?;                 // any error: tried again later
///     if number == 0 {
///         return Err(HandlerError::new("zero").with_code("E_ZERO").fatal());
///     }
///     Ok(number)
/// }
/// assert!(parse("x").is_err() && parse("0").is_err());
/// ```
// It is no `std::error::Error` itself, or the conversion from all of these would overlap with that from itself.
#[derive(Clone)]
pub struct HandlerError {
    message: String,
    code: Option<Box<str>>,
    body: Bytes,
    retry_at: Option<DateTime<Utc>>,
    fatal: bool,
}

impl HandlerError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, body: Bytes::new(), retry_at: None, fatal: false }
    }

    /// With a code for programs, as in `E_NO_STOCK`: [`Error::code`](crate::Error::code).
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Box<str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// With a body: [`Error::body`](crate::Error::body).
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A job is tried again at this time, in place of after its backoff. The attempt counts.
    #[must_use]
    pub fn retry_at(mut self, time: DateTime<Utc>) -> Self {
        self.retry_at = Some(time);
        self
    }

    /// A job is not tried again, and becomes a dead letter.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code for programs.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// When a job is to be tried again, if the handler said so.
    pub fn retry_time(&self) -> Option<DateTime<Utc>> {
        self.retry_at
    }

    /// Whether a job is not to be tried again.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        // With its causes: the message is all that reaches the caller and the file.
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(message)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("message", &self.message)
            .field("code", &self.code)
            .field("body_bytes", &self.body.len())
            .field("retry_at", &self.retry_at)
            .field("fatal", &self.fatal)
            .finish()
    }
}
