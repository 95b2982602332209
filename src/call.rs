//! A request as its server gets it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::future::BoxFuture;
use crate::message::Message;
use crate::reply::Response;

/// A request or a job that this handler is to do. It derefs to the [`Message`]: subject, payload, headers.
///
/// Cheap to clone, and a clone may be kept by what the handler starts.
#[derive(Clone)]
pub struct Call {
    message: Message,
    id: Arc<str>,
    attempt: u32,
    control: Arc<dyn CallControl>,
}

/// What a backend does for a [`Call`].
pub trait CallControl: Send + Sync + 'static {
    /// Sends a part of the reply.
    fn part(&self, part: Response) -> BoxFuture<'_, Result<()>>;
    /// Makes the lease last at least this long from now.
    fn extend(&self, lease: Duration) -> BoxFuture<'_, Result<()>>;
    /// Answers at once; what the handler returns later is dropped.
    fn reply(&self, response: Response) -> BoxFuture<'_, Result<()>>;
    /// Whether what the handler does is wanted no more.
    fn is_cancelled(&self) -> bool;
    /// Returns when it is wanted no more.
    fn cancelled(&self) -> BoxFuture<'_, ()>;
}

impl Call {
    /// A call as a backend makes it.
    pub fn new(message: Message, id: Arc<str>, attempt: u32, control: Arc<dyn CallControl>) -> Self {
        Self { message, id, attempt, control }
    }

    /// What was asked, without the rest.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// The id of the request or job: the same in each attempt.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which attempt this is, from 1. Above 1 an earlier one failed, died or was released, perhaps after having done
    /// its work in part.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Sends a part of the reply, or a job's progress, ahead of the final one.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if this attempt counts no more; [`PayloadTooLarge`](crate::ErrorKind::PayloadTooLarge);
    /// as any writing verb.
    pub async fn part(&self, part: impl Into<Response>) -> Result<()> {
        self.control.part(part.into()).await
    }

    /// Makes the lease last at least this long from now, beyond the service's `max_run` if need be. The bus renews leases by
    /// itself up to there.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if it has ended; as any writing verb.
    pub async fn extend(&self, lease: Duration) -> Result<()> {
        self.control.extend(lease).await
    }

    /// Answers before the handler returns, and tells whether the answer counted. What the handler returns is dropped then.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if another attempt holds the request by now: this one has changed nothing.
    pub async fn reply(&self, response: impl Into<Response>) -> Result<()> {
        self.control.reply(response.into()).await
    }

    /// Whether the answer is wanted no more: the caller has gone, the job was cancelled, the lease was lost or the
    /// service is at its end.
    pub fn is_cancelled(&self) -> bool {
        self.control.is_cancelled()
    }

    /// Returns when the answer is wanted no more; for `tokio::select!` beside the work.
    pub async fn cancelled(&self) {
        self.control.cancelled().await;
    }
}

impl Deref for Call {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
