//! What a server answers, and how its caller gets it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;

/// What a handler answers: a body and headers. Bytes, text and `()` convert into it.
///
/// ```
/// use rowbus::Response;
///
/// let plain: Response = "4.50".into();
/// assert_eq!(plain.payload(), "4.50");
/// let priced = Response::new("4.50").header("Currency", "EUR")?;
/// assert_eq!(priced.headers().get("Currency"), Some("EUR"));
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Response {
    payload: Bytes,
    headers: Headers,
}

impl Response {
    /// A response with this body.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), headers: Headers::new() }
    }

    /// A response whose body is this value as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Json`] if it cannot be written as such.
    #[cfg(feature = "json")]
    pub fn json(value: &impl serde::Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| {
            Error::with_source(ErrorKind::Json, "the response cannot be written as JSON", error)
        })?;
        Ok(Self::new(body))
    }

    /// Adds a header; a name may have several values.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidHeader`].
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        self.headers.append(name, value)?;
        Ok(self)
    }

    /// The same body with these headers in place of its own.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Refuses what is larger than `limit` bytes with its headers.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadTooLarge`].
    pub fn check_size(&self, limit: usize) -> Result<()> {
        let size = self.payload.len() + self.headers.encoded_len();
        if size <= limit {
            return Ok(());
        }
        let kind = ErrorKind::PayloadTooLarge { size: size as u64, limit: limit as u64 };
        let message = format!("the reply has {size} bytes with its headers, and at most {limit} are allowed");
        Err(Error::new(kind, message))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, headers } = self;
        f.debug_struct("Response").field("payload_bytes", &payload.len()).field("headers", headers).finish()
    }
}

macro_rules! response_from {
    ($($body:ty),*) => { $(
        impl From<$body> for Response {
            fn from(body: $body) -> Self {
                Self::new(body)
            }
        }
    )* };
}

response_from!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl From<()> for Response {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// What a caller gets: a part that the server sent while it worked, or the final reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    response: Response,
    attempt: u32,
    is_final: bool,
}

impl Reply {
    /// The final reply of this attempt, as a backend gives it.
    pub fn last(response: Response, attempt: u32) -> Self {
        Self { response, attempt, is_final: true }
    }

    /// A part that was sent in this attempt, as a backend gives it.
    pub fn part(response: Response, attempt: u32) -> Self {
        Self { response, attempt, is_final: false }
    }

    /// The bytes, as the server sent them.
    pub fn payload(&self) -> &Bytes {
        &self.response.payload
    }

    /// The bytes, without a copy.
    pub fn into_payload(self) -> Bytes {
        self.response.payload
    }

    /// The bytes as text, if they are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.payload()).ok()
    }

    /// The headers, as the server sent them.
    pub fn headers(&self) -> &Headers {
        &self.response.headers
    }

    /// Which attempt it is from, from 1. After a server's death, the next one begins with its own parts.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it is the answer, and no more comes.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// The payload as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Json`] if it is none, or not of this shape.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.payload())
            .map_err(|error| Error::with_source(ErrorKind::Json, "the reply is not the expected JSON", error))
    }
}

/// The replies to one request or job: its parts in order, then the final one or an error, then the end.
///
/// Dropping it before the end cancels a request; a job goes on.
#[must_use = "dropping it cancels the request"]
pub struct Replies {
    source: Box<dyn ReplySource>,
    ended: bool,
}

/// What a backend gives for [`Replies`].
///
/// # Contract
/// After the final reply, an error or `Ready(None)` it is not polled again.
pub trait ReplySource: Send + 'static {
    /// The next part or the final reply, as [`Stream::poll_next`].
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>>;
}

impl Replies {
    /// The replies that a backend's source gives.
    pub fn new(source: impl ReplySource) -> Self {
        Self { source: Box::new(source), ended: false }
    }

    /// The next part or the final reply; `None` after it. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Reply>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The final reply; parts that come before it are dropped.
    ///
    /// # Errors
    /// That of the request or job; [`ErrorKind::Closed`] if the final reply was taken before.
    pub async fn last(mut self) -> Result<Reply> {
        loop {
            match self.next().await {
                Some(Ok(reply)) if reply.is_final() => return Ok(reply),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(Error::closed()),
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.source.poll_next(cx);
        if let Poll::Ready(item) = &polled {
            self.ended = !matches!(item, Some(Ok(reply)) if !reply.is_final());
        }
        polled
    }
}

impl Stream for Replies {
    type Item = Result<Reply>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}
