//! Subscriptions: a reader of events, and its end.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::message::Message;
use crate::nats::jetstream::events;
use crate::nats::jetstream::reader::Reader;
use crate::nats::jetstream::streams::Streams;
use crate::subscribe::{Source, SubscribeParts};

pub(super) struct EventSource {
    streams: Arc<Streams>,
    filter: String,
    reader: Reader,
    /// It was unsubscribed, and hands over what there was up to here.
    until: Option<u64>,
    ending: BoxFuture<'static, ()>,
    ended: bool,
}

impl Streams {
    pub(super) async fn subscribe(self: &Arc<Self>, parts: SubscribeParts) -> Result<EventSource> {
        let _pass = self.enter().await?;
        let filter = self.subjects.events(&parts.filter);
        let reader = Reader::open(&self.events, vec![filter.clone()], parts.start, parts.buffer).await?;
        let ending = self.gate.ending();
        Ok(EventSource { streams: Arc::clone(self), filter, reader, until: None, ending, ended: false })
    }
}

impl Source for EventSource {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        loop {
            self.ended |= self.until.is_some_and(|until| self.reader.next() > until);
            if self.ended || self.ending.as_mut().poll(cx).is_ready() {
                self.ended = true;
                return Poll::Ready(None);
            }
            match std::task::ready!(self.reader.poll(cx)) {
                Ok((place, arrived)) => {
                    let beyond = self.until.is_some_and(|until| place.sequence > until);
                    if let Some((_, Some(message))) = events::delivered(&self.streams.subjects, &arrived)
                        && !beyond
                    {
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                Err(error) => {
                    self.ended = !matches!(error.kind(), crate::error::ErrorKind::Gap { .. });
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            if self.streams.gate.is_ending() {
                return Err(Error::closed());
            }
            let last = self.streams.events.last(&self.filter).await?;
            self.until = Some(last.map_or(0, |last| last.sequence));
            Ok(())
        })
    }
}
