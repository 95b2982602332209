//! A stream: first what was in the log, then what comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::future::BoxFuture;
use crate::inmem::log::Backlog;
use crate::inmem::shared::Shared;
use crate::mailbox::{Letter, Mailbox};
use crate::message::Message;
use crate::subscribe::Source;

#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    filter: Filter,
    /// What the listener is known by.
    id: u64,
    gap: Option<Error>,
    backlog: VecDeque<Message>,
    mailbox: Arc<Mailbox>,
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        filter: Filter,
        id: u64,
        backlog: Backlog,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self { shared, filter, id, gap: backlog.gap, backlog: backlog.messages, mailbox }
    }
}

impl Source for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        if let Some(gap) = self.gap.take() {
            return Poll::Ready(Some(Err(gap)));
        }
        if let Some(message) = self.backlog.pop_front() {
            return Poll::Ready(Some(Ok(message)));
        }
        self.mailbox.poll(cx).map(|letter| match letter? {
            Letter::Message(message) => Some(Ok(message)),
            Letter::Overflow(dropped) => Some(Err(Error::overflow(dropped))),
            Letter::Told(error) | Letter::Failed(error) => Some(Err(error)),
            // Nobody leads this mailbox to the log.
            Letter::Behind(_) => None,
        })
    }

    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.shared.leave(&self.filter, self.id)?;
            // Whoever waits for the stream holds it, and is the one who calls this.
            let _ = self.mailbox.seal();
            Ok(())
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // A closed bus has no listeners any more.
        let _ = self.shared.leave(&self.filter, self.id);
    }
}
