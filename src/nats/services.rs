//! The services of a bus.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::error::Result;
use crate::future::join_all;
use crate::handler::Handler;
use crate::nats::connection::Connection;
use crate::nats::desk::ServiceDesk;
use crate::nats::jetstream::{JobDesk, JointDesk};
use crate::nats::refusals::subscription_to;
use crate::serve::{ServeParts, Service};
use crate::service::{Desk, Pump, PumpHandle};

/// What is known of a service.
#[derive(Clone)]
struct Seat {
    desk: Weak<ServiceDesk>,
    /// Where it takes jobs as well.
    jobs: Option<Weak<JobDesk>>,
}

/// Those that were begun and are still there.
#[derive(Default)]
pub(super) struct Services {
    desks: Mutex<Vec<Seat>>,
}

impl Services {
    /// Returns when the server knows of it.
    pub(super) async fn open(
        &self,
        connection: &Arc<Connection>,
        serve: ServeParts,
        handler: Arc<dyn Handler>,
        jobs: Option<Arc<JobDesk>>,
    ) -> Result<Service> {
        connection.check_open()?;
        connection.ready().await?;
        let filter = connection.wire(serve.filter.as_str());
        let since = connection.events.mark();
        let (desk, subscriber) = ServiceDesk::open(Arc::clone(connection), &serve).await?;
        let serves = serve.filter.clone();
        let joint: Arc<dyn Desk> = match &jobs {
            Some(jobs) => Arc::new(JointDesk::new(Arc::clone(&desk) as _, Arc::clone(jobs))),
            None => Arc::clone(&desk) as _,
        };
        let pump = Pump::start(joint, serve, handler);
        desk.attach(&pump);
        if let Some(jobs) = &jobs {
            jobs.begin(&pump, serves);
        }
        connection.spawn(Arc::clone(&desk).listen(subscriber));
        self.desks().push(Seat { desk: Arc::downgrade(&desk), jobs: jobs.as_ref().map(Arc::downgrade) });
        // Dropped on the way, it ends again.
        let service = Service::new(PumpHandle::new(pump, move || {
            desk.leave();
            jobs.iter().for_each(|jobs| jobs.leave());
            Box::pin(async move {
                desk.left().await;
                if let Some(jobs) = jobs {
                    jobs.left().await;
                }
            })
        }));
        connection.subscribed().await?;
        match connection.events.refused_since(since, &subscription_to(&filter)) {
            Some(refused) => Err(refused),
            None => Ok(service),
        }
    }

    /// Ends all in good order.
    pub(super) async fn stop(&self) {
        let stops = self.take().into_iter().map(|(desk, jobs)| async move {
            desk.leave();
            jobs.iter().for_each(|jobs| jobs.leave());
            if let Some(pump) = desk.pump() {
                pump.stop().await;
            }
            desk.left().await;
            if let Some(jobs) = jobs {
                jobs.left().await;
            }
        });
        join_all(stops).await;
    }

    /// Ends all where they stand.
    pub(super) fn end(&self) {
        for pump in self.take().iter().filter_map(|(desk, _)| desk.pump()) {
            pump.end(None);
        }
    }

    fn take(&self) -> Vec<(Arc<ServiceDesk>, Option<Arc<JobDesk>>)> {
        let both = |seat: &Seat| Some((seat.desk.upgrade()?, seat.jobs.as_ref().and_then(Weak::upgrade)));
        self.desks().iter().filter_map(both).collect()
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Seat>> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|seat| seat.desk.strong_count() > 0);
        desks
    }
}
