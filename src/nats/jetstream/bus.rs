//! The bus on JetStream: events, jobs and consumers in streams, requests by the server's own.

use std::fmt;
use std::sync::Arc;

use crate::capabilities::Capabilities;
use crate::durable::Durable;
use crate::error::Result;
use crate::future::BoxFuture;
use crate::handler::Handler;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::nats::NatsBus;
use crate::nats::jetstream::events;
use crate::nats::jetstream::jobs::JobDesk;
use crate::nats::jetstream::streams::Streams;
use crate::publish::{PubAck, Publish};
use crate::reply::{Replies, Reply};
use crate::request::Request;
use crate::serve::{Serve, Service};
use crate::subject::Subject;
use crate::subscribe::{Subscribe, Subscription};

/// A bus on NATS whose events are in a stream: what [`as_durable`](Messenger::as_durable) of a bus with an
/// [`EventStream`](crate::EventStream) gives.
///
/// Requests go as on the bus without a stream.
#[derive(Clone)]
pub(crate) struct JetStreamBus {
    /// Asks and serves.
    core: NatsBus,
    pub(super) streams: Arc<Streams>,
}

impl JetStreamBus {
    pub(in crate::nats) fn new(core: NatsBus, streams: Arc<Streams>) -> Self {
        Self { core, streams }
    }
}

impl fmt::Debug for JetStreamBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamBus").field("stream", &self.streams.events.stream).finish_non_exhaustive()
    }
}

impl Messenger for JetStreamBus {
    fn send(&self, publish: Publish) -> BoxFuture<'_, Result<PubAck>> {
        Box::pin(async { self.streams.send(publish.into_parts()?).await })
    }

    fn send_all(&self, batch: Vec<Publish>) -> BoxFuture<'_, Result<Vec<PubAck>>> {
        Box::pin(async {
            let batch = batch.into_iter().map(Publish::into_parts).collect::<Result<Vec<_>>>()?;
            self.streams.send_all(batch).await
        })
    }

    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Subscription>> {
        Box::pin(async { Ok(Subscription::new(self.streams.subscribe(subscribe.into_parts()?).await?)) })
    }

    fn last(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Message>>> {
        Box::pin(async move {
            let _pass = self.streams.enter().await?;
            let last = self.streams.events.last(&self.streams.subjects.event(&subject)).await?;
            Ok(last.and_then(|last| events::read(&self.streams.subjects, &last)))
        })
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply>> {
        self.core.call(request)
    }

    fn call_stream(&self, request: Request) -> BoxFuture<'_, Result<Replies>> {
        self.core.call_stream(request)
    }

    fn serve_with(&self, serve: Serve, handler: Arc<dyn Handler>) -> BoxFuture<'_, Result<Service>> {
        Box::pin(async move {
            let parts = serve.into_parts()?;
            let jobs = JobDesk::new(Arc::clone(&self.streams), &parts);
            self.core.serve(parts, handler, Some(jobs)).await
        })
    }

    fn as_durable(&self) -> Result<Arc<dyn Durable>> {
        Ok(Arc::new(self.clone()))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.core.close().await })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            replay: true,
            total_order: true,
            lossless: true,
            atomic_batches: self.streams.config.allow_atomic_publish,
            deduplication: true,
            expect_last: true,
            logged: true,
            jobs: true,
            consumers: true,
            cumulative_consumers: true,
            ..Capabilities::none()
        }
    }
}
