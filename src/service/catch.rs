//! A panic in a handler costs that handler's call, and nothing else.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::task::Poll;

/// Polls to the end, or to a panic, which is told by its message.
pub(super) async fn catch_unwind<F: Future + Send>(future: F) -> Result<F::Output, String> {
    let mut future = Box::pin(future);
    // What the panic left behind is dropped with the future, and never looked at.
    poll_fn(move |cx| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the handler panicked: {}", said.as_deref().unwrap_or("without a message"))
}
