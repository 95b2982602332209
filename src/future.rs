//! The shape of every asynchronous call behind a trait object.

use std::future::Future;
use std::pin::Pin;

/// A boxed future, so that [`Messenger`](crate::Messenger) and [`Source`](crate::Source) can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
