//! Answering one request after the other, and telling how it went.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rowbus::{BoxFuture, Call, Handler, HandlerError, Response};
use tokio::sync::watch;

use crate::failure;
use crate::serve::command::Command;
use crate::serve::post::Shift;

/// The handler of one service.
pub(super) struct Answer {
    shared: Arc<Shared>,
    shift: Option<Arc<Shift>>,
}

/// What all services of this command have in common.
pub(super) struct Shared {
    work: Work,
    /// Whether the service has said that it serves: nothing that it says comes before that.
    said: watch::Receiver<bool>,
    served: AtomicU64,
    failed: AtomicU64,
}

pub(super) enum Work {
    Echo,
    Command(Command),
}

impl Answer {
    pub(super) fn new(shared: Arc<Shared>, shift: Option<Shift>) -> Self {
        Self { shared, shift: shift.map(Arc::new) }
    }
}

impl Handler for Answer {
    fn handle(&self, call: Call) -> BoxFuture<'static, Result<Response, HandlerError>> {
        let (shared, shift) = (Arc::clone(&self.shared), self.shift.clone());
        Box::pin(async move {
            let answer = shared.answer(&call).await;
            shared.count(&call, &answer);
            if let Some(shift) = shift {
                shift.done().await;
            }
            answer
        })
    }
}

impl Shared {
    pub(super) fn new(work: Work, said: watch::Receiver<bool>) -> Self {
        Self { work, said, served: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    async fn answer(&self, call: &Call) -> Result<Response, HandlerError> {
        // Where it will not say so any more, it is at its end.
        let _ = self.said.clone().wait_for(|said| *said).await;
        match &self.work {
            Work::Echo => Ok(Response::new(call.payload().clone()).with_headers(call.headers().clone())),
            Work::Command(command) => command.run(call).await,
        }
    }

    fn count(&self, call: &Call, answer: &Result<Response, HandlerError>) {
        self.served.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = answer {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let (subject, id, attempt) = (call.subject(), call.id(), call.attempt());
            let code = error.code().unwrap_or("no code");
            failure::line(&format!("{subject} {id}, attempt {attempt}: {error} ({code})"));
        }
    }

    /// What was done, in one line.
    pub(super) fn tell(&self) -> String {
        let (served, failed) = (self.served.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let requests = if served == 1 { "request" } else { "requests" };
        match failed {
            0 => format!("served {served} {requests}"),
            _ => format!("served {served} {requests}, of which {failed} failed"),
        }
    }
}
