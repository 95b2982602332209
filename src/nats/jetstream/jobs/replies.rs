//! The replies to a job, for whoever has its id.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::letter::read_reply;
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::nats::jetstream::reader::Reader;
use crate::nats::jetstream::streams::Streams;
use crate::reply::{Reply, ReplySource};
use crate::subscribe::StartAt;

/// Replies that are read at once.
const AT_ONCE: usize = 64;

pub(in crate::nats::jetstream) struct JobReplies {
    reader: Reader,
    ending: BoxFuture<'static, ()>,
}

impl Streams {
    pub(in crate::nats::jetstream) async fn replies(self: &Arc<Self>, id: &str) -> Result<JobReplies> {
        let _pass = self.enter().await?;
        if !self.has_job(id).await? {
            return Err(Error::no_such_job(id));
        }
        let lie = self.subjects.replies(id);
        let reader = Reader::open(self.state().await?, vec![lie], StartAt::Oldest, AT_ONCE).await?;
        Ok(JobReplies { reader, ending: self.gate.ending() })
    }

    /// Whether there is such a job, or a reply to it. It is looked for in the order in which it goes on its way.
    async fn has_job(&self, id: &str) -> Result<bool> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Ok(false);
        }
        let jobs = self.jobs().await?;
        Ok(jobs.last(&self.subjects.scheduled(id)).await?.is_some()
            || jobs.last(&self.subjects.job_of_id(id)).await?.is_some()
            || self.state().await?.last(&self.subjects.replies(id)).await?.is_some())
    }
}

impl ReplySource for JobReplies {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        loop {
            if self.ending.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Err(Error::closed())));
            }
            match ready!(self.reader.poll(cx)) {
                Ok((_, arrived)) => {
                    if let Some(reply) = read_reply(&arrived.message) {
                        return Poll::Ready(Some(reply));
                    }
                }
                // What others' replies have left behind.
                Err(error) if matches!(error.kind(), ErrorKind::Gap { .. }) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
