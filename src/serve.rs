//! What a server offers, and the service it gets.

use std::fmt;
use std::time::Duration;

use crate::defaults::{CLOSE_GRACE, CONCURRENCY, LEASE, MAX_RUN};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::future::BoxFuture;

/// A service to offer: a filter and options.
///
/// ```
/// use std::time::Duration;
/// use rowbus::Serve;
///
/// let mail = Serve::on("mail.>").concurrency(4).max_run(Duration::from_secs(60));
/// assert!(mail.into_parts().is_ok());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a service is offered by passing this to `serve_with`"]
pub struct Serve {
    parts: Result<ServeParts>,
}

/// A checked [`Serve`], as a backend takes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeParts {
    /// Which subjects it serves.
    pub filter: Filter,
    /// Handlers that run at the same time.
    pub concurrency: usize,
    /// How long a request is held without being renewed.
    pub lease: Duration,
    /// How long the bus renews.
    pub max_run: Duration,
    /// How long `stop` and `close` wait for handlers that run.
    pub grace: Duration,
}

const SHORTEST_LEASE: Duration = Duration::from_millis(100);
const MOST_HANDLERS: usize = 100_000;

impl Serve {
    /// A service for the requests and jobs whose subjects this filter matches.
    pub fn on<F>(filter: F) -> Self
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        let parts = filter.try_into().map_err(Error::from).map(|filter| ServeParts {
            filter,
            concurrency: CONCURRENCY,
            lease: LEASE,
            max_run: MAX_RUN,
            grace: CLOSE_GRACE,
        });
        Self { parts }
    }

    /// How many handlers of this service run at the same time, 16 unless set.
    pub fn concurrency(self, handlers: usize) -> Self {
        self.and(|parts| {
            parts.concurrency = handlers;
            let ok = (1..=MOST_HANDLERS).contains(&handlers);
            ok.then_some(()).ok_or(format!("concurrency is 1 to {MOST_HANDLERS}; got {handlers}"))
        })
    }

    /// How long a request is held without being renewed, 30 s unless set; the bus renews at a third of it. Another server
    /// takes over so long after a process hangs; after one dies it does so at once.
    pub fn lease(self, lease: Duration) -> Self {
        self.and(|parts| {
            parts.lease = lease;
            let ok = lease >= SHORTEST_LEASE && lease <= MAX_RUN * 24;
            ok.then_some(()).ok_or(format!("a lease is {SHORTEST_LEASE:?} to 24 h; got {lease:?}"))
        })
    }

    /// How long a handler may run before its lease is renewed no more, 1 h unless set.
    pub fn max_run(self, max_run: Duration) -> Self {
        self.and(|parts| {
            parts.max_run = max_run;
            let ok = max_run > Duration::ZERO && max_run <= Duration::from_secs(365 * 24 * 3600);
            ok.then_some(()).ok_or(format!("max_run is more than 0 and at most 365 days; got {max_run:?}"))
        })
    }

    /// How long `stop` and `close` wait for handlers that run, 10 s unless set. What is not done then is released at once.
    pub fn grace(self, grace: Duration) -> Self {
        self.and(|parts| {
            parts.grace = grace;
            Ok(())
        })
    }

    /// The checked parts, for a backend.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn into_parts(self) -> Result<ServeParts> {
        self.parts
    }

    fn and(mut self, set: impl FnOnce(&mut ServeParts) -> Result<(), String>) -> Self {
        if let Ok(parts) = &mut self.parts
            && let Err(message) = set(parts)
        {
            self.parts = Err(Error::new(ErrorKind::InvalidOption, message));
        }
        self
    }
}

/// A service that runs. Dropping it ends it at once: handlers are dropped where they stand, and what they
/// held is given to other servers.
#[must_use = "dropping a service ends it at once"]
pub struct Service {
    control: Box<dyn ServiceControl>,
}

/// What a backend does for a [`Service`].
///
/// # Contract
/// Dropping it ends the service at once.
pub trait ServiceControl: Send + 'static {
    /// Takes nothing new, waits for handlers that run up to the grace period, and releases the rest.
    fn stop(&mut self) -> BoxFuture<'_, Result<()>>;
    /// Returns when the service has ended, with the error that ended it.
    fn ended(&mut self) -> BoxFuture<'_, Result<()>>;
}

impl Service {
    /// A service that a backend controls.
    pub fn new(control: impl ServiceControl) -> Self {
        Self { control: Box::new(control) }
    }

    /// Ends the service in good order: it takes nothing new, handlers that run have the grace period to finish, and what is
    /// not done then is given to other servers at once.
    ///
    /// # Errors
    /// What the backend meets while it writes what was done.
    pub async fn stop(mut self) -> Result<()> {
        self.control.stop().await
    }

    /// Returns when the service ends by itself: when the bus is closed, or with the error that ended it. For a
    /// program that does nothing else.
    ///
    /// # Errors
    /// What ended it, as `FileReplaced`. A file that is locked or a disk that is full ends no service.
    pub async fn ended(&mut self) -> Result<()> {
        self.control.ended().await
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}
