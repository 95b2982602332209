//! The shape of every asynchronous call behind a trait object, giving way to others, and waiting for many.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A boxed future, so that [`Messenger`](crate::Messenger) and [`Source`](crate::Source) can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Goes to the end of the queue of tasks, from where every thread of the runtime may take it up; what was woken on this
/// thread has its turn first. tokio's own `yield_now` waits for this very thread, which whatever runs next may block.
pub(crate) async fn yield_to_all() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What all of these come to, in their order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut done = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(ready) => *output = Some(ready),
                    Poll::Pending => done = false,
                }
            }
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_yields_is_taken_up_by_another_thread_if_the_next_task_blocks_this_one() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (go, wait) = channel::<()>();
        let yields = runtime.spawn(async move {
            let blocks = tokio::spawn(async move { wait.recv_timeout(Duration::from_secs(20)).is_ok() });
            yield_to_all().await;
            let _ = go.send(());
            blocks.await.unwrap()
        });
        assert!(runtime.block_on(yields).unwrap());
    }
}
