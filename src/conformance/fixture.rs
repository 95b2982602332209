//! What a case runs on.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::future::BoxFuture;
use crate::inmem::InMemBus;
use crate::messenger::Messenger;

/// Takes every event up to a sequence out of the log.
pub(super) type ForgetThrough = Box<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

/// A fresh bus for one case, and what belongs to it.
#[must_use = "a factory returns it"]
pub struct Fixture {
    // Buses are dropped before the guard, by their order here.
    pub(super) bus: Arc<dyn Messenger>,
    also: Option<Arc<dyn Messenger>>,
    pub(super) forget_through: Option<ForgetThrough>,
    _guard: Option<Box<dyn Any + Send>>,
    /// Why the case is not run.
    pub(super) skipped: Option<String>,
}

impl Fixture {
    /// A fixture of this bus alone.
    pub fn new(bus: impl Messenger) -> Self {
        Self::from(Arc::new(bus) as Arc<dyn Messenger>)
    }

    /// A second handle on the same events: as another process would have it, if the backend knows processes.
    /// Without one, cases of two handles use the first twice.
    pub fn also(mut self, bus: Arc<dyn Messenger>) -> Self {
        self.also = Some(bus);
        self
    }

    /// How the log is made to forget every event up to a sequence, as retention would. Without it, the cases
    /// of gaps pass without looking.
    pub fn forget_through<F, Fut>(mut self, forget: F) -> Self
    where
        F: Fn(u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.forget_through = Some(Box::new(move |sequence| Box::pin(forget(sequence))));
        self
    }

    /// What is kept until the case is over and its buses are dropped: a temporary folder, a server.
    pub fn guard(mut self, guard: impl Any + Send) -> Self {
        self._guard = Some(Box::new(guard));
        self
    }

    /// In place of a backend that cannot be had here, as a server that is not installed: the case is not run, says why, and
    /// passes. Its bus is one in memory, which nobody uses.
    pub fn skip(why: impl Into<String>) -> Self {
        let mut fixture = Self::new(InMemBus::new());
        fixture.skipped = Some(why.into());
        fixture
    }

    /// Both handles.
    pub(super) fn handles(&self) -> [&Arc<dyn Messenger>; 2] {
        [&self.bus, self.second()]
    }

    /// The second handle, or the first again.
    pub(super) fn second(&self) -> &Arc<dyn Messenger> {
        self.also.as_ref().unwrap_or(&self.bus)
    }
}

impl From<Arc<dyn Messenger>> for Fixture {
    fn from(bus: Arc<dyn Messenger>) -> Self {
        Self { bus, also: None, forget_through: None, _guard: None, skipped: None }
    }
}

impl<M: Messenger> From<M> for Fixture {
    fn from(bus: M) -> Self {
        Self::new(bus)
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("bus", &self.bus).field("also", &self.also).finish_non_exhaustive()
    }
}
